//go:build (linux || darwin || freebsd) && race

package vfs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

func init() {
	children["read what is published"] = func(path string) error {
		return readWhile(path, func(f File) error { return second(f.WriteAt(make([]byte, 8), 8)) })
	}
	children["read what is not published"] = func(path string) error {
		return readWhile(path, func(f File) error { return second(f.WriteAt(make([]byte, 8), 7)) })
	}
	children["read what is not cut off"] = func(path string) error {
		return readWhile(path, func(f File) error { return f.Truncate(8) })
	}
	children["read what is cut off"] = func(path string) error {
		return readWhile(path, func(f File) error { return f.Truncate(7) })
	}
}

// readWhile reads the first 8 of the 16 bytes of a mapped file and calls do, in two goroutines
// without any synchronization.
func readWhile(path string, do func(f File) error) error {
	dir, err := OS().OpenDir(path)
	if err != nil {
		return err
	}
	f, err := dir.Create("file")
	if err != nil {
		return err
	}
	if _, err := WriteFull(f, make([]byte, 16), 0); err != nil {
		return err
	}
	m, err := f.Map(16)
	if err != nil {
		return err
	}
	return together(
		func() error { return do(f) },
		// Read all 8 bytes at once: the detector remembers few accesses of a word, and eight
		// reads could make it forget that of the other goroutine.
		func() error { seen.Store(binary.LittleEndian.Uint64(m.Bytes())); return nil })
}

func together(these ...func() error) error {
	errs := make([]error, len(these))
	var all sync.WaitGroup
	for i, do := range these {
		all.Go(func() { errs[i] = do() })
	}
	all.Wait()
	return errors.Join(errs...)
}

var seen atomic.Uint64

func TestRaceDetectorSeesReadersOfUnpublishedBytes(t *testing.T) {
	for what, racy := range map[string]bool{
		"read what is published":     false,
		"read what is not published": true,
		"read what is not cut off":   false,
		"read what is cut off":       true,
	} {
		c := childCommand(t, what, t.TempDir())
		c.Stderr = nil
		output, err := c.CombinedOutput()
		var exit *exec.ExitError
		switch found := errors.As(err, &exit) && exit.ExitCode() == racyExit && strings.Contains(string(output), "DATA RACE"); {
		case racy && !found:
			t.Errorf("%s: no race was found: %v\n%s", what, err, output)
		case !racy && err != nil:
			t.Errorf("%s: %v\n%s", what, err, output)
		}
	}
}

func TestCopiesMissNoWriteOfTheirTime(t *testing.T) {
	const size = 4096
	f := create(t, openDir(t, t.TempDir()), "file", strings.Repeat("\x00", size))
	var written atomic.Int64
	must(t, together(
		func() error {
			for i := range int64(size) {
				if _, err := f.WriteAt([]byte{1}, i); err != nil {
					return err
				}
				written.Store(i + 1)
			}
			return nil
		},
		func() error {
			for written.Load() < size {
				m, err := f.Map(size)
				if err != nil {
					return err
				}
				n := written.Load()
				if shown := bytes.Count(m.Bytes()[:n], []byte{1}); shown < int(n) {
					t.Errorf("%d bytes were written, but the mapping shows %d", n, shown)
				}
				if err := m.Unmap(); err != nil {
					return err
				}
			}
			return nil
		}))
}
