package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kerr"
)

// txnFlags are common to the `txn` commands.
type txnFlags struct{ topicFlags }

func newTxn() *cobra.Command {
	f := &txnFlags{}
	command := asGroup(&cobra.Command{Use: "txn", Short: "List, describe and abort transactions, find those that hang"})
	f.register(command)
	command.AddCommand(f.list(), f.describe(), f.findHanging(), f.abort())
	return command
}

// txnView is a transactional id as it is shown.
type txnView struct {
	ID          string         `json:"transactional_id"`
	State       string         `json:"state"`
	Producer    int64          `json:"producer_id"`
	Epoch       *int16         `json:"producer_epoch,omitempty"`
	Coordinator int32          `json:"coordinator"`
	TimeoutMS   int32          `json:"timeout_ms,omitempty"`
	Started     *time.Time     `json:"started,omitempty"`
	Partitions  []txnPartition `json:"partitions,omitempty"`
}

type txnPartition struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
}

// explainTxn adds what to do about the refusals that people meet.
func explainTxn(doing string, err error) error {
	if errors.Is(err, kerr.TransactionalIDNotFound) {
		return fmt.Errorf("%s: there is no such id; `outrigger txn list` names those that there are (%s)",
			doing, kerr.TransactionalIDNotFound.Message)
	}
	return explain(doing, err, "")
}
