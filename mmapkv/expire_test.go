package mmapkv

import (
	"bytes"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/crashfs"
	"github.com/mmapkv/mmapkv/internal/errorfs"
	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/mmapkv/internal/compact"
	"github.com/mmapkv/mmapkv/mmapkv/internal/expiry"
	"github.com/mmapkv/mmapkv/segment"
)

// expiring is a store whose steps and clock the test controls.
type expiring struct {
	*Store
	t       *testing.T
	dir     string
	options Options
	now     atomic.Int64 // Unix milliseconds
	between func(phase string)
	disk    *readingFS
}

func newExpiring(t *testing.T, segmentSize int64) *expiring {
	e := &expiring{t: t, dir: t.TempDir(), options: Options{SegmentSize: segmentSize, Sync: fsync.Never}, disk: &readingFS{FS: vfs.OS()}}
	e.now.Store(1_000_000)
	e.reopen()
	return e
}

func (e *expiring) reopen() {
	e.t.Helper()
	if e.Store != nil {
		closeStore(e.t, e.Store)
	}
	o := e.options
	inject.Into(&o, &inject.Seams{
		FS: e.disk, Manual: true, PageSlots: 64,
		Now: func() time.Time { return time.UnixMilli(e.now.Load()) },
		Between: func(phase string) {
			if e.between != nil {
				e.between(phase)
			}
		},
	})
	e.Store = open(e.t, e.dir, &o)
}

func (e *expiring) putFor(ttl time.Duration, key, value string) {
	e.t.Helper()
	if err := e.PutWithTTL([]byte(key), []byte(value), ttl); err != nil {
		e.t.Fatalf("PutWithTTL(%q): %v", key, err)
	}
}

func (e *expiring) delete(key string) {
	e.t.Helper()
	if err := e.Delete([]byte(key)); err != nil {
		e.t.Fatalf("Delete(%q): %v", key, err)
	}
}

// pass advances the clock and sweeps.
func (e *expiring) pass(ttl time.Duration) {
	e.t.Helper()
	e.now.Add(ttl.Milliseconds())
	e.step("expire")
}

// step runs the step with a name until it has nothing to do.
func (e *expiring) step(name string) {
	e.t.Helper()
	for _, step := range e.steps() {
		for did := step.Name == name; did; {
			var err error
			if did, err = step.Run(); err != nil {
				e.t.Fatalf("%s: %v", name, err)
			}
		}
	}
}

func (e *expiring) wantKeys(want int) {
	e.t.Helper()
	if n := e.Len(); n != want {
		e.t.Errorf("%d keys; want %d", n, want)
	}
	checkAccounts(e.t, e.Store)
	for _, f := range e.catalog.Set().Order {
		checkExpiries(e.t, e.Store, f)
	}
}

// checkExpiries compares the blocks of a file with its records.
func checkExpiries(t testing.TB, s *Store, f *catalog.File) {
	t.Helper()
	table := f.Expiring.Load()
	record := func(e segment.Entry) {
		loc := s.catalog.Files.Keys.Get(s.hasher.Fingerprint(e.Key))
		if e.Flags&segment.Expires == 0 || s.catalog.Set().File(loc) != f || loc.Offset() != e.Offset {
			return
		}
		if table == nil {
			t.Fatalf("segment %d has a record that expires, and no table", f.ID)
		}
		block := e.Offset / expiry.Block
		entry := expiry.Entry(table.Chunk(block / expiry.ChunkBlocks)[block%expiry.ChunkBlocks].Load())
		firsts, first := table.Firsts[block/expiry.ChunkBlocks].Load(), table.First.Load()
		if entry == 0 || entry.Place() > e.Offset%expiry.Block || max(entry.Due(), firsts, first, s.sweeper.Due.Load()) > e.Expiry {
			t.Fatalf("the record at %d of segment %d, due at %d, is behind its block's first place %d, or is due before %d, %d, %d or %d",
				e.Offset, f.ID, e.Expiry, entry.Place(), entry.Due(), firsts, first, s.sweeper.Due.Load())
		}
	}
	err := segment.Scan(f.Handle(), f.Salt, f.DataStart, f.Limit(), record, func(segment.Damage) {})
	if err != nil {
		t.Fatal(err)
	}
}

