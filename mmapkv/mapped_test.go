//go:build !race && !invariants

// These tests hold only where a callback sees the mapped memory itself.

package mmapkv

import (
	"bytes"
	"errors"
	"os"
	"runtime"
	"testing"

	"github.com/mmapkv/mmapkv/fsync"
)

func TestPutOfFaultingValueHoldsNoLock(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, &Options{SegmentSize: 1 << 20})
	put(t, s, "a", string(bytes.Repeat([]byte("v"), 100_000)))
	err := s.View([]byte("a"), func(value []byte) error {
		for _, name := range segmentFiles(t, dir) {
			if err := os.Truncate(name, 4096); err != nil {
				t.Fatal(err)
			}
		}
		return s.Put([]byte("b"), value)
	})
	if !errors.Is(err, ErrCorrupt) {
		t.Errorf("View: %v", err)
	}
	wantAbsent(t, s, "b")
	if err := s.Delete([]byte("a")); err != nil {
		t.Errorf("a later write: %v", err)
	}
}

func TestPutOfFaultingLongValueLeavesNoFile(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, &Options{SegmentSize: 1 << 20})
	put(t, s, "a", string(bytes.Repeat([]byte("v"), 1_000_000)))
	if err := s.log.SealEnded(t.Context()); err != nil { // sealing later would extend the truncated file again
		t.Fatal(err)
	}
	files := segmentFiles(t, dir)
	err := s.View([]byte("a"), func(value []byte) error {
		if err := os.Truncate(files[0], 4096); err != nil {
			t.Fatal(err)
		}
		return s.Put([]byte("b"), value)
	})
	if !errors.Is(err, ErrCorrupt) {
		t.Errorf("View: %v", err)
	}
	wantAbsent(t, s, "b")
	if after := segmentFiles(t, dir); len(after) > len(files) {
		t.Errorf("%d files are left, %d were there before", len(after), len(files))
	}
	put(t, s, "b", string(make([]byte, 1_000_000)))
}

func TestCallbackThatWritesIntoTheValue(t *testing.T) {
	s := open(t, t.TempDir(), tiny())
	put(t, s, "a", "value")
	func() {
		defer func() {
			if _, ok := recover().(runtime.Error); !ok {
				t.Error("writing into the value did not panic")
			}
		}()
		_ = s.View([]byte("a"), func(value []byte) error { value[0] = 'x'; return nil })
	}()
	wantValue(t, s, "a", "value")
}

func TestReadsDoNotAllocate(t *testing.T) {
	s := open(t, t.TempDir(), &Options{SegmentSize: 1 << 20})
	fill(t, s, 0, 1000, 128)
	key, value := numbered(500, 128)
	absent, buffer := []byte("absent"), make([]byte, 0, 4096)
	sum := 0
	show := func(value []byte) error { sum += len(value); return nil }
	for name, op := range map[string]func(){
		"AppendGet":  func() { buffer, _ = s.AppendGet(buffer[:0], key) },
		"View":       func() { _ = s.View(key, show) },
		"Has":        func() { _, _ = s.Has(key) },
		"absent Has": func() { _, _ = s.Has(absent) },
		"TTL":        func() { _, _, _ = s.TTL(key) },
	} {
		if n := testing.AllocsPerRun(1000, op); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
	if n := testing.AllocsPerRun(1000, func() { _ = s.Put(key, value) }); n > 1 {
		t.Errorf("Put allocates %v times", n)
	}
	if !bytes.Equal(buffer, value) || sum == 0 {
		t.Error("the reads read nothing")
	}
}

func TestValueOf256MiB(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, &Options{Sync: fsync.Never})
	value := make([]byte, 256<<20)
	for i := range value {
		value[i] = byte(i >> 12)
	}
	if err := s.Put([]byte("large"), value); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	s = open(t, dir, nil)
	err := s.View([]byte("large"), func(got []byte) error {
		if !bytes.Equal(got, value) {
			t.Error("the value has changed")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
