//go:build !race

// Race builds read heap copies, which do not fault.

package mmapkv

import (
	"bytes"
	"errors"
	"os"
	"sync"
	"testing"
)

// cutSegments opens a store of several segments and truncates all of their files
// after the header, so that every record faults.
func cutSegments(t *testing.T) *Store {
	t.Helper()
	dir := t.TempDir()
	s := open(t, dir, tiny())
	fill(t, s, 0, 200, 100)
	for _, name := range segmentFiles(t, dir) {
		if err := os.Truncate(name, 64); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func TestTruncatedFileIsAnErrorOnEveryRead(t *testing.T) {
	s := cutSegments(t)
	var corrupt *CorruptError
	faults := 0
	for i := range 200 {
		key, _ := numbered(i, 0)
		_, getErr := s.Get(key)
		dst := []byte("kept")
		out, appendErr := s.AppendGet(dst, key)
		_, hasErr := s.Has(key)
		_, _, ttlErr := s.TTL(key)
		for name, err := range map[string]error{
			"Get": getErr, "AppendGet": appendErr, "Has": hasErr, "TTL": ttlErr,
			"View": s.View(key, func([]byte) error { return nil }),
		} {
			if err == nil {
				continue // the page of the header is still there
			}
			if !errors.Is(err, ErrCorrupt) || !errors.As(err, &corrupt) || corrupt.File == "" {
				t.Fatalf("%s: %v", name, err)
			}
			faults++
		}
		if string(out) != "kept" && appendErr != nil {
			t.Fatalf("AppendGet gave %q with an error", out)
		}
	}
	if faults < 500 {
		t.Errorf("only %d reads failed", faults)
	}
	for range s.Keys() {
	}
	if err := s.Range(func(key, value []byte) error { return nil }); !errors.Is(err, ErrCorrupt) {
		t.Errorf("Range: %v", err)
	}
	put(t, s, "new", "works")
}

func TestFaultsUnderConcurrentReaders(t *testing.T) {
	s := cutSegments(t)
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for i := range 2000 {
				key, want := numbered(i%200, 100)
				if got, err := s.Get(key); err == nil && !bytes.Equal(got, want) {
					t.Errorf("key %d: a wrong value", i)
				}
			}
		})
	}
	readers.Wait()
}
