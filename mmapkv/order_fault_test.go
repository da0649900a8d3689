package mmapkv

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mmapkv/mmapkv/internal/errorfs"
	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/segment"
)

// countScan scans a store and returns how many pairs come.
func countScan(s *Store) (n int, err error) {
	err = s.Scan(ScanOptions{}, func(_, _ []byte) error { n++; return nil })
	return n, err
}

// A table that cannot be opened ends the making of a view, and so does whoever may stop it. Scans are
// right without a view, and the next look makes one.
func TestViewThatCannotBeMade(t *testing.T) {
	s, disk := onFaulty(t, byHand(), inject.Seams{Manual: true})
	fill(t, s, 0, 200, 100)
	s.endForTest(t)
	s.order.ViewFrom = 1
	if n, err := countScan(s); err != nil || n != 200 {
		t.Fatalf("%d pairs, %v", n, err)
	}
	fill(t, s, 200, 400, 100)
	s.endForTest(t) // nobody has opened the tables of these
	disk.Fail(fails(syscall.EMFILE, ".hint", errorfs.Open))
	if did, err := s.order.StepView(func() error { return nil }); did || !errors.Is(err, syscall.EMFILE) {
		t.Errorf("without descriptors: %v, %v", did, err)
	}
	disk.Heal()
	stopped := errors.New("stopped")
	if did, err := s.order.StepView(func() error { return stopped }); did || !errors.Is(err, stopped) {
		t.Errorf("a view that is stopped: %v, %v", did, err)
	}
	if n, err := countScan(s); err != nil || n != 400 || s.Stats().Order.Views != 0 {
		t.Errorf("%d pairs, %v, %+v", n, err, s.Stats().Order)
	}
	makeView(t, s)
	if n, err := countScan(s); err != nil || n != 400 || s.Stats().Order.Views != 1 {
		t.Errorf("with a view: %d pairs, %v, %+v", n, err, s.Stats().Order)
	}
}

// A store that was closed just before the background looks gets no view.
func TestNoViewOfAClosedStore(t *testing.T) {
	s, _, model := tabled(t, byHand())
	s.order.ViewFrom = 1
	if n, err := countScan(s); err != nil || n != len(model) {
		t.Fatalf("%d pairs, %v", n, err)
	}
	closeStore(t, s)
	called := false
	if did, err := s.order.StepView(func() error { called = true; return nil }); did || err != nil || called {
		t.Errorf("%v, %v, called %v", did, err, called)
	}
}

// A hint that is read often but cannot be mapped is read on by system calls.
func TestScanOfHintsThatCannotBeMapped(t *testing.T) {
	o := byHand()
	o.SegmentSize = 1 << 20
	s, disk := onFaulty(t, o, inject.Seams{Manual: true})
	const keys = 4000
	fill(t, s, 0, keys, 8)
	s.endForTest(t)
	disk.Fail(fails(syscall.ENOMEM, ".hint", errorfs.Map))
	it, err := s.Iterator(ScanOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer it.Close()
	for i := range 2000 {
		key, value := numbered(i*1237%keys, 8)
		if !it.SeekGE(key) || !bytes.Equal(it.Key(), key) {
			t.Fatalf("%q comes instead of %q: %v", it.Key(), key, it.Err())
		}
		if got, err := it.Value(); err != nil || !bytes.Equal(got, value) {
			t.Fatalf("%q has %q, %v", key, got, err)
		}
	}
	if fired := disk.Fired(); fired != 1 {
		t.Errorf("a hint was to be mapped %d times", fired)
	}
	if n, err := countScan(s); err != nil || n != keys {
		t.Errorf("%d pairs, %v", n, err)
	}
}

// The store is closed just when a scan looks at the clock, before it captures what it shows.
func TestScanThatCloseOvertakes(t *testing.T) {
	for _, iterator := range []bool{false, true} {
		var during func()
		o := byHand()
		inject.Into(o, &inject.Seams{Manual: true, Now: func() time.Time {
			if call := during; call != nil {
				during = nil
				call()
			}
			return time.Now()
		}})
		s := open(t, t.TempDir(), o)
		fill(t, s, 0, 50, 100)
		closed := false
		during = func() { closed = true; closeStore(t, s) }
		var err error
		if iterator {
			_, err = s.Iterator(ScanOptions{})
		} else {
			_, err = countScan(s)
		}
		if !closed || !errors.Is(err, ErrClosed) {
			t.Errorf("iterator %v, closed %v: %v", iterator, closed, err)
		}
		s = open(t, s.path, byHand())
		wantFilled(t, s, 0, 50, 100)
	}
}

// The store is closed while Keys waits for the index: no key comes.
func TestKeysThatCloseOvertakes(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, byHand())
	fill(t, s, 0, 50, 100)
	closeStore(t, s)
	o := byHand()
	disk := errorfs.New(vfs.OS())
	inject.Into(o, &inject.Seams{FS: disk, Manual: true, Hold: true})
	s = open(t, dir, o)
	loads := false
	disk.Fail(errorfs.Rule{Err: syscall.EIO, Match: func(op errorfs.Op) bool {
		if op.Kind == errorfs.Read && strings.HasSuffix(op.Name, ".hint") {
			loads = true
			s.closed.Store(true) // as Close does first
		}
		return false
	}})
	for key := range s.Keys() {
		t.Errorf("%q comes after Close", key)
	}
	if !loads || !s.loading.IsDone() {
		t.Errorf("the index was loading: %v", loads)
	}
	closeStore(t, s)
	s = open(t, dir, byHand())
	wantFilled(t, s, 0, 50, 100)
}

