package wire

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// The requests of Kafka's Java client are in two files. Recorded are those that it and the tools of Apache Kafka
// sent to a broker of their own version, so only in the newest version of each; encoded are those that its
// classes encode, every one in every version that they know.
const (
	recorded = "testdata/java.requests"
	encoded  = "testdata/java.encoded"
)

// javaRequests are the frames of a file, each without its size.
func javaRequests(tb testing.TB, file string) (frames [][]byte) {
	tb.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		frame, err := hex.DecodeString(strings.TrimSpace(line))
		if err != nil {
			tb.Fatal(err)
		}
		frames = append(frames, frame)
	}
	return frames
}

// headerOf is ParseHeader for what we do not serve, too.
func headerOf(tb testing.TB, frame []byte) (Header, []byte) {
	tb.Helper()
	h := Header{
		Key: int16(binary.BigEndian.Uint16(frame)), Version: int16(binary.BigEndian.Uint16(frame[2:])),
		CorrelationID: int32(binary.BigEndian.Uint32(frame[4:])),
	}
	id, rest, err := clientID(frame[headerFixedBytes:])
	if err != nil {
		tb.Fatalf("client id of %x: %v", frame, err)
	}
	h.ClientID = id
	if s := shapeOf(h.Key); s != nil && h.Version >= s.flexible {
		if rest[0] != 0 {
			tb.Fatalf("header of %x has tags", frame)
		}
		rest = rest[1:]
	}
	return h, rest
}

// TestRequestsOfJavaAreEncodedAsTheyWere: header and body, byte for byte, so no field is missed, dropped
// or read as another.
func TestRequestsOfJavaAreEncodedAsTheyWere(t *testing.T) {
	for _, file := range []string{recorded, encoded} {
		for _, frame := range javaRequests(t, file) {
			h, body := headerOf(t, frame)
			if unstable := h.Key == 22 && h.Version == 6; unstable {
				continue // InitProducerId of KIP-939, which Kafka does not serve yet and kmsg does not know
			}
			req, err := Decode(h, body)
			if err != nil {
				t.Errorf("key %d version %d: %v for %x", h.Key, h.Version, err, frame)
				continue
			}
			again := kmsg.NewRequestFormatter(kmsg.FormatterClientID(*h.ClientID)).AppendRequest(nil, req, h.CorrelationID)
			if got := again[4:]; !bytes.Equal(got, frame) {
				t.Errorf("%s version %d\ngot  %x\nwant %x", kmsg.NameForKey(h.Key), h.Version, got, frame)
			}
		}
	}
}

// TestEveryRequestThatIsServedIsJavas: what we say that we serve was recorded in some version, and is encoded in
// every version. Below it stands what Java never asks: of that, kmsg is the only witness (TestGuardAcceptsWhatKmsgEncodes).
func TestEveryRequestThatIsServedIsJavas(t *testing.T) {
	neverAsked := map[string]string{
		"AlterConfigs": "Kafka 4 took the call out of its Admin; its classes still encode the request",
	}
	neverEncoded := map[string][]int16{
		"Produce": {0, 1, 2}, // Kafka 4 names them for librdkafka's sake, as we do
	}
	asked, known := map[int16]bool{}, map[[2]int16]bool{}
	for _, frame := range javaRequests(t, recorded) {
		h, _ := headerOf(t, frame)
		asked[h.Key] = true
	}
	for _, frame := range javaRequests(t, encoded) {
		h, _ := headerOf(t, frame)
		known[[2]int16{h.Key, h.Version}] = true
	}
	for _, api := range Supported() {
		if _, never := neverAsked[api.Name]; asked[api.Key] == never {
			t.Errorf("%s: recorded %v, want %v", api.Name, asked[api.Key], !never)
		}
		for version := api.Advertised; version <= api.Max; version++ {
			got, want := known[[2]int16{api.Key, version}], !slices.Contains(neverEncoded[api.Name], version)
			if got != want {
				t.Errorf("%s version %d: encoded %v, want %v", api.Name, version, got, want)
			}
		}
	}
}
