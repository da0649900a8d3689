package mmapkv

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/segment"
)

// These tests retire files between two steps of a read, and check what is left of the
// files when reads end.

func (s *Store) locationOf(key []byte) index.Location {
	return s.catalog.Set().Keys.Get(s.hasher.Fingerprint(key))
}

// Close may publish another set before the last one, which it leaves to the walks. A walk
// that has loaded the earlier set still reads everything that is in both.
func TestWalkReadsByTheSetBeforeTheLast(t *testing.T) {
	s := open(t, t.TempDir(), byHand())
	put(t, s, "key", "value")
	w, err := s.beginWalk()
	if err != nil {
		t.Fatal(err)
	}
	defer w.end()
	l, loc := w.set(), s.locationOf([]byte("key"))
	s.catalog.Files.Publish()
	closeStore(t, s)
	if w.set() == l {
		t.Fatal("the walk has the last set")
	}
	if key, _, err := w.copyKey(l, loc); err != nil || string(key) != "key" {
		t.Errorf("the key is %q: %v", key, err)
	}
}

// A read whose file is retired starts again, even if the index still has the location.
// File slots are reused, so the same location may belong to a newer record.
func TestReadBeginsAgainWhenItsFileIsRetired(t *testing.T) {
	for name, read := range map[string]func(s *Store, key []byte) error{
		"Get": func(s *Store, key []byte) error { _, err := s.Get(key); return err },
		"Keys": func(s *Store, key []byte) error {
			for got := range s.Keys() {
				if string(got) == string(key) {
					return nil
				}
			}
			return errors.New("the key does not come")
		},
	} {
		s := open(t, t.TempDir(), byHand())
		fill(t, s, 0, 100, 100)
		compactAll(t, s)
		key, _ := numbered(0, 100)
		l := s.catalog.Set()
		old := l.File(s.locationOf(key))
		again, err := s.catalog.OpenFile(segment.SegmentInfo{ID: old.ID, Salt: old.Salt, Kind: old.Kind, Sealed: true, End: old.End}, true)
		if err != nil {
			t.Fatal(err)
		}
		defer again.Retire()
		again.Slot = old.Slot
		order := slices.Clone(l.Order)
		order[slices.Index(order, old)] = again
		next := catalog.NewFileSet(l.Keys, order)
		old.Retire()
		ended := make(chan error, 1)
		go func() { ended <- read(s, key) }()
		for range 100_000 { // usually enough for the read to find its file retired
			runtime.Gosched()
		}
		s.catalog.Publish(next)
		if err := <-ended; err != nil {
			t.Errorf("%s: %v", name, err)
		}
		s.catalog.Publish(l) // Close compares the index with the bits of the file
	}
}

// If the file of a location is gone, the record has moved. If the index still has that
// location, the index is damaged.
func TestLocationWithoutItsFileIsDamage(t *testing.T) {
	s := open(t, t.TempDir(), byHand())
	put(t, s, "key", "value")
	loc := s.locationOf([]byte("key"))
	nowhere := index.MakeLocation(1000, loc.Offset(), 40)
	if !s.catalog.Set().Keys.CompareAndSwap(s.hasher.Fingerprint([]byte("key")), loc, nowhere) {
		t.Fatal("the location has changed")
	}
	_, err := s.Get([]byte("key"))
	var damage *CorruptError
	if !errors.As(err, &damage) || damage.File != "index" || damage.Offset != loc.Offset() {
		t.Errorf("the read returned %v", err)
	}
	if !s.catalog.Set().Keys.CompareAndSwap(s.hasher.Fingerprint([]byte("key")), nowhere, loc) {
		t.Fatal("the location has changed")
	}
	wantValue(t, s, "key", "value")
}

// hostilePanic looks like a memory fault, and panics when asked for its address.
type hostilePanic struct{}

func (hostilePanic) Error() string { return "a fault" }
func (hostilePanic) RuntimeError() {}
func (hostilePanic) Addr() uintptr { panic("nowhere") }

// waysOut are the ways a callback can end.
var waysOut = map[string]func() error{
	"return":              func() error { return nil },
	"an error":            func() error { return errors.New("enough") },
	"a panic":             func() error { panic("enough") },
	"a nil dereference":   func() error { var p *int; *p = 1; return nil },
	"Goexit":              func() error { runtime.Goexit(); return nil },
	"a panic that panics": func() error { panic(hostilePanic{}) },
	"a fault elsewhere":   func() error { var p *[1 << 30]byte; p[1<<29] = 1; return nil },
}

// awaitNoneHeld waits until what earlier tests have left to the collector is gone.
func awaitNoneHeld(t *testing.T) {
	t.Helper()
	for range 1000 {
		if segment.Held() == 0 {
			return
		}
		runtime.GC()
	}
	t.Fatalf("%d segments of earlier tests are not released", segment.Held())
}