// 100,000 keys in the file being written leave the index soon after they expire, without
// a rotation. The sweep reads them no more than once.
func TestExpiredKeysLeaveTheIndexWithoutRotation(t *testing.T) {
	e := newExpiring(t, 64<<20)
	var b Batch
	for i := range 101_000 {
		if i%101 == 0 {
			b.Put(fmt.Append(nil, "stays", i), []byte("value"))
		} else {
			b.PutWithTTL(fmt.Append(nil, "session", i), []byte("value"), time.Second)
		}
		if b.Len() == 1000 {
			if err := e.Write(&b); err != nil {
				t.Fatal(err)
			}
			b.Reset()
		}
	}
	live, index := e.Stats().LiveBytes, e.Stats().IndexBytes
	if e.now.Add(999); e.Len() != 101_000 {
		t.Fatalf("%d keys before anything expires", e.Len())
	}
	e.step("expire")
	e.wantKeys(101_000)
	e.disk.read.Store(0)
	e.now.Add(1)
	if _, err := e.sweeper.SweepAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	stats := e.Stats()
	if read := e.disk.read.Load(); read > 2*stats.Segments[0].DiskBytes {
		t.Errorf("%d bytes were read of %d", read, stats.Segments[0].DiskBytes)
	}
	if len(stats.Segments) != 1 || stats.LiveBytes > live/50 {
		t.Errorf("%d bytes of %d are alive, in %d segments", stats.LiveBytes, live, len(stats.Segments))
	}
	if stats.IndexBytes > index/4 {
		t.Errorf("the index takes %d bytes of %d", stats.IndexBytes, index)
	}
	e.wantKeys(1000)
	e.reopen()
	e.wantKeys(1000)
}

// A sweep reads only the expired records, and what it takes to find them in their
// blocks.
func TestSweepReadsOnlyWhereSomethingExpires(t *testing.T) {
	e := newExpiring(t, 1<<20)
	const keys, every = 40_000, 4000
	for i := range keys {
		ttl := time.Hour
		if i%every == 0 {
			ttl = time.Second
		}
		e.putFor(ttl, fmt.Sprint("key", i), "some value of a key that expires")
	}
	e.step("seal")
	for round, name := range []string{"as written", "as loaded", "as merged"} {
		switch round {
		case 1:
			e.reopen()
		case 2:
			e.delete("key1") // gives Compact something to do
			e.step("expire")
			compactAll(t, e.Store)
		}
		left := e.Len()
		e.disk.read.Store(0)
		e.step("expire")
		if e.disk.read.Load() > 0 {
			t.Errorf("%s: %d bytes were read though nothing is due", name, e.disk.read.Load())
		}
		e.pass(time.Second)
		gone := left - e.Len()
		if read := e.disk.read.Load(); read > int64(gone)*2*expiry.Block {
			t.Errorf("%s: %d bytes were read for %d records", name, read, gone)
		}
		if round == 0 && gone != keys/every {
			t.Errorf("%d records are gone", gone)
		}
		for i := 0; i < keys; i += every { // for the next round
			e.putFor(time.Second, fmt.Sprint("key", i+2+round), "another value")
		}
		if round == 0 {
			e.wantKeys(keys - keys/every)
		}
	}
}

// Keys of one block expire one after another, in every kind of file.
func TestEachKeyExpiresInItsTime(t *testing.T) {
	for _, where := range []string{"being written", "sealed", "unsealed", "reopened", "merged", "of their own"} {
		t.Run(where, func(t *testing.T) {
			e := newExpiring(t, 64<<10)
			const keys = 60
			size := 20
			if where == "of their own" {
				size = 20 << 10
			}
			value := strings.Repeat("v", size)
			for i := range keys {
				put(t, e.Store, fmt.Sprint("stays", i), "value")
				e.putFor(time.Duration(i*7%keys+1)*time.Second, fmt.Sprint("key", i), value)
			}
			switch where {
			case "sealed":
				e.endForTest(t)
			case "unsealed":
				e.log.AsLeader(func() { _ = e.log.BeforeWrite(true); e.log.EndTail() })
			case "reopened":
				e.reopen()
			case "merged":
				e.endForTest(t)
				pacer, done := e.compactor.NewPacer(t.Context())
				if _, err := e.compactor.CompactRun(pacer, compact.FilesOf(e.sealedForTest())); err != nil {
					t.Fatal(err)
				}
				done()
				if stats := e.Stats(); !stats.Segments[0].Merged {
					t.Fatalf("nothing was merged: %+v", stats.Segments)
				}
			}
			for left := keys - 1; left >= 0; left-- {
				e.pass(time.Second)
				if n := e.Len(); n != keys+left {
					t.Fatalf("%d keys; want %d", n, keys+left)
				}
			}
			e.wantKeys(keys)
		})
	}
}

