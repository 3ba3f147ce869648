package tools

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Versions of what is installed, pinned so that a run can be repeated.
const (
	KafkaVersion       = "4.4.0"
	KafkaJSVersion     = "2.2.4"
	KafkaPythonVersion = "3.0.12"
	ConfluentVersion   = "2.16.1"
)

// pythonPackages are the two clients, and the codecs that kafka-python takes from others.
var pythonPackages = []string{
	"kafka-python==" + KafkaPythonVersion, "confluent-kafka==" + ConfluentVersion,
	"lz4==4.4.5", "zstandard==0.25.0", "python-snappy==0.7.3", "crc32c==2.9.post0",
}

// nodePackages are the client, and a codec that it takes from others.
var nodePackages = []string{"kafkajs@" + KafkaJSVersion, "kafkajs-snappy@1.1.0"}

const (
	installWithin = 10 * time.Minute
	saidBytesMax  = 2000
)

// ErrNotInstalled is that of a tool that is not in the cache, where nothing may be installed. The cell
// or test that needs it says so and is skipped.
var ErrNotInstalled = errors.New("it is not installed (task interop installs it)")

// Cache is a directory for what is installed.
type Cache struct {
	Dir string
	// Install says whether what is missing may be got.
	Install bool
}

// Default is OUTRIGGER_TOOLS, or a directory below the user's cache directory.
func Default(install bool) (Cache, error) {
	if dir := os.Getenv("OUTRIGGER_TOOLS"); dir != "" {
		return Cache{Dir: dir, Install: install}, nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return Cache{}, fmt.Errorf("find the cache directory (choose one with OUTRIGGER_TOOLS): %w", err)
	}
	return Cache{Dir: filepath.Join(dir, "outrigger-tools"), Install: install}, nil
}

// Python is the interpreter, and the directory that PYTHONPATH must name.
func (c Cache) Python(ctx context.Context) (python, path string, err error) {
	python, err = exec.LookPath("python3")
	if err != nil {
		return "", "", fmt.Errorf("find python3: %w", err)
	}
	path, err = c.once(ctx, "python", strings.Join(pythonPackages, " "), func(ctx context.Context, dir string) error {
		args := []string{"-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", dir}
		return run(ctx, dir, python, append(args, pythonPackages...)...)
	})
	return python, path, err
}

// Node is the interpreter, and the directory that NODE_PATH must name.
func (c Cache) Node(ctx context.Context) (node, path string, err error) {
	node, err = exec.LookPath("node")
	if err != nil {
		return "", "", fmt.Errorf("find node: %w", err)
	}
	path, err = c.once(ctx, "node", strings.Join(nodePackages, " "), func(ctx context.Context, dir string) error {
		return run(ctx, dir, "npm", append([]string{"install", "--silent", "--no-audit", "--no-fund", "--prefix", dir}, nodePackages...)...)
	})
	return node, filepath.Join(path, "node_modules"), err
}

// Kcat finds it. It is small and old; any version will do.
func (c Cache) Kcat(ctx context.Context) (string, error) {
	path, err := exec.LookPath("kcat")
	if err == nil {
		return path, nil
	}
	if !c.Install || os.Geteuid() != 0 {
		return "", fmt.Errorf("kcat: %w", ErrNotInstalled)
	}
	if err := run(ctx, "", "apt-get", "update", "-qq"); err != nil {
		return "", err
	}
	if err := run(ctx, "", "apt-get", "install", "-y", "-qq", "kcat"); err != nil {
		return "", err
	}
	return exec.LookPath("kcat")
}

// once installs something into a directory that bears the digest of what it is, unless it is there.
func (c Cache) once(
	ctx context.Context, name, what string, install func(ctx context.Context, dir string) error,
) (string, error) {
	digest := sha256.Sum256([]byte(what))
	dir := filepath.Join(c.Dir, name+"-"+hex.EncodeToString(digest[:6]))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if !c.Install {
		return "", fmt.Errorf("%s: %w", name, ErrNotInstalled)
	}
	if err := os.MkdirAll(c.Dir, 0o750); err != nil {
		return "", fmt.Errorf("make the cache: %w", err)
	}
	unfinished, err := os.MkdirTemp(c.Dir, name+"-unfinished-")
	if err != nil {
		return "", fmt.Errorf("make a directory for %s: %w", name, err)
	}
	defer func() { _ = os.RemoveAll(unfinished) }() // only the cache is the larger for it
	if err := install(ctx, unfinished); err != nil {
		return "", fmt.Errorf("install %s: %w", name, err)
	}
	// whoever was faster has the same
	if err := os.Rename(unfinished, dir); err != nil && !errors.Is(err, os.ErrExist) {
		return "", fmt.Errorf("keep %s: %w", name, err)
	}
	return dir, nil
}

// run runs an installer; what it said goes into the error.
func run(ctx context.Context, dir, name string, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, installWithin)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	out, err := cmd.CombinedOutput()
	if err != nil {
		out = bytes.TrimSpace(out[max(0, len(out)-saidBytesMax):])
		return fmt.Errorf("%s: %w: %s", name, errors.Join(err, ctx.Err()), out)
	}
	return nil
}