// However its callback ends, a read releases the file that it used.
func TestReadsLetGoHoweverTheirCallbacksEnd(t *testing.T) {
	key, _ := numbered(0, smallSize)
	reads := map[string]func(s *Store, fn func() error){
		"View": func(s *Store, fn func() error) { _ = s.View(key, func([]byte) error { return fn() }) },
		"GetMany": func(s *Store, fn func() error) {
			_ = s.GetMany([][]byte{key}, func(int, []byte, error) error { return fn() })
		},
		"Range": func(s *Store, fn func() error) { _ = s.Range(func(_, _ []byte) error { return fn() }) },
		"Keys": func(s *Store, fn func() error) {
			for range s.Keys() {
				if fn() != nil {
					return
				}
			}
		},
		"View in a View": func(s *Store, fn func() error) {
			_ = s.View(key, func([]byte) error { return s.View(key, func([]byte) error { return fn() }) })
		},
	}
	awaitNoneHeld(t)
	for name, read := range reads {
		s := open(t, t.TempDir(), byHand())
		fillWithChurn(t, s, smallSize)
		for how, out := range waysOut {
			ended := make(chan bool)
			go func() {
				defer close(ended)
				defer func() { _ = recover() }()
				read(s, out)
			}()
			<-ended
			churn(t, s, 2)
			compactAll(t, s)
			if held := segment.Held() - int64(len(s.Stats().Segments)); held != 0 {
				t.Errorf("%s, whose callback ends by %s, leaves %d files in use", name, how, held)
			}
		}
		closeStore(t, s)
		if held := segment.Held(); held != 0 {
			t.Fatalf("%s: %d files are held behind Close", name, held)
		}
	}
}

// lateDisk closes one file late: some time after the file's directory is closed.
type lateDisk struct {
	vfs.FS
	late      string      // the file's name
	closing   atomic.Bool // the next Close of the directory is the store's
	dirClosed chan struct{}
	closed    atomic.Bool // the file has been closed
	reading   atomic.Bool // the file is being read
	early     atomic.Bool // the file was closed while it was being read
}

func (d *lateDisk) OpenDir(path string) (vfs.Dir, error) {
	dir, err := d.FS.OpenDir(path)
	return &lateDir{dir, d}, err
}

type lateDir struct {
	vfs.Dir
	disk *lateDisk
}

func (d *lateDir) Create(name string) (vfs.File, error) {
	f, err := d.Dir.Create(name)
	return &lateFile{f, d.disk, name}, err
}

func (d *lateDir) Close() error {
	if d.disk.closing.Load() {
		close(d.disk.dirClosed)
	}
	return d.Dir.Close()
}

type lateFile struct {
	vfs.File
	disk *lateDisk
	name string
}

func (f *lateFile) Close() error {
	if f.name != f.disk.late {
		return f.File.Close()
	}
	if f.disk.reading.Load() {
		f.disk.early.Store(true)
		return f.File.Close()
	}
	<-f.disk.dirClosed
	for range 1000 {
		runtime.Gosched()
	}
	err := f.File.Close()
	f.disk.closed.Store(true)
	return err
}

// When a read ends that was the last to use a file, another goroutine closes that file.
// Close waits for that: when it returns, no file of the store is open.
func TestCloseWaitsForWhatReadsHaveLeft(t *testing.T) {
	disk := &lateDisk{FS: vfs.OS(), dirClosed: make(chan struct{})}
	o := byHand()
	inject.Into(o, &inject.Seams{FS: disk, Manual: true})
	s := open(t, t.TempDir(), o)
	fillWithChurn(t, s, smallSize)
	key, _ := numbered(0, smallSize)
	disk.late = segment.FileName(fileOf(s, key))
	err := s.View(key, func([]byte) error {
		disk.reading.Store(true)
		defer disk.reading.Store(false)
		churn(t, s, 2)
		compactAll(t, s)
		return nil
	})
	if err != nil || disk.early.Load() {
		t.Fatalf("the file was closed under its reader: %v; %v", disk.early.Load(), err)
	}
	if name := segment.FileName(fileOf(s, key)); strings.Contains(fmt.Sprint(s.Stats().Segments), disk.late) {
		t.Fatalf("%s was not compacted, the key is in %s", disk.late, name)
	}
	disk.closing.Store(true)
	closeStore(t, s)
	if !disk.closed.Load() {
		t.Error("Close is back, and a file that nobody uses is still open")
	}
}

// A background sync may reach a file that was sealed, compacted and closed since the sync
// listed it. That is no disk failure.
func TestSyncOfARetiredFileIsNone(t *testing.T) {
	s := open(t, t.TempDir(), byHand())
	fill(t, s, 0, 100, 100)
	old := s.catalog.Set().Order[0]
	for i := range 100 {
		key, _ := numbered(i, 100)
		if err := s.Delete(key); err != nil {
			t.Fatal(err)
		}
	}
	compactAll(t, s)
	if !old.Released() {
		t.Fatal("the file was not compacted")
	}
	if err := old.Sync(); err != nil {
		t.Error(err)
	}
}