// A sweep removes only the expired value, not one that has overwritten it.
func TestSweepTakesNothingNewer(t *testing.T) {
	e := newExpiring(t, 64<<10)
	for _, key := range []string{"for ever", "longer", "deleted", "gone"} {
		e.putFor(time.Second, key, "first")
	}
	put(t, e.Store, "for ever", "second")
	e.putFor(time.Hour, "longer", "second")
	e.delete("deleted")
	e.pass(time.Second)
	e.wantKeys(2)
	wantValue(t, e.Store, "for ever", "second")
	wantValue(t, e.Store, "longer", "second")
	e.pass(time.Hour)
	e.wantKeys(1)
	e.reopen()
	e.wantKeys(1)
	e.putFor(time.Second, "for ever", "third")
	e.pass(time.Second)
	e.wantKeys(0)
}

// Delete of a swept key writes a tombstone. The expired record is still on disk, and would
// be live again if the clock were set back.
func TestSweptKeyIsDeleted(t *testing.T) {
	e := newExpiring(t, 64<<10)
	put(t, e.Store, "deleted", "older")
	e.putFor(time.Second, "deleted", "for a moment")
	e.putFor(time.Second, "gone", "for a moment")
	e.pass(time.Second)
	e.delete("deleted")
	e.now.Add(-1000)
	e.wantKeys(0)
	e.reopen()
	wantAbsent(t, e.Store, "deleted")
	wantValue(t, e.Store, "gone", "for a moment") // as PutWithTTL says
	e.wantKeys(1)
}

// A swept record still hides older ones, whatever the clock says later.
func TestSweptRecordsStayTombstones(t *testing.T) {
	e := newExpiring(t, 64<<10)
	put(t, e.Store, "a", "older")
	fill(t, e.Store, 0, 10, 100)
	e.endForTest(t)
	e.putFor(time.Second, "a", "for a moment")
	fill(t, e.Store, 10, 20, 100)
	e.endForTest(t)
	e.pass(time.Second)
	e.wantKeys(20)
	e.now.Add(-1000)
	e.step("expire")
	wantAbsent(t, e.Store, "a")
	pacer, done := e.compactor.NewPacer(t.Context())
	defer done()
	if _, err := e.compactor.CompactRun(pacer, compact.FilesOf(e.sealedForTest()[1:])); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		wantAbsent(t, e.Store, "a")
		e.wantKeys(20)
		e.reopen()
	}
	compactAll(t, e.Store)
	e.wantKeys(20)
}

// A crash after a sweep is like one before it: a sweep writes nothing.
func TestCrashBehindASweep(t *testing.T) {
	e := newExpiring(t, 64<<10)
	put(t, e.Store, "a", "older")
	e.endForTest(t)
	e.putFor(time.Second, "a", "for a moment")
	e.putFor(time.Hour, "b", "for an hour")
	e.pass(time.Second)
	e.wantKeys(1)
	for _, back := range []int64{0, 1000} {
		dir := killed(t, e.Store, e.dir)
		again := &expiring{t: t, dir: dir, options: e.options, disk: e.disk}
		again.now.Store(e.now.Load() - back)
		again.reopen()
		if back == 0 {
			wantAbsent(t, again.Store, "a")
			again.wantKeys(1)
		} else {
			wantValue(t, again.Store, "a", "for a moment") // as PutWithTTL says
			again.wantKeys(2)
		}
		wantValue(t, again.Store, "b", "for an hour")
		again.pass(time.Hour)
		again.wantKeys(0)
	}
}

