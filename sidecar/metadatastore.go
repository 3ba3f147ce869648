package sidecar

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"outrigger/sidecar/node"
	"outrigger/sidecar/raftstore"
)

// MetadataStore is the open metadata store of a data directory.
type MetadataStore struct{ store *raftstore.Store }

// OpenMetadata opens the metadata store of a data directory, in a directory of its own. The error wraps ErrRefused if
// the metadata are of a format level that this build does not speak: so is all else in the data directory then, and
// must not be touched. died hears that the store failed where no caller can be told: it ends the process and does not
// return.
func OpenMetadata(dataDir string, logger *slog.Logger, died func(error)) (*MetadataStore, error) {
	store, err := raftstore.Open(filepath.Join(dataDir, "metadata"), logger, died)
	if err != nil {
		return nil, fmt.Errorf("open metadata store: %w", err)
	}
	if err := node.CheckLevel(store); err != nil {
		return nil, errors.Join(refuseLevel(err), store.Close())
	}
	return &MetadataStore{store}, nil
}

// Close closes a store that no sidecar was made of.
func (m *MetadataStore) Close() error {
	if m == nil {
		return nil
	}
	if err := m.store.Close(); err != nil {
		return fmt.Errorf("close metadata store: %w", err)
	}
	return nil
}
