package main

import (
	"fmt"
	"testing"
)

func TestPartitionsAreReadAsTheyAreWritten(t *testing.T) {
	for name, test := range map[string]struct {
		texts []string
		want  string
	}{
		"a topic":               {[]string{"orders"}, "orders"},
		"one partition":         {[]string{"orders:3"}, "orders:3"},
		"as Kafka's tools":      {[]string{"orders:0,1,4"}, "orders:0-1,4"},
		"a range":               {[]string{"a-b:0-2,7"}, "a-b:0-2,7"},
		"unsorted and twice":    {[]string{"orders:4,1", "orders:1,0"}, "orders:0-1,4"},
		"several topics":        {[]string{"b:1", "a"}, "a;b:1"},
		"the whole has it, too": {[]string{"orders", "orders:1"}, "orders"},
	} {
		if got, err := parsePartitions(test.texts); err != nil || got.String() != test.want {
			t.Errorf("%s: got %s, %v, want %s", name, got, err, test.want)
		}
	}
	for _, text := range []string{"", ":1", "t:", "t:x", "t:-1", "t:2-1", "t:1,", "t:0-2147483647", "t:99999999999"} {
		if got, err := parsePartitions([]string{text}); err == nil {
			t.Errorf("%q: got %s, want it to be refused", text, fmt.Sprint(got))
		}
	}
}
