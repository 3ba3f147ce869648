package dev

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"outrigger/broker/topic"
	"outrigger/cmd/outrigger/internal/datadir"
)

const (
	recordName   = "dev.json"
	recordFormat = 1
)

// record is dev.json.
type record struct {
	Format    int    `json:"format"`
	Brokers   int    `json:"brokers"`
	ClusterID string `json:"cluster_id"`
}

// home is the data directory of a dev cluster, held by this process.
type home struct {
	record
	lock *os.File
}

// checkHome refuses a directory that is not that of a dev cluster of so many brokers, or that
// somebody holds. It changes nothing. The cluster's id is empty if there is no cluster yet.
func checkHome(path string, brokers int) (record, error) {
	names, err := datadir.Inspect(path)
	if err != nil {
		return record{}, err
	}
	if err := datadir.CheckLock(path); err != nil {
		return record{}, err
	}
	if !slices.Contains(names, recordName) {
		if other := datadir.Foreign(names, recordName); other != "" {
			return record{}, &datadir.Refusal{Path: path,
				Problem: fmt.Sprintf("holds %s but no %s, so no dev cluster lives there", other, recordName),
				Remedy:  "choose an empty or a new one with --data"}
		}
		return record{Format: recordFormat, Brokers: brokers}, nil
	}
	return readRecord(path, brokers)
}

func readRecord(path string, brokers int) (record, error) {
	refuse := func(problem, remedy string) (record, error) {
		return record{}, &datadir.Refusal{Path: path, Problem: problem, Remedy: remedy}
	}
	content, err := os.ReadFile(filepath.Join(path, recordName))
	if err != nil {
		return refuse(fmt.Sprintf("cannot be read (%v)", err), "make it readable, or choose another one with --data")
	}
	var r record
	switch err := json.Unmarshal(content, &r); {
	case err != nil:
		return refuse(fmt.Sprintf("has a damaged %s (%v)", recordName, err), "restore that file, or choose another one with --data")
	case r.Format != recordFormat:
		return refuse(fmt.Sprintf("has format %d, and this version of Outrigger reads %d", r.Format, recordFormat),
			"start the version that wrote it, or choose another one with --data")
	case r.Brokers != brokers:
		return refuse(fmt.Sprintf("was made for %d brokers, not %d", r.Brokers, brokers),
			fmt.Sprintf("start with --brokers %d, or choose another one with --data", r.Brokers))
	case r.ClusterID == "":
		return refuse(fmt.Sprintf("has a %s without a cluster id", recordName), "restore that file, or choose another one with --data")
	}
	return r, nil
}

// checkBrokers asks of every broker's directory whether the broker would take it. If the last dev was
// killed, its brokers may still be stopping: they are waited for a while.
func checkBrokers(ctx context.Context, logger *slog.Logger, dirs []string, cluster string) error {
	for i, dir := range dirs {
		owner := datadir.Owner{Cluster: cluster, Node: topic.NodeID(i + 1)}
		err := datadir.Check(dir, owner)
		for deadline := time.Now().Add(orphansWithin); isHeld(err) && time.Now().Before(deadline); {
			logger.Info("broker of an earlier dev is still stopping", "node", i+1, "dir", dir)
			if !pause(ctx, orphansEvery) {
				return ctx.Err()
			}
			err = datadir.Check(dir, owner)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

const (
	orphansWithin = 5 * time.Second
	orphansEvery  = 250 * time.Millisecond
)

func isHeld(err error) bool {
	var refusal *datadir.Refusal
	return errors.As(err, &refusal) && refusal.Held
}

// pause waits and reports whether ctx let it.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// openHome takes the directory. A new cluster gets its id here, so that no two brokers can disagree
// about it.
func openHome(path string, brokers int) (*home, error) {
	lock, err := datadir.Lock(path)
	if err != nil {
		return nil, err
	}
	h := &home{lock: lock}
	if h.record, err = h.load(path, brokers); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return h, nil
}

func (h *home) load(path string, brokers int) (record, error) {
	if _, err := os.Stat(filepath.Join(path, recordName)); !errors.Is(err, fs.ErrNotExist) {
		return readRecord(path, brokers)
	}
	r := record{Format: recordFormat, Brokers: brokers, ClusterID: newClusterID()}
	content, err := json.Marshal(r)
	if err != nil {
		return r, fmt.Errorf("encode %s: %w", recordName, err)
	}
	return r, datadir.WriteFile(filepath.Join(path, recordName), append(content, '\n'))
}

func (h *home) close() error { return h.lock.Close() }

// newClusterID draws an id of the form that Kafka's tools draw: 22 characters. A leading dash would
// look like a flag.
func newClusterID() string {
	for {
		var raw [16]byte
		_, _ = rand.Read(raw[:]) // never fails, by its documentation
		if id := base64.RawURLEncoding.EncodeToString(raw[:]); id[0] != '-' {
			return id
		}
	}
}

// Refused is why dev could not start or go on, with the code that it ends with.
type Refused struct {
	Code   int
	Reason string
}

// Error is one sentence.
func (r *Refused) Error() string { return r.Reason }

// ExitCode is the code.
func (r *Refused) ExitCode() int { return r.Code }

// died tells about a broker that ended, in one sentence.
func died(id int, how, words string, code int) *Refused {
	reason := "broker " + strconv.Itoa(id) + " " + how
	if words != "" {
		reason += ": " + words
	}
	if !permanent(code) {
		code = 1
	}
	return &Refused{Code: code, Reason: reason}
}
