package interop

import (
	"context"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"outrigger/e2e/tools"
)

var encodeTo = flag.String("encode", "", "write every request that the Java client can encode into this file")

// TestEncodeWhatJavaCanAsk has the classes of Java's client encode what no tool of Kafka's asks: every request in
// every version, for the tests of our decoder.
func TestEncodeWhatJavaCanAsk(t *testing.T) {
	if *encodeTo == "" {
		t.Skip("-encode names no file to write")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cache, err := tools.Default(true)
	if err != nil {
		t.Fatal(err)
	}
	j, err := cache.Java(ctx)
	if err != nil {
		t.Fatal(err)
	}
	classes, err := cache.Compiled(ctx, j, "testdata/JavaRequests.java")
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := j.Command(classes, "JavaRequests").Output()
	if err != nil {
		t.Fatal(err)
	}
	head := fmt.Sprintf("# Each request in each version as the classes of Kafka %s encode it, without its size: all fields set, then null where that may be.\n"+
		"# go test ./e2e/interop -run TestEncode -encode FILE writes this file.\n", tools.KafkaVersion)
	if err := os.WriteFile(*encodeTo, append([]byte(head), encoded...), 0o600); err != nil {
		t.Fatal(err)
	}
}
