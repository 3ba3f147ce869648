package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/twmb/franz-go/pkg/kadm"
)

// The columns of the file that kafka-consumer-groups --export writes and --from-file reads: topic, partition
// and offset, and the group before them where several were exported.
const (
	columnsOfOne     = 3
	columnsOfSeveral = 4
)

// readOffsetsFile reads the offsets of a group from a file. Those of other groups are left out.
func readOffsetsFile(name, group string) (kadm.Offsets, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read --from-file: %w", err)
	}
	offsets, err := readOffsets(file, group)
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, fmt.Errorf("--from-file %s is refused: %w", name, err)
	}
	return offsets, nil
}

func readOffsets(from io.Reader, group string) (kadm.Offsets, error) {
	reader := csv.NewReader(from)
	reader.FieldsPerRecord, reader.TrimLeadingSpace, reader.ReuseRecord = -1, true, true
	offsets := kadm.Offsets{}
	for {
		fields, err := reader.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		line, _ := reader.FieldPos(0)
		if len(fields) == columnsOfSeveral {
			if fields[0] != group {
				continue
			}
			fields = fields[1:]
		}
		one, err := readOffset(fields)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		if _, twice := offsets.Lookup(one.Topic, one.Partition); twice {
			return nil, fmt.Errorf("line %d: %s-%d is there twice", line, one.Topic, one.Partition)
		}
		offsets.Add(one)
	}
	if len(offsets) == 0 {
		return nil, fmt.Errorf("it has no offsets of group %s", group)
	}
	return offsets, nil
}

func readOffset(fields []string) (kadm.Offset, error) {
	if len(fields) != columnsOfOne {
		return kadm.Offset{}, fmt.Errorf("want topic,partition,offset or group,topic,partition,offset")
	}
	partition, err := strconv.ParseUint(fields[1], 10, 31)
	if err != nil {
		return kadm.Offset{}, fmt.Errorf("partition %s: want a whole number", fields[1])
	}
	at, err := strconv.ParseUint(fields[2], 10, 63)
	if err != nil || fields[0] == "" {
		return kadm.Offset{}, fmt.Errorf("offset %s of topic %q: want a name and a whole number", fields[2], fields[0])
	}
	return kadm.Offset{Topic: fields[0], Partition: int32(partition), At: int64(at), LeaderEpoch: -1}, nil
}

// writeOffsetsFile writes what readOffsetsFile reads, without the group.
func writeOffsetsFile(out io.Writer, views []resetView) error {
	writer := csv.NewWriter(out)
	for _, v := range views {
		if err := writer.Write([]string{v.Topic, strconv.Itoa(int(v.Partition)), strconv.FormatInt(v.To, 10)}); err != nil {
			return err
		}
	}
	writer.Flush()
	return writer.Error()
}
