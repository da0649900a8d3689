package mmapkv

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/mmapkv/mmapkv/internal/vfs"
)

func TestPutOfViewedValue(t *testing.T) {
	s := open(t, t.TempDir(), tiny())
	put(t, s, "a", "the value")
	for i := range 300 {
		err := s.View([]byte("a"), func(value []byte) error { return s.Put(fmt.Append(nil, "b", i), value) })
		if err != nil {
			t.Fatal(err)
		}
	}
	wantValue(t, s, "b299", "the value")
}

func TestCallbackPanicPassesUnchanged(t *testing.T) {
	s := open(t, t.TempDir(), tiny())
	put(t, s, "a", "value")
	mine := errors.New("mine")
	for name, read := range map[string]func(fn func()) error{
		"View":  func(fn func()) error { return s.View([]byte("a"), func([]byte) error { fn(); return nil }) },
		"Range": func(fn func()) error { return s.Range(func(_, _ []byte) error { fn(); return nil }) },
	} {
		func() {
			defer func() {
				if r := recover(); r != mine {
					t.Errorf("%s: recovered %v", name, r)
				}
			}()
			_ = read(func() { panic(mine) })
		}()
		func() {
			defer func() {
				if _, ok := recover().(runtime.Error); !ok {
					t.Errorf("%s: a nil dereference of the callback did not come through", name)
				}
			}()
			_ = read(func() { var p *int; *p = 1 })
		}()
	}
	wantValue(t, s, "a", "value")
}

func TestCallbackGoexit(t *testing.T) {
	s := open(t, t.TempDir(), tiny())
	put(t, s, "a", "value")
	done := make(chan bool)
	go func() {
		defer close(done)
		_ = s.View([]byte("a"), func([]byte) error { runtime.Goexit(); return nil })
		t.Error("View returned")
	}()
	<-done
	put(t, s, "a", "other")
}

func TestCallbackThatRecovers(t *testing.T) {
	s := open(t, t.TempDir(), tiny())
	put(t, s, "a", "value")
	mine := errors.New("mine")
	err := s.View([]byte("a"), func(value []byte) (err error) {
		defer func() {
			if recover() != nil {
				err = mine
			}
		}()
		panic("caught inside")
	})
	if err != mine {
		t.Errorf("View = %v", err)
	}
}

func TestNestedViewAndWrites(t *testing.T) {
	s := open(t, t.TempDir(), tiny())
	put(t, s, "a", "outer")
	put(t, s, "b", "inner")
	err := s.View([]byte("a"), func(outer []byte) error {
		return s.View([]byte("b"), func(inner []byte) error {
			fill(t, s, 0, 200, 100)
			if err := s.Delete([]byte("a")); err != nil {
				return err
			}
			if string(outer) != "outer" || string(inner) != "inner" {
				t.Errorf("the values are %q and %q", outer, inner)
			}
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	wantAbsent(t, s, "a")
}

func TestCloseInsideView(t *testing.T) {
	s := open(t, t.TempDir(), tiny())
	put(t, s, "a", "value")
	err := s.View([]byte("a"), func(value []byte) error {
		if err := s.Close(); err != nil {
			return err
		}
		if string(value) != "value" {
			t.Errorf("after Close the value is %q", value)
		}
		if _, err := s.Get([]byte("a")); !errors.Is(err, ErrClosed) {
			t.Errorf("Get after Close: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestReadsWithoutMappings(t *testing.T) {
	defer vfs.SetMappingLimit(2)()
	dir := t.TempDir()
	for range 2 {
		s := open(t, dir, tiny())
		fill(t, s, 0, 300, 100)
		wantFilled(t, s, 0, 300, 100)
		unmapped := 0
		for _, segment := range s.Stats().Segments {
			if !segment.Mapped {
				unmapped++
			}
		}
		if unmapped == 0 {
			t.Error("all segments are mapped")
		}
		n := 0
		if err := s.Range(func(key, value []byte) error { n++; return nil }); err != nil || n != 300 {
			t.Errorf("Range shows %d pairs, %v", n, err)
		}
		closeStore(t, s)
	}
}

func TestClosedStoreHoldsNothing(t *testing.T) {
	count := func() int {
		names, err := filepath.Glob("/proc/self/fd/*")
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	before := count()
	var kept []*Store
	for range 5 {
		s := open(t, t.TempDir(), tiny())
		fill(t, s, 0, 200, 100)
		closeStore(t, s)
		kept = append(kept, s)
	}
	if after := count(); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
	runtime.KeepAlive(kept)
}
