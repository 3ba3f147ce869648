package batch

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// Stamp makes `at`, in milliseconds, the timestamp of all records of the batch b, in place: the time of
// the append, as message.timestamp.type=LogAppendTime asks for. The checksum is computed anew.
func Stamp(b []byte, at int64) {
	put := binary.BigEndian
	put.PutUint16(b[atAttributes:], put.Uint16(b[atAttributes:])|bitLogAppendTime)
	put.PutUint64(b[atMaxTimestamp:], uint64(at))
	put.PutUint32(b[atCRC:], Checksum(b))
}

// Levels are how hard codecs work; zero is a codec's default.
type Levels struct{ Gzip, Lz4, Zstd int }

// Recompress returns the batch b, which Validate has accepted, with its records compressed by another
// codec. Everything else about it stays, but for length and checksum. What comes out of the old codec
// passes through a small window; the new records are held whole.
func Recompress(b []byte, codec Codec, levels Levels) ([]byte, error) {
	h, err := ParseHeader(b)
	if err != nil {
		return nil, fmt.Errorf("recompress batch: %w", err)
	}
	body := b[HeaderBytes:h.Size()]
	var plain io.Reader = bytes.NewReader(body)
	if h.Codec() != CodecNone {
		s := openStream()
		defer s.close()
		if plain, err = s.open(h.Codec(), body, DecompressedBytesMax); err != nil {
			return nil, fmt.Errorf("recompress batch: %w", err)
		}
	}
	out := bytes.NewBuffer(make([]byte, 0, len(b)))
	out.Write(b[:HeaderBytes])
	if err := recode(out, plain, codec, levels); err != nil {
		return nil, fmt.Errorf("recompress batch as %s: %w", codec, err)
	}
	made := out.Bytes()
	binary.BigEndian.PutUint16(made[atAttributes:], uint16(h.Attributes)&^uint16(bitsCodec)|uint16(codec))
	Seal(made)
	return made, nil
}

// recode copies records through a codec.
func recode(out *bytes.Buffer, plain io.Reader, codec Codec, levels Levels) error {
	w, err := compressor(out, codec, levels)
	if err != nil {
		return err
	}
	limited := &io.LimitedReader{R: plain, N: DecompressedBytesMax + 1}
	if _, err := io.Copy(w, limited); err != nil {
		return fmt.Errorf("copy records: %w", err)
	}
	if limited.N == 0 {
		return fmt.Errorf("more decompressed bytes than allowed: %w", ErrTooLarge)
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("end records: %w", err)
	}
	return nil
}

// compressor writes through a codec, with the defaults that Kafka's brokers use where a level is not set.
func compressor(out *bytes.Buffer, codec Codec, levels Levels) (io.WriteCloser, error) {
	switch codec {
	case CodecNone:
		return plainWriter{out}, nil
	case CodecSnappy:
		return &xerialWriter{out: out}, nil
	case CodecGzip:
		level := gzip.DefaultCompression
		if levels.Gzip != 0 {
			level = levels.Gzip
		}
		w, err := gzip.NewWriterLevel(out, level)
		if err != nil {
			return nil, fmt.Errorf("make gzip encoder: %w", err)
		}
		return w, nil
	case CodecLz4:
		w := lz4.NewWriter(out)
		if err := w.Apply(lz4.CompressionLevelOption(lz4Level(levels.Lz4)), lz4.BlockSizeOption(lz4.Block64Kb)); err != nil {
			return nil, fmt.Errorf("make lz4 encoder: %w", err)
		}
		return w, nil
	case CodecZstd:
		options := []zstd.EOption{zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(zstdWindowBytes)}
		if levels.Zstd != 0 {
			options = append(options, zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(levels.Zstd)))
		}
		w, err := zstd.NewWriter(out, options...)
		if err != nil {
			return nil, fmt.Errorf("make zstd encoder: %w", err)
		}
		return w, nil
	}
	return nil, fmt.Errorf("%s: %w", codec, ErrUnsupportedCodec)
}

// lz4LevelDefault stands for the fast compressor in Kafka (KIP-390); the levels are those of the other one.
const lz4LevelDefault = 9

// lz4Level maps Kafka's levels, 1 to 17, to those of the library.
func lz4Level(level int) lz4.CompressionLevel {
	all := []lz4.CompressionLevel{lz4.Level1, lz4.Level2, lz4.Level3, lz4.Level4, lz4.Level5,
		lz4.Level6, lz4.Level7, lz4.Level8, lz4.Level9}
	if level == 0 || level == lz4LevelDefault {
		return lz4.Fast
	}
	return all[min(max(level-1, 0), len(all)-1)]
}

type plainWriter struct{ io.Writer }

func (plainWriter) Close() error { return nil }

// xerialWriter writes framed snappy, as Kafka's brokers do: one raw block would have to be held whole.
type xerialWriter struct {
	out   *bytes.Buffer
	begun bool
	block []byte // not yet compressed
}

func (w *xerialWriter) Write(p []byte) (int, error) {
	total := len(p)
	for len(p) > 0 {
		n := min(len(p), xerialBlockBytes-len(w.block))
		w.block = append(w.block, p[:n]...)
		p = p[n:]
		if len(w.block) == xerialBlockBytes {
			w.flush()
		}
	}
	return total, nil
}

func (w *xerialWriter) flush() {
	if !w.begun {
		w.begun = true
		w.out.WriteString(xerialMagic + "\x00\x00\x00\x01\x00\x00\x00\x01")
	}
	block := snappy.Encode(nil, w.block)
	w.out.Write(binary.BigEndian.AppendUint32(nil, uint32(len(block))))
	w.out.Write(block)
	w.block = w.block[:0]
}

func (w *xerialWriter) Close() error {
	if len(w.block) > 0 || !w.begun {
		w.flush()
	}
	return nil
}
