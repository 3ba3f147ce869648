package fetch

import (
	"encoding/xml"
	"os"
	"path/filepath"
	"testing"
)

func TestProjectNamesTheVersions(t *testing.T) {
	var parsed struct {
		Dependencies []struct {
			Artifact string `xml:"artifactId"`
			Version  string `xml:"version"`
		} `xml:"dependencies>dependency"`
	}
	if err := xml.Unmarshal(project("[4.0.0,5.0.0)"), &parsed); err != nil {
		t.Fatal(err)
	}
	if len(parsed.Dependencies) != 2 || parsed.Dependencies[0].Artifact != "kafka_2.13" || parsed.Dependencies[0].Version != "[4.0.0,5.0.0)" {
		t.Errorf("got %+v, want kafka_2.13 in [4.0.0,5.0.0) and a log", parsed.Dependencies)
	}
}

func TestInstalledTellsTheVersion(t *testing.T) {
	libs := t.TempDir()
	if k, err := installed(libs); err == nil {
		t.Errorf("an empty directory: got %+v, want an error", k)
	}
	for _, name := range []string{"kafka_2.13-4.4.0.jar", "kafka-clients-4.4.0.jar"} {
		if err := os.WriteFile(filepath.Join(libs, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if k, err := installed(libs); err != nil || k.Version != "4.4.0" {
		t.Errorf("got %+v %v, want 4.4.0", k, err)
	}
}

func TestDirectoryNameIsSafe(t *testing.T) {
	if got, want := directoryName("[4.0.0,5.0.0)"), "4.0.0-5.0.0"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
