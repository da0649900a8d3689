package mmapkv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/mmapkv/internal/compact"
	"github.com/mmapkv/mmapkv/segment"
)

// wantWithinSegments fails when a segment is larger than one can be.
func wantWithinSegments(t *testing.T, s *Store) {
	t.Helper()
	for _, f := range s.catalog.Set().Order {
		if f.Limit() > s.options.SegmentSize {
			t.Errorf("segment %d has %d bytes, of %d at most", f.ID, f.Limit(), s.options.SegmentSize)
		}
	}
}

// Even if records expire and have been overwritten, a run takes no more files than fit
// into one segment.
func TestRunFitsIntoASegment(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	o := byHand()
	inject.Into(o, &inject.Seams{Manual: true, Now: func() time.Time { return now }})
	s := open(t, t.TempDir(), o)
	for i := range 300 {
		put(t, s, fmt.Sprint("permanent", i), string(make([]byte, 100)))
		if err := s.PutWithTTL([]byte("session"), make([]byte, 100), time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	now = now.Add(2 * time.Minute)
	compactAll(t, s)
	wantWithinSegments(t, s)
	if s.Len() != 300 {
		t.Errorf("%d keys", s.Len())
	}
}

// A run counts the size of tombstones that an older file needs.
func TestKeptTombstonesFitIntoASegment(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, byHand())
	fill(t, s, 0, 1000, 10)
	s.endForTest(t)
	for _, f := range s.catalog.Set().Order {
		f.Damaged.Store(true) // so that compaction leaves them
	}
	old := len(s.catalog.Set().Order)
	for i := range 1000 {
		key, _ := numbered(i, 0)
		if err := s.Delete(key); err != nil {
			t.Fatal(err)
		}
	}
	s.endForTest(t)
	pacer, done := s.compactor.NewPacer(context.Background())
	defer done()
	run := compact.FilesOf(s.sealedForTest()[old:])
	m, err := s.compactor.CompactRun(pacer, run)
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Run) == len(run) {
		t.Errorf("%d files of %d were taken, for one of %d bytes", len(m.Run), len(run), m.Output.Limit())
	}
	wantWithinSegments(t, s)
	closeStore(t, s)
	s = open(t, dir, byHand())
	if s.Len() > 0 {
		t.Errorf("%d keys are back", s.Len())
	}
}

