package golden

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// pack writes the files below dir into an archive. Zeros, of which a log has many, cost next to nothing.
func pack(t testing.TB, dir, archive string) {
	t.Helper()
	var out bytes.Buffer
	compressor, err := zstd.NewWriter(&out, zstd.WithEncoderLevel(zstd.SpeedBestCompression))
	must(t, err)
	w := tar.NewWriter(compressor)
	must(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(content)), Format: tar.FormatPAX}); err != nil {
			return err
		}
		_, err = w.Write(content)
		return err
	}))
	must(t, errors.Join(w.Close(), compressor.Close()))
	must(t, os.WriteFile(archive, out.Bytes(), 0o644)) //nolint:gosec // it goes into the repository
}

// unpack makes dir of an archive, with holes where blocks are zero.
func unpack(t testing.TB, archive, dir string) {
	t.Helper()
	file, err := os.Open(archive)
	must(t, err)
	defer func() { must(t, file.Close()) }()
	plain, err := zstd.NewReader(file)
	must(t, err)
	defer plain.Close()
	r := tar.NewReader(plain)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		must(t, err)
		if !filepath.IsLocal(h.Name) {
			t.Fatalf("%s holds %q", archive, h.Name)
		}
		path := filepath.Join(dir, h.Name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o700))
		out, err := os.Create(path)
		must(t, err)
		block := make([]byte, 64<<10)
		for at := int64(0); at < h.Size; {
			n, err := io.ReadFull(r, block[:min(int64(len(block)), h.Size-at)])
			must(t, err)
			if !bytes.Equal(block[:n], make([]byte, n)) {
				_, err = out.WriteAt(block[:n], at)
				must(t, err)
			}
			at += int64(n)
		}
		must(t, errors.Join(out.Truncate(h.Size), out.Close()))
	}
}