// The header of the record that an Iterator stands at rots. ValueSize returns 0, and the Iterator says
// why. Files that cannot be mapped are read anew each time.
func TestValueSizeOfADamagedRecord(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, byHand())
	fill(t, s, 0, 20, 100)
	s.endForTest(t)
	closeStore(t, s)
	disk, o := errorfs.New(vfs.OS()), byHand()
	disk.Fail(fails(syscall.ENOMEM, ".seg", errorfs.Map))
	inject.Into(o, &inject.Seams{FS: disk, Manual: true})
	s = open(t, dir, o)
	it, err := s.Iterator(ScanOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer it.Close()
	key, _ := numbered(7, 100)
	if !it.SeekGE(key) || it.ValueSize() != 100 {
		t.Fatalf("%q, %d bytes, %v", it.Key(), it.ValueSize(), it.Err())
	}
	at := s.catalog.Set().Keys.Get(s.hasher.Fingerprint(key))
	invertByte(t, filepath.Join(dir, segment.FileName(s.catalog.Set().File(at).ID)), at.Offset()+8)
	if size := it.ValueSize(); size != 0 || !errors.Is(it.Err(), ErrCorrupt) {
		t.Errorf("%d bytes, %v", size, it.Err())
	}
	if it.Next() {
		t.Error("the Iterator goes on")
	}
	wantFilled(t, s, 8, 20, 100)
}

// damagedTail makes a closed store whose last file has not ended, with a record that rotted in the
// middle of it, and returns the name of that file's hint. An older file has the key as well.
func damagedTail(t *testing.T) (dir, hint string) {
	t.Helper()
	dir = t.TempDir()
	o := byHand()
	o.SegmentSize = 256 << 10
	s := open(t, dir, o)
	put(t, s, "overwritten", "an old value")
	s.endForTest(t)
	fill(t, s, 0, 300, 8)
	at := s.log.Tail.End.Offset
	put(t, s, "overwritten", "a new value")
	put(t, s, "last", "value")
	id := s.log.Tail.File.ID
	closeStore(t, s)
	flipAt(t, dir, segment.FileName(id), at+4)
	return dir, segment.HintName(id)
}

// Damage in the tail that Open has reported does not end a scan if no hint knows what was there. That
// the hint cannot be opened for want of descriptors does not mean that there is none.
func TestScanOfADamagedTailAsksItsHint(t *testing.T) {
	dir, hint := damagedTail(t)
	remove(t, dir, hint)
	disk, o := errorfs.New(vfs.OS()), byHand()
	o.SegmentSize = 256 << 10
	inject.Into(o, &inject.Seams{FS: disk, Manual: true})
	s := open(t, dir, o)
	if len(s.Stats().Recovery.Damages) != 1 {
		t.Fatalf("%+v", s.Stats().Recovery)
	}
	disk.Fail(fails(syscall.EMFILE, hint, errorfs.Open))
	if _, err := countScan(s); !errors.Is(err, syscall.EMFILE) || errors.Is(err, ErrCorrupt) {
		t.Errorf("without descriptors: %v", err)
	}
	disk.Heal()
	if n, err := countScan(s); err != nil || n != 302 {
		t.Errorf("%d pairs, %v", n, err)
	}
}

// A part of the tail's hint is damaged, but another one knows the record that rotted: its older value
// does not come instead.
func TestScanOfADamagedTailAsksWhatIsLeftOfItsHint(t *testing.T) {
	dir, hint := damagedTail(t)
	flipAt(t, dir, hint, int64(len(bytesOf(t, dir, hint))/3))
	o := byHand()
	o.SegmentSize = 256 << 10
	s := open(t, dir, o)
	if got, err := s.Get([]byte("overwritten")); !errors.Is(err, ErrCorrupt) {
		t.Errorf("the damaged record: %q, %v", got, err)
	}
	err := s.Scan(ScanOptions{}, func(key, value []byte) error {
		if string(key) == "overwritten" {
			return fmt.Errorf("%q is shown", value)
		}
		return nil
	})
	if !errors.Is(err, ErrCorrupt) {
		t.Errorf("Scan: %v", err)
	}
}