// Compaction removes from the manifest only the files that it has copied.
func TestOnlyWhatTheManifestListsIsReplaced(t *testing.T) {
	s := open(t, t.TempDir(), byHand())
	fill(t, s, 0, 200, 100)
	s.endForTest(t)
	files := compact.FilesOf(s.compactor.Candidates())
	before := slices.Clone(s.catalog.Manifest.Current.Segments)
	for name, run := range map[string][]*catalog.File{
		"backwards":       {files[1], files[0]},
		"with a gap":      {files[0], files[2]},
		"beyond the last": {files[len(files)-1], files[0]},
		"unknown":         {{Segment: &segment.Segment{ID: 1 << 40}}},
	} {
		if err := s.compactor.CommitRun(run, nil); !errors.Is(err, compact.ErrNotListed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if !slices.Equal(before, s.catalog.Manifest.Current.Segments) {
		t.Error("the manifest has changed")
	}
}

// A file that ended without a record is removed from the manifest. Until it is gone,
// compaction must not take it for a sealed file.
func TestEmptyFileIsNeverSealed(t *testing.T) {
	s := open(t, t.TempDir(), byHand())
	fill(t, s, 0, 100, 100)
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			for _, c := range s.compactor.Candidates() {
				s.catalog.Manifest.Mu.Lock()
				listed := slices.ContainsFunc(s.catalog.Manifest.Current.Segments, func(i segment.SegmentInfo) bool { return i.ID == c.ID && i.Sealed })
				s.catalog.Manifest.Mu.Unlock()
				if c.Eligible && !listed {
					done <- fmt.Errorf("segment %d may be compacted, and the manifest does not name it", c.ID)
					return
				}
			}
		}
	}()
	for range 200 {
		s.log.AsLeader(func() {
			if err := s.log.Rotate(100, false); err != nil {
				t.Error(err)
			}
			s.log.EndTail()
		})
		for did := true; did; {
			did, _ = s.log.StepSeal()
		}
	}
	close(stop)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Compaction does not read a value that is garbage.
func TestDeadLongValueTakesNoMemory(t *testing.T) {
	o := byHand()
	o.Sync = fsync.Never
	s := open(t, t.TempDir(), o)
	const long = 32 << 20
	if err := s.Put([]byte("k"), make([]byte, long)); err != nil {
		t.Fatal(err)
	}
	put(t, s, "k", "small")
	if got := allocatedBy(func() { compactAll(t, s) }); got > long/4 {
		t.Errorf("%d bytes were allocated to forget %d", got, long)
	}
	if n := len(s.catalog.Set().Order); n > 2 {
		t.Errorf("%d files are left", n)
	}
}

// allocatedBy is how many bytes all goroutines allocate on the heap during a call.
func allocatedBy(fn func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	fn()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// Compact says each time which segment with garbage it leaves out, and why.
func TestCompactNamesWhatItLeavesOut(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, byHand())
	fill(t, s, 0, 100, 100)
	closeStore(t, s)
	first := segmentFiles(t, dir)[0]
	content, err := os.ReadFile(first)
	if err != nil {
		t.Fatal(err)
	}
	content[len(content)/2] ^= 1
	if err := os.WriteFile(first, content, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, hint := range []bool{true, false} { // without the hint, Open finds the damage
		if !hint {
			if err := os.Remove(strings.TrimSuffix(first, ".seg") + ".hint"); err != nil {
				t.Fatal(err)
			}
		}
		s = open(t, dir, byHand())
		fill(t, s, 0, 10, 90)
		for range 2 {
			err := s.Compact(t.Context())
			var corrupt *CorruptError
			if !errors.As(err, &corrupt) || corrupt.File != filepath.Base(first) {
				t.Errorf("with a hint %v: %v", hint, err)
			}
		}
		closeStore(t, s)
	}
}

// movingFS is a disk without mappings. The next read of a segment calls meanwhile, once,
// and then finds only zeros. Each write as large as a long value calls long first.
type movingFS struct {
	vfs.FS
	meanwhile, long func()
}
type movingDir struct {
	vfs.Dir
	fs *movingFS
}
type movingFile struct {
	vfs.File
	fs *movingFS
}

func (m *movingFS) OpenDir(path string) (vfs.Dir, error) {
	dir, err := m.FS.OpenDir(path)
	return movingDir{dir, m}, err
}

func (d movingDir) Create(name string) (vfs.File, error) {
	f, err := d.Dir.Create(name)
	if err != nil || filepath.Ext(name) != ".seg" {
		return f, err
	}
	return movingFile{f, d.fs}, nil
}

func (f movingFile) Map(int64) (vfs.Mapping, error) { return nil, vfs.ErrMappingLimit }

func (f movingFile) ReadAt(p []byte, at int64) (int, error) {
	fn := f.fs.meanwhile
	if fn == nil {
		return f.File.ReadAt(p, at)
	}
	f.fs.meanwhile = nil
	fn()
	clear(p)
	return len(p), nil
}

func (f movingFile) WriteAt(p []byte, at int64) (int, error) {
	if fn := f.fs.long; fn != nil && len(p) > minSegmentSize/2 {
		fn()
	}
	return f.File.WriteAt(p, at)
}

// A bad record does not count if the index no longer points to it: compaction may have
// moved the key and deleted the file.
func TestReadStartsAgainWhenTheKeyHasMoved(t *testing.T) {
	disk := &movingFS{FS: vfs.OS()}
	o := byHand()
	inject.Into(o, &inject.Seams{Manual: true, FS: disk})
	s := open(t, t.TempDir(), o)
	fill(t, s, 0, 100, 100)
	fill(t, s, 0, 60, 101)
	key, value := numbered(70, 100)
	before := s.catalog.Set().Keys.Get(s.hasher.Fingerprint(key))
	disk.meanwhile = func() { compactAll(t, s) }
	got, err := s.Get(key)
	if err != nil || !bytes.Equal(got, value) {
		t.Errorf("%q, %v", got, err)
	}
	if after := s.catalog.Set().Keys.Get(s.hasher.Fingerprint(key)); after == before {
		t.Error("the key has not moved")
	}
	disk.meanwhile = func() {} // the record is bad, and the index still points to it
	if _, err := s.Get(key); !errors.Is(err, ErrCorrupt) {
		t.Errorf("of a bad record: %v", err)
	}
}

// If a key may lie in an unreadable range, deleting it writes a tombstone: the range may
// become readable again.
func TestDeleteOfWhatCannotBeReadStays(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, byHand())
	fill(t, s, 0, 100, 100)
	closeStore(t, s)
	first := segmentFiles(t, dir)[0]
	sound, err := os.ReadFile(first)
	if err != nil {
		t.Fatal(err)
	}
	key, _ := numbered(5, 0)
	hint := strings.TrimSuffix(first, ".seg") + ".hint"
	broken := bytes.Clone(sound)
	broken[bytes.Index(broken, key)] ^= 1
	if err := errors.Join(os.WriteFile(first, broken, 0o600), os.Remove(hint)); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, byHand())
	wantAbsent(t, s, string(key))
	if err := s.Delete(key); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	if err := errors.Join(os.WriteFile(first, sound, 0o600), os.Remove(hint)); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, byHand())
	wantAbsent(t, s, string(key))
	if s.Len() != 99 {
		t.Errorf("%d keys", s.Len())
	}
}

// A long value's file does not end before the index has the value. If it did, it could be
// sealed and compacted, and compaction would drop the value as garbage.
func TestLongValueIsInTheIndexWhenItsFileEnds(t *testing.T) {
	disk, o := &movingFS{FS: vfs.OS()}, tiny()
	inject.Into(o, &inject.Seams{FS: disk})
	s := open(t, t.TempDir(), o)
	before := s.log.Written.Load()
	key, writes := bytes.Repeat([]byte("k"), minSegmentSize), 0
	locked, looked := make(chan struct{}), make(chan struct{})
	hold := func() {
		s.space.Mu.Lock() // the writer takes it next
		defer s.space.Mu.Unlock()
		close(locked)
		<-looked
	}
	disk.long = func() {
		if writes++; writes == 2 { // the header
			go hold()
			<-locked
		}
	}
	wrote := make(chan error, 1)
	go func() { wrote <- s.Put(key, make([]byte, 10_000)) }()
	waitFor(t, "the value to be written", func() bool { return s.log.Written.Load() > before })
	for range 20 {
		time.Sleep(time.Millisecond)
		for _, f := range s.catalog.Files.Unsealed() {
			if _, ended := s.catalog.Files.IsEnded(f); ended {
				t.Error("the file has ended, and the index does not have its value")
			}
		}
	}
	close(looked)
	if err := <-wrote; err != nil {
		t.Error(err)
	}
	wantValue(t, s, string(key), string(make([]byte, 10_000)))
}