// A record that is swept during a compaction of its file still hides older ones
// afterwards, whatever the compaction has seen of it.
func TestSweepInTheMidstOfACompaction(t *testing.T) {
	for _, phase := range []string{"chosen", "copied", "logged", "edited", "shown", "moved", "retired"} {
		t.Run(phase, func(t *testing.T) {
			e := newExpiring(t, 64<<10)
			for i := range 100 {
				put(t, e.Store, fmt.Sprint("short", i), "older")
			}
			e.endForTest(t)
			for i := range 100 {
				e.putFor(time.Minute, fmt.Sprint("short", i), "died young")
				e.putFor(time.Second, fmt.Sprint("short", i), "for a moment")
			}
			fill(t, e.Store, 0, 10, 100)
			e.putFor(time.Hour, "hour", "long")
			e.endForTest(t)
			e.between = func(now string) {
				if now == phase {
					e.pass(time.Second)
					if n := e.Len(); n != 11 && phase != "moved" { // the next sweep gets to the new file
						t.Errorf("%d keys behind the sweep", n)
					}
				}
			}
			pacer, done := e.compactor.NewPacer(t.Context())
			defer done()
			if _, err := e.compactor.CompactRun(pacer, compact.FilesOf(e.sealedForTest()[1:])); err != nil {
				t.Fatal(err)
			}
			e.between = nil
			wantWithinSegments(t, e.Store)
			for round := range 4 {
				e.step("expire")
				e.wantKeys(11)
				wantAbsent(t, e.Store, "short7")
				wantFilled(t, e.Store, 0, 10, 100)
				if round > 0 {
					compactAll(t, e.Store)
				}
				e.reopen()
			}
			e.pass(time.Hour)
			e.wantKeys(10)
		})
	}
}

// A sweep ends a tail that has mostly expired, so that its room can be freed.
func TestExpiredTailIsGivenBack(t *testing.T) {
	for _, reopened := range []bool{false, true} {
		t.Run(fmt.Sprint("reopened ", reopened), func(t *testing.T) {
			e := newExpiring(t, 1<<20)
			put(t, e.Store, "stays", "value")
			for i := range 1000 {
				e.putFor(time.Second, fmt.Sprint("session", i), strings.Repeat("s", 100))
			}
			if reopened {
				e.now.Add(1000)
				e.reopen()
			}
			e.pass(time.Second)
			e.step("compact")
			e.wantKeys(1)
			wantValue(t, e.Store, "stays", "value")
			stats := e.Stats()
			if stats.LiveBytes+stats.DeadBytes > 1000 {
				t.Errorf("%d bytes are alive, %d dead", stats.LiveBytes, stats.DeadBytes)
			}
			// A few expired bytes are not worth a new file.
			e.putFor(time.Second, "session", "value")
			before := len(e.Stats().Segments)
			e.pass(time.Second)
			if after := e.Stats().Segments; len(after) != before {
				t.Errorf("%d segments have become %d: %+v", before, len(after), after)
			}
		})
	}
}

// Records after damage in the same block wait; records in other blocks do not.
func TestSweepGoesOnBehindDamage(t *testing.T) {
	e := newExpiring(t, 64<<10)
	for i := range 500 {
		e.putFor(time.Second, fmt.Sprintf("session%03d", i), "value")
	}
	e.endForTest(t)
	f := e.catalog.Set().Order[0]
	loc := e.catalog.Files.Keys.Get(e.hasher.Fingerprint([]byte("session200")))
	e.now.Add(1000)
	damage := func() {
		flipOnDisk(t, filepath.Join(e.dir, segment.FileName(f.ID)), loc.Offset()+segment.RecordHeaderSize)
	}
	damage()
	e.step("expire")
	if n := e.Len(); n == 0 || n > expiry.Block/segment.RecordHeaderSize {
		t.Errorf("%d keys are left", n)
	}
	damage() // undo it
	e.pass(time.Minute)
	e.wantKeys(0)
	for i := range 500 {
		e.putFor(time.Second, fmt.Sprintf("session%03d", i), "value")
	}
	e.disk.refuse.Store(true)
	e.pass(time.Second)
	e.disk.refuse.Store(false)
	if n := e.Len(); n != 500 {
		t.Errorf("%d keys are left where nothing could be read", n)
	}
	e.pass(time.Minute)
	e.wantKeys(0)
}

