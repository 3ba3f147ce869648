package tools

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

//go:embed pom.xml
var project string

// Java is what runs Kafka's own clients, tools and broker.
type Java struct {
	// Path is the java command.
	Path string
	// Libs is the directory of the jars.
	Libs string
}

// Java gets Kafka's jars.
func (c Cache) Java(ctx context.Context) (Java, error) {
	path, err := exec.LookPath("java")
	if err != nil {
		return Java{}, fmt.Errorf("find java: %w", err)
	}
	pom := strings.ReplaceAll(project, "KAFKA", KafkaVersion)
	libs, err := c.once(ctx, "kafka", pom, func(ctx context.Context, dir string) error {
		file := filepath.Join(dir, "pom.xml")
		if err := os.WriteFile(file, []byte(pom), 0o600); err != nil {
			return err
		}
		return run(ctx, dir, "mvn", "--batch-mode", "--quiet", "--file", file, "dependency:copy-dependencies",
			"-DincludeScope=runtime", "-DoutputDirectory="+dir)
	})
	return Java{Path: path, Libs: libs}, err
}

// Compiled compiles one source file against the jars, and returns the directory of its classes.
func (c Cache) Compiled(ctx context.Context, j Java, source string) (string, error) {
	text, err := os.ReadFile(source)
	if err != nil {
		return "", err
	}
	return c.once(ctx, "classes", KafkaVersion+string(text), func(ctx context.Context, dir string) error {
		return run(ctx, "", "javac", "-cp", filepath.Join(j.Libs, "*"), "-d", dir, source)
	})
}

// short are the flags of a JVM that lives for seconds: little memory, and no compiler that is not worth its start.
var short = []string{"-Xmx192m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-Xshare:auto"}

// Command is that of a short-lived JVM which runs a class, with further classes beside the jars.
func (j Java) Command(classes, class string, args ...string) *exec.Cmd {
	path := filepath.Join(j.Libs, "*")
	if classes != "" {
		path = classes + string(os.PathListSeparator) + path
	}
	flags := append(append([]string{}, short...), "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", path, class)
	return exec.Command(j.Path, append(flags, args...)...)
}
