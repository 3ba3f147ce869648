package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestOffsetsAreReadFromTheFilesOfKafka(t *testing.T) {
	for name, test := range map[string]struct{ file, want string }{
		"of one group":      {"orders,0,5\norders,1,7\n", "orders,0,5\norders,1,7\n"},
		"of several":        {"g,orders,0,5\nh,orders,0,9\n", "orders,0,5\n"},
		"quoted, no end":    {"\"g\",\"orders\",0,5", "orders,0,5\n"},
		"lines of Windows":  {"orders,0,5\r\n\r\n", "orders,0,5\n"},
		"a group with this": {"\"g\",orders,2,0\n\"a,b\",orders,2,1\n", "orders,2,0\n"},
	} {
		offsets, err := readOffsets(strings.NewReader(test.file), "g")
		var views []resetView
		for _, o := range offsets.Sorted() {
			views = append(views, resetView{Topic: o.Topic, Partition: o.Partition, To: o.At})
		}
		var out bytes.Buffer
		if err := writeOffsetsFile(&out, views); err != nil {
			t.Fatal(err)
		}
		if err != nil || out.String() != test.want {
			t.Errorf("%s: got %q, %v, want %q", name, out.String(), err, test.want)
		}
	}
	for file, want := range map[string]string{
		"":                           "it has no offsets of group g",
		"h,orders,0,5\n":             "it has no offsets of group g",
		"orders,0\n":                 "line 1: want topic,partition,offset or group,topic,partition,offset",
		"orders,0,5\norders,x,5":     "line 2: partition x: want a whole number",
		"orders,0,-1":                "line 1: offset -1 of topic \"orders\": want a name and a whole number",
		"orders,0,5\ng,orders,0,5\n": "line 2: orders-0 is there twice",
		"orders,0,\"5":               "parse error on line 1",
	} {
		if _, err := readOffsets(strings.NewReader(file), "g"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", file, err, want)
		}
	}
}