func flipOnDisk(t *testing.T, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	if _, err := f.WriteAt(b[:], at); err != nil {
		t.Fatal(err)
	}
}

// A store in which nothing expires has no expiry table and no sweeping goroutine.
func TestNothingExpiresForNothing(t *testing.T) {
	s := open(t, t.TempDir(), tiny())
	fill(t, s, 0, 300, 100)
	compactAll(t, s)
	for _, f := range s.catalog.Set().Order {
		if f.Expiring.Load() != nil {
			t.Errorf("segment %d has a table", f.ID)
		}
	}
	if s.sweeper.Started.Load() {
		t.Error("there is a goroutine")
	}
}

// The background sweeps within ten seconds, whatever the options say.
func TestBackgroundSweepsWithinTenSeconds(t *testing.T) {
	for name, change := range map[string]func(o *Options){
		"default": func(*Options) {}, "compaction disabled": func(o *Options) { o.Compaction.Disabled = true },
		"read-only": func(o *Options) { o.ReadOnly = true },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := crashfs.New()
				open := func(o Options) *Store {
					inject.Into(&o, &inject.Seams{FS: disk, Between: func(string) {}})
					s, err := Open("/store", &o)
					if err != nil {
						t.Fatal(err)
					}
					return s
				}
				var o Options
				s := open(o)
				put(t, s, "stays", "value")
				began := time.Now()
				write := func(ttl time.Duration, key string) {
					if err := s.PutWithTTL([]byte(key), nil, ttl); err != nil {
						t.Error(err)
					}
				}
				write(time.Hour, "an hour")
				write(time.Minute, "a minute")
				closeStore(t, s)
				change(&o)
				s = open(o)
				ends := []time.Duration{time.Minute, time.Hour}
				if !o.ReadOnly {
					write(30*time.Minute, "half an hour")
					ends = []time.Duration{time.Minute, 30 * time.Minute, time.Hour}
				}
				for i, end := range ends {
					left := len(ends) - i // includes the key that stays
					time.Sleep(time.Until(began.Add(end - time.Millisecond)))
					if n := s.Len(); n != left+1 {
						t.Errorf("%d keys after %v; want %d", n, end, left+1)
					}
					time.Sleep(10 * time.Second)
					if n := s.Len(); n != left {
						t.Errorf("%d keys ten seconds later; want %d", n, left)
					}
				}
				closeStore(t, s)
			})
		})
	}
}

// If a mostly expired tail cannot be sealed, the background logs that and goes on. Reads
// and writes still work, and the room is freed once the disk has space again.
func TestBackgroundSaysThatAnExpiredTailCannotEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := errorfs.New(crashfs.New())
		var log bytes.Buffer
		o := &Options{SegmentSize: 64 << 10, Logger: slog.New(slog.NewTextHandler(&log, nil))}
		inject.Into(o, &inject.Seams{FS: disk, Between: func(string) {}})
		s, err := Open("/store", o)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 100 {
			key, value := numbered(i, 100)
			if err := s.PutWithTTL(key, value, time.Minute); err != nil {
				t.Fatal(err)
			}
		}
		put(t, s, "stays", "value")
		disk.Fail(errorfs.Rule{Err: syscall.ENOSPC, Forever: true, Match: func(op errorfs.Op) bool {
			return op.Kind == errorfs.Truncate && strings.HasSuffix(op.Name, ".seg") // needs room on btrfs
		}})
		time.Sleep(time.Minute + 10*time.Second)
		synctest.Wait()
		for _, part := range []string{"WARN", "the tail could not be ended", "no space left on device"} {
			if !strings.Contains(log.String(), part) {
				t.Errorf("the log does not say %q: %s", part, log.String())
			}
		}
		if s.Len() != 1 {
			t.Errorf("%d keys", s.Len())
		}
		wantValue(t, s, "stays", "value")
		put(t, s, "later", "value")
		before := s.Stats().DeadBytes
		disk.Heal()
		for i := range 2 { // the first becomes garbage
			put(t, s, "overwritten", fmt.Sprint(i, string(make([]byte, 12<<10))))
		}
		if err := s.Compact(t.Context()); err != nil {
			t.Errorf("Compact: %v", err)
		}
		if after := s.Stats().DeadBytes; before == 0 || after != 0 {
			t.Errorf("%d dead bytes are %d", before, after)
		}
		closeStore(t, s)
		if s, err = Open("/store", o); err != nil {
			t.Fatal(err)
		}
		wantValue(t, s, "stays", "value")
		wantValue(t, s, "later", "value")
		if damages := s.Stats().Recovery.Damages; s.Len() != 3 || len(damages) > 0 {
			t.Errorf("%d keys, and damage: %v", s.Len(), damages)
		}
		closeStore(t, s)
	})
}

