//go:build amd64

package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestThirtyTwoBitsAreRefused runs a 32-bit build: every command says that the system
// is not supported, and creates nothing.
func TestThirtyTwoBitsAreRefused(t *testing.T) {
	work := t.TempDir()
	command := filepath.Join(work, "mmapkv")
	build := exec.Command("go", "build", "-o", command, ".")
	build.Env = append(os.Environ(), "GOARCH=386", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, args := range []string{
		"--dir store put k v", "--dir store get k", "--dir store verify", "--dir store import --files .", "--namespace store put k v", "salvage gone rescued",
	} {
		c := exec.Command(command, strings.Fields(args)...)
		c.Dir = work
		out, err := c.CombinedOutput()
		const want = "mmapkv: linux/386 is not supported: stores need a 64-bit system"
		var ended *exec.ExitError
		if !errors.As(err, &ended) || ended.ExitCode() != exitIO || !strings.HasPrefix(string(out), want) {
			t.Errorf("%s: %v, %q", args, err, out)
		}
	}
	if names, err := os.ReadDir(work); err != nil || len(names) != 1 {
		t.Errorf("it made something: %v, %v", names, err)
	}
}
