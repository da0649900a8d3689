package mmapkv

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/errorfs"
	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/segment"
)

// Missing or impossible hints cost only time.
func TestLoadingWithoutSomeHints(t *testing.T) {
	dir := t.TempDir()
	o := byHand()
	s := open(t, dir, o)
	fill(t, s, 0, 10_000, 100)
	closeStore(t, s)
	hints, err := filepath.Glob(filepath.Join(dir, "*.hint"))
	if err != nil || len(hints) < 50 {
		t.Fatalf("%d hints, %v", len(hints), err)
	}
	remove(t, dir, filepath.Base(hints[3]))
	if err := os.Truncate(hints[7], 100<<20); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, o)
	wantFilled(t, s, 0, 10_000, 100)
	if s.Len() != 10_000 {
		t.Errorf("%d keys", s.Len())
	}
}

// Several workers load hints of several pieces, from files that overwrite each other. The
// outcome and the accounts are those of a single worker.
func TestLoadingInPieces(t *testing.T) {
	const keys = 100_000
	dir := t.TempDir()
	o := &Options{SegmentSize: 4 << 20, Sync: fsync.Never}
	o.Compaction.Disabled = true
	s := open(t, dir, o)
	var batch Batch
	flush := func(least int) {
		if batch.Len() > least {
			if err := s.Write(&batch); err != nil {
				t.Fatal(err)
			}
			batch.Reset()
		}
	}
	key := func(i int) []byte { return fmt.Append(nil, "key", i) }
	for round := range 3 {
		for i := range keys {
			switch {
			case round == 0 || i%2 == round%2 && i%7 != 0:
				batch.Put(key(i), fmt.Append(nil, round, " of ", i))
			case i%7 == 0 && i%3 == 0:
				batch.Delete(key(i))
			case i%7 == 0:
				batch.PutWithTTL(key(i), fmt.Append(nil, round, " expires ", i), time.Hour)
			}
			flush(500)
		}
		flush(0)
		s.endForTest(t)
	}
	want := map[string]string{}
	if err := s.Range(func(k, v []byte) error { want[string(k)] = string(v); return nil }); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	for range 5 {
		s = open(t, dir, o)
		if s.Len() != len(want) {
			t.Errorf("%d keys, of %d", s.Len(), len(want))
		}
		err := s.Range(func(k, v []byte) error {
			if want[string(k)] != string(v) {
				t.Errorf("%q is %q, not %q", k, v, want[string(k)])
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		checkAccounts(t, s)
		if perKey := s.Stats().IndexBytes / int64(len(want)); perKey > 50 {
			t.Errorf("the index takes %d bytes a key", perKey)
		}
		for _, f := range s.catalog.Set().Order {
			checkExpiries(t, s, f)
		}
		closeStore(t, s)
	}
}

// A hint opens, and then a part of it cannot be read. It is rebuilt, however much of it
// is in the index by then. Nothing is counted twice.
func TestLoadingAHintThatFailsInBetween(t *testing.T) {
	const keys = 200_000
	dir := t.TempDir()
	o := &Options{SegmentSize: 4 << 20, Sync: fsync.Never}
	o.Compaction.Disabled = true
	s := open(t, dir, o)
	var batch Batch
	for i := range keys {
		if i%100 == 0 && i < keys/4 { // expires and is never overwritten
			batch.PutWithTTL(fmt.Append(nil, "expires", i), nil, time.Hour)
		}
		batch.Put(fmt.Append(nil, "key", i%(keys*3/4)), fmt.Append(nil, "value", i))
		if batch.Len() >= 1000 {
			if err := s.Write(&batch); err != nil {
				t.Fatal(err)
			}
			batch.Reset()
		}
	}
	if err := s.Write(&batch); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	hints, err := filepath.Glob(filepath.Join(dir, "*.hint"))
	hints = slices.DeleteFunc(hints, func(path string) bool { // those of a single piece
		info, err := os.Stat(path)
		return err != nil || info.Size() < 400_000
	})
	if err != nil || len(hints) < 2 {
		t.Fatalf("%d hints, %v", len(hints), err)
	}
	expired := func() (bytes int64) {
		for _, f := range s.catalog.Set().Order {
			bytes += f.Expired.Load()
		}
		return bytes
	}
	later := func() time.Time { return time.Now().Add(2 * time.Hour) }
	inject.Into(o, &inject.Seams{Now: later, Manual: true})
	s = open(t, dir, o)
	want := expired()
	closeStore(t, s)
	if want == 0 {
		t.Fatal("nothing has expired")
	}
	check := func(what string, rebuilt int) {
		t.Helper()
		s = open(t, dir, o)
		defer closeStore(t, s)
		if err := s.Ready(t.Context()); err != nil {
			t.Errorf("%s: Ready: %v", what, err)
		}
		if stats := s.Stats(); stats.Recovery.HintsRebuilt != rebuilt || rebuilt < 2 || len(stats.Recovery.Damages) > 0 {
			t.Errorf("%s: %+v", what, stats.Recovery)
		}
		if s.Len() != keys*3/4 {
			t.Errorf("%s: %d keys", what, s.Len())
		}
		for i := keys / 4; i < keys; i += 7 {
			wantValue(t, s, fmt.Sprint("key", i%(keys*3/4)), fmt.Sprint("value", i))
		}
		if got := expired(); got != want {
			t.Errorf("%s: %d bytes have expired, %d by counting once", what, got, want)
		}
		checkAccounts(t, s)
	}
	for _, manual := range []bool{true, false} {
		disk := errorfs.New(vfs.OS())
		inject.Into(o, &inject.Seams{FS: disk, Manual: manual, Now: later})
		opened, failed := map[string]bool{}, map[string]bool{}
		disk.Fail(errorfs.Rule{Forever: true, Err: syscall.EIO, Match: func(op errorfs.Op) bool {
			if op.Kind != errorfs.Read || filepath.Ext(op.Name) != ".hint" {
				return false
			}
			const checksum = 8 // opening a hint reads it last
			opened[op.Name] = opened[op.Name] || op.Length == checksum
			if !opened[op.Name] || op.Length == checksum || op.Offset < 300_000 || failed[op.Name] {
				return false
			}
			failed[op.Name] = true
			return true
		}})
		check("a read that fails", len(hints))
		if n := disk.Fired(); n != len(hints) {
			t.Errorf("%d reads failed", n)
		}
		disk.Heal()
		for _, hint := range hints {
			flipAt(t, dir, filepath.Base(hint), 300_000)
		}
		check("a part that is damaged", len(hints))
	}
}

// halfAHint makes a store whose second file has two damaged records: the tombstone of a
// deleted key and the newest value of an overwritten one. A part of that file's hint is
// damaged too, but not the parts that list the two.
func halfAHint(t *testing.T) (dir string, o *Options) {
	t.Helper()
	dir, o = t.TempDir(), byHand()
	o.SegmentSize = 256 << 10
	s := open(t, dir, o)
	put(t, s, "deleted", "an old value")
	put(t, s, "overwritten", "an old value")
	s.endForTest(t)
	fill(t, s, 0, 300, 8)
	if err := s.Delete([]byte("deleted")); err != nil {
		t.Fatal(err)
	}
	put(t, s, "overwritten", "a new value")
	s.endForTest(t)
	closeStore(t, s)
	info := manifestOf(t, dir).Segments[1]
	content := bytesOf(t, dir, segment.FileName(info.ID))
	for _, key := range []string{"deleted", "overwritten"} {
		flipAt(t, dir, segment.FileName(info.ID), int64(bytes.LastIndex(content, []byte(key))))
	}
	hint := segment.HintName(info.ID)
	flipAt(t, dir, hint, int64(len(bytesOf(t, dir, hint))/2))
	return dir, o
}

// The intact parts of a hint list damaged records. So a deleted key stays deleted, and no
// old value replaces a damaged one, even after the hint is rebuilt.
func TestLoadingAsksWhatIsLeftOfAHint(t *testing.T) {
	dir, o := halfAHint(t)
	for _, rebuilt := range []int{1, 0} {
		s := open(t, dir, o)
		wantAbsent(t, s, "deleted")
		if got, err := s.Get([]byte("overwritten")); !errors.Is(err, ErrCorrupt) {
			t.Errorf("the damaged record: %q, %v", got, err)
		}
		if n := s.Stats().Recovery.HintsRebuilt; n != rebuilt {
			t.Errorf("%d hints were made anew, want %d", n, rebuilt)
		}
		closeStore(t, s)
	}
}

func TestSalvageAsksWhatIsLeftOfAHint(t *testing.T) {
	dir, _ := halfAHint(t)
	s, report := salvaged(t, dir, nil)
	wantAbsent(t, s, "deleted")
	wantAbsent(t, s, "overwritten")
	if report.KeysLost != 1 || string(report.LostKeys[0].Key) != "overwritten" {
		t.Errorf("%+v", report)
	}
}

// A hint is closed once all of it was read, as there may be thousands.
func TestLoadingClosesHints(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, byHand())
	fill(t, s, 0, 1000, 100)
	closeStore(t, s)
	o, disk := byHand(), &hintCounter{FS: vfs.OS()}
	inject.Into(o, &inject.Seams{FS: disk, Manual: true}) // with one worker
	open(t, dir, o)
	if disk.opened < 5 || disk.open != 0 || disk.peak > 1 {
		t.Errorf("%d hints opened, %d of them at once, and %d are still open", disk.opened, disk.peak, disk.open)
	}
}

// hintCounter counts the hints that are open.
type hintCounter struct {
	vfs.FS
	opened, open, peak int
}

func (c *hintCounter) OpenDir(path string) (vfs.Dir, error) {
	dir, err := c.FS.OpenDir(path)
	return countedDir{dir, c}, err
}

type countedDir struct {
	vfs.Dir
	counter *hintCounter
}

func (d countedDir) OpenReadOnly(name string) (vfs.File, error) {
	f, err := d.Dir.OpenReadOnly(name)
	if err != nil || !strings.HasSuffix(name, ".hint") {
		return f, err
	}
	d.counter.opened++
	d.counter.open++
	d.counter.peak = max(d.counter.peak, d.counter.open)
	return countedFile{f, d.counter}, nil
}

type countedFile struct {
	vfs.File
	counter *hintCounter
}

func (f countedFile) Close() error {
	f.counter.open--
	return f.File.Close()
}

// Whatever fails in a recovery while hints load beside it, Open returns and leaks nothing:
// TestMain looks for goroutines. A store that it opens is whole.
func TestLoadingBesideARecoveryThatFails(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, byHand())
	fill(t, s, 0, 3000, 100)
	crashed := killed(t, s, dir)
	closeStore(t, s)
	failed := 0
	for kind := errorfs.OpenDir; kind <= errorfs.Map; kind++ {
		for _, nth := range []int{1, 7, 30, 100} {
			disk, o := errorfs.New(vfs.OS()), byHand()
			inject.Into(o, &inject.Seams{FS: disk})
			disk.Fail(errorfs.Rule{Match: errorfs.Only(kind), Nth: nth, Forever: true, Err: syscall.EMFILE})
			s, err := Open(copyDir(t, crashed), o)
			if err != nil {
				failed++
				continue
			}
			disk.Heal()
			if s.Len() != 3000 {
				t.Errorf("%v %d fails: %d keys", kind, nth, s.Len())
			}
			closeStore(t, s)
		}
	}
	if failed < 20 {
		t.Errorf("Open failed %d times", failed)
	}
}

// Open makes the index large enough for all entries of the hints. It then frees what the
// keys, or the expected keys, do not need.
func TestLoadingGivesMemoryBack(t *testing.T) {
	const keys, rounds = 20_000, 10
	dir := t.TempDir()
	o := &Options{SegmentSize: 4 << 20, Sync: fsync.Never, Compaction: Compaction{Disabled: true}}
	s := open(t, dir, o)
	for range rounds {
		fill(t, s, 0, keys, 8)
		s.endForTest(t)
	}
	closeStore(t, s)
	for _, expected := range []int{0, keys - 1, keys + 1, 2 * keys} {
		o.ExpectedKeys = expected
		s = open(t, dir, o)
		if err := s.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		if perKey := s.Stats().IndexBytes / int64(max(keys, expected)); s.Len() != keys || perKey > 40 {
			t.Errorf("with %d keys expected the index takes %d bytes for each of %d", expected, perKey, s.Len())
		}
		closeStore(t, s)
	}
}

// Open of a cleanly closed store reads the hints, and only the headers of the segments,
// however long the records are.
func TestOpenReadsNoRecord(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, byHand())
	fill(t, s, 0, 100, 100)
	fill(t, s, 100, 105, 300_000)
	closeStore(t, s)
	disk := errorfs.New(vfs.OS())
	o := byHand()
	inject.Into(o, &inject.Seams{FS: disk, Manual: true})
	s = open(t, dir, o)
	for _, call := range disk.Calls() {
		if call.Kind == errorfs.Read && strings.HasSuffix(call.Name, ".seg") && call.Offset > 0 {
			t.Errorf("Open: %v", call)
		}
	}
	if live := s.Stats().LiveBytes; live < 5*300_000 {
		t.Errorf("%d bytes are alive", live)
	}
}