// Sweeps run beside writers and compactions. In the end the live records are those that
// were written last and have not expired.
func TestSweepsRaceWritersAndCompactions(t *testing.T) {
	e := newExpiring(t, 16<<10)
	stop := make(chan struct{})
	var background, writers sync.WaitGroup
	until := func(fn func() error) {
		background.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := fn(); err != nil {
					t.Error(err)
					return
				}
				runtime.Gosched()
			}
		})
	}
	until(func() error { e.now.Add(1); _, err := e.sweeper.Step(); return err })
	until(func() error { return e.Compact(t.Context()) })
	const keys, own = 64, 4
	type state struct {
		value  string
		expiry int64
	}
	var last [own][keys]state
	for w := range own {
		writers.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(w)))
			for i := range 4000 {
				k := rng.IntN(keys)
				key, value := fmt.Appendf(nil, "key-%d-%d", w, k), fmt.Sprint("value ", i)
				var err error
				switch rng.IntN(5) {
				case 0:
					last[w][k], err = state{}, e.Delete(key)
				case 1:
					last[w][k], err = state{value: value}, e.Put(key, []byte(value))
				default:
					ttl := int64(1 + rng.IntN(50))
					err = e.PutWithTTL(key, []byte(value), time.Duration(ttl)*time.Millisecond)
					last[w][k] = state{value, e.now.Load() + ttl}
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	close(stop)
	background.Wait()
	for range 2 {
		e.pass(time.Second)
		want := 0
		for w := range own {
			for k := range keys {
				key, s := fmt.Sprintf("key-%d-%d", w, k), last[w][k]
				if s.value == "" || s.expiry != 0 {
					wantAbsent(t, e.Store, key)
					continue
				}
				want++
				wantValue(t, e.Store, key, s.value)
			}
		}
		e.wantKeys(want)
		e.reopen()
	}
}

// readingFS counts the bytes that are read from segments.
type readingFS struct {
	vfs.FS
	read   atomic.Int64
	refuse atomic.Bool
}
type readingDir struct {
	vfs.Dir
	fs *readingFS
}
type readingFile struct {
	vfs.File
	fs *readingFS
}

func (r *readingFS) OpenDir(path string) (vfs.Dir, error) {
	dir, err := r.FS.OpenDir(path)
	return readingDir{dir, r}, err
}

func (d readingDir) opened(name string, f vfs.File, err error) (vfs.File, error) {
	if _, kind, _ := segment.ParseFileName(name); err != nil || kind != segment.SegmentFile {
		return f, err
	}
	return readingFile{f, d.fs}, nil
}

func (d readingDir) Create(name string) (vfs.File, error) {
	f, err := d.Dir.Create(name)
	return d.opened(name, f, err)
}

func (d readingDir) Open(name string) (vfs.File, error) {
	f, err := d.Dir.Open(name)
	return d.opened(name, f, err)
}

func (d readingDir) OpenReadOnly(name string) (vfs.File, error) {
	f, err := d.Dir.OpenReadOnly(name)
	return d.opened(name, f, err)
}

func (f readingFile) ReadAt(p []byte, offset int64) (int, error) {
	if f.fs.refuse.Load() {
		return 0, syscall.EIO
	}
	f.fs.read.Add(int64(len(p)))
	return f.File.ReadAt(p, offset)
}
