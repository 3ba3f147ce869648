package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

const (
	buildWithin    = 10 * time.Minute
	downloadWithin = 20 * time.Minute
	errorBytesMax  = 2000
)

// Cache is a directory for what is built and downloaded.
type Cache struct{ Dir string }

// DefaultDir is below the user's cache directory.
func DefaultDir() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the cache directory (choose one with --cache): %w", err)
	}
	return filepath.Join(dir, "outrigger-peers"), nil
}

// Outrigger builds our binary. The working directory is this module's.
func (c Cache) Outrigger(ctx context.Context) (path string, err error) {
	return c.build(ctx, "outrigger", "./cmd/outrigger")
}

// NATSServer builds the server at the version that go.mod names: the one that we embed.
func (c Cache) NATSServer(ctx context.Context) (path string, err error) {
	return c.build(ctx, "nats-server", "github.com/nats-io/nats-server/v2")
}

func (c Cache) build(ctx context.Context, name, of string) (string, error) {
	path := filepath.Join(c.Dir, "bin", name)
	return path, run(ctx, buildWithin, "", "go", "build", "-o", path, of)
}

// natsCLIVersion is the client's; its `bench` is what publishes to JetStream.
const natsCLIVersion = "v0.5.1"

// NATSCLI installs the nats CLI.
func (c Cache) NATSCLI(ctx context.Context) (string, error) {
	dir := filepath.Join(c.Dir, "natscli-"+natsCLIVersion)
	path := filepath.Join(dir, "nats")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	// the flags of this module are not those of that one
	return path, runWith(ctx, downloadWithin, tool{name: "go", env: []string{"GOBIN=" + dir, "GOFLAGS="},
		args: []string{"install", "github.com/nats-io/natscli/nats@" + natsCLIVersion}})
}

// Kafka is an installation of Apache Kafka.
type Kafka struct {
	// Libs is the directory of all jars.
	Libs string
	// Version is that of the jars.
	Version string
}

// Kafka gets the newest version within a range, in Maven's notation, such as "[4.0.0,5.0.0)". A cache
// that has the range asks nobody again; remove it to look for a newer one.
func (c Cache) Kafka(ctx context.Context, versions string) (Kafka, error) {
	dir := filepath.Join(c.Dir, "kafka-"+directoryName(versions))
	libs := filepath.Join(dir, "libs")
	if k, err := installed(libs); err == nil {
		return k, nil
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return Kafka{}, fmt.Errorf("make the cache: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "pom.xml"), project(versions), 0o600); err != nil {
		return Kafka{}, fmt.Errorf("write the project file: %w", err)
	}
	// into another directory first: a download that was cut short must not pass for a whole one
	unfinished := filepath.Join(dir, "unfinished")
	if err := os.RemoveAll(unfinished); err != nil {
		return Kafka{}, fmt.Errorf("clear the cache: %w", err)
	}
	err := run(ctx, downloadWithin, dir, "mvn", "--batch-mode", "--quiet", "dependency:copy-dependencies",
		"-DincludeScope=runtime", "-DoutputDirectory="+unfinished)
	if err != nil {
		return Kafka{}, err
	}
	if err := os.Rename(unfinished, libs); err != nil {
		return Kafka{}, fmt.Errorf("keep the jars: %w", err)
	}
	return installed(libs)
}

var unsafeInNames = regexp.MustCompile(`[^0-9A-Za-z.]+`)

func directoryName(versions string) string {
	return strings.Trim(unsafeInNames.ReplaceAllString(versions, "-"), "-")
}

// project names Kafka, and a binding for its log: without one it would write none, which is not what
// operators run.
func project(versions string) []byte {
	return fmt.Appendf(nil, `<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>outrigger</groupId>
  <artifactId>peers</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>%s</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId>
      <artifactId>log4j-slf4j-impl</artifactId>
      <version>[2.25.0,2.26.0)</version>
    </dependency>
  </dependencies>
</project>
`, versions)
}

const brokerJar = "kafka_2.13-"

// installed looks which version a directory holds.
func installed(libs string) (Kafka, error) {
	found, err := filepath.Glob(filepath.Join(libs, brokerJar+"*.jar"))
	if err != nil {
		return Kafka{}, err
	}
	if len(found) != 1 {
		return Kafka{}, fmt.Errorf("%d Kafka brokers in %s, want one", len(found), libs)
	}
	version := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(found[0]), brokerJar), ".jar")
	return Kafka{Libs: libs, Version: version}, nil
}

func run(ctx context.Context, within time.Duration, dir, name string, args ...string) error {
	return runWith(ctx, within, tool{dir: dir, name: name, args: args})
}

// tool is one call of a program.
type tool struct {
	dir, name string
	args, env []string
}

// runWith runs a tool; what it said goes into the error.
func runWith(ctx context.Context, within time.Duration, t tool) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	cmd := exec.CommandContext(ctx, t.name, t.args...)
	cmd.Dir, cmd.Env = t.dir, append(os.Environ(), t.env...)
	out, err := cmd.CombinedOutput()
	if err == nil {
		return nil
	}
	what := strings.Join(cmd.Args[:min(3, len(cmd.Args))], " ")
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("%s: is it installed? %w", what, err)
	}
	return fmt.Errorf("%s: %w: %s", what, errors.Join(err, ctx.Err()), bytes.TrimSpace(out[max(0, len(out)-errorBytesMax):]))
}
