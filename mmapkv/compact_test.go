package mmapkv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/crashfs"
	"github.com/mmapkv/mmapkv/internal/errorfs"
	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv/internal/compact"
	"github.com/mmapkv/mmapkv/mmapkv/internal/space"
	"github.com/mmapkv/mmapkv/segment"
)

// byHand is tiny without background compaction.
func byHand() *Options {
	o := tiny()
	o.Compaction.Disabled = true
	return o
}

func compactAll(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Compact(context.Background()); err != nil {
		t.Fatalf("Compact: %v", err)
	}
	checkAccounts(t, s)
}

func TestCompactGivesBackWhatWasOverwritten(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, byHand())
	const rounds = 20
	for round := range rounds {
		for i := range 200 {
			put(t, s, fmt.Sprint("key", i), fmt.Sprint("value", i, " of round ", round))
		}
	}
	before, _ := diskUse(t, dir)
	compactAll(t, s)
	after, _ := diskUse(t, dir)
	if after > before/4 {
		t.Errorf("%d bytes of %d are left of twenty times the same data", after, before)
	}
	check := func(s *Store) {
		t.Helper()
		if s.Len() != 200 {
			t.Errorf("%d keys", s.Len())
		}
		for i := range 200 {
			wantValue(t, s, fmt.Sprint("key", i), fmt.Sprint("value", i, " of round ", rounds-1))
		}
		checkAccounts(t, s)
	}
	check(s)
	closeStore(t, s)
	check(open(t, dir, byHand()))
}

func TestCompactOfDeletedKeysLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, byHand())
	fill(t, s, 0, 500, 100)
	for i := range 500 {
		key, _ := numbered(i, 0)
		if err := s.Delete(key); err != nil {
			t.Fatal(err)
		}
	}
	compactAll(t, s)
	for _, f := range s.Stats().Segments {
		if f.Sealed || f.DeadBytes > 0 {
			t.Errorf("%+v is left of a store without keys", f)
		}
	}
	if bytes, _ := diskUse(t, dir); bytes > 64<<10 {
		t.Errorf("a store without keys takes %d bytes", bytes)
	}
	put(t, s, "after", "all")
	closeStore(t, s)
	s = open(t, dir, byHand())
	wantValue(t, s, "after", "all")
	key, _ := numbered(3, 0)
	wantAbsent(t, s, string(key))
	if r := s.Stats().Recovery; len(r.Damages) > 0 || !r.Clean {
		t.Errorf("recovery found %+v", r)
	}
}

// Compaction empties a store, and a crash then leaves the tail empty. Recovery reports
// no damage.
func TestEmptiedStoreIsNotDamagedByACrash(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, byHand())
	fill(t, s, 0, 100, 100)
	for i := range 100 {
		key, _ := numbered(i, 0)
		if err := s.Delete(key); err != nil {
			t.Fatal(err)
		}
	}
	compactAll(t, s)
	put(t, s, "lost", "for it was not synced")
	crashed := killed(t, s, dir)
	files := segmentFiles(t, crashed)
	for _, size := range []int64{segment.HeaderSize, minSegmentSize} { // room taken ahead
		if err := os.Truncate(files[len(files)-1], size); err != nil {
			t.Fatal(err)
		}
	}
	s = open(t, crashed, byHand())
	if r := s.Stats().Recovery; len(r.Damages) > 0 || s.Len() > 0 {
		t.Errorf("%d keys, recovery found %+v", s.Len(), r)
	}
}

func TestTombstoneStaysWhileAnOlderFileHasItsKey(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, byHand())
	// An old file has the key and is not worth a rewrite.
	put(t, s, "victim", "old")
	for i := range 40 {
		put(t, s, fmt.Sprint("stays", i), string(bytes.Repeat([]byte("x"), 60)))
	}
	if err := s.compactor.SealGarbage(context.Background()); err != nil {
		t.Fatal(err)
	}
	s.endForTest(t)
	if err := s.Delete([]byte("victim")); err != nil {
		t.Fatal(err)
	}
	for i := range 60 {
		put(t, s, fmt.Sprint("goes", i%3), "garbage")
	}
	s.endForTest(t)
	list := s.sealedForTest()
	run := compact.FilesOf(list[1:])
	pacer, done := s.compactor.NewPacer(context.Background())
	m, err := s.compactor.CompactRun(pacer, run)
	done()
	if err != nil || m.Output == nil {
		t.Fatalf("compacting all but the oldest: %v", err)
	}
	if len(m.Output.NeededBy) != 1 {
		t.Errorf("the tombstone is needed by %v", m.Output.NeededBy)
	}
	checkAccounts(t, s)
	closeStore(t, s)
	s = open(t, dir, byHand())
	wantAbsent(t, s, "victim")
	compactAll(t, s)
	closeStore(t, s)
	s = open(t, dir, byHand())
	wantAbsent(t, s, "victim")
	if n := s.Len(); n != 43 {
		t.Errorf("%d keys", n)
	}
}

// The tombstones are all needed, and do not fit into one file with other records. They
// are not garbage although no compaction copies them, and compactions come to an end.
func TestCompactionEndsWhereTombstonesDoNotFit(t *testing.T) {
	o := tiny()
	inject.Into(o, &inject.Seams{Manual: true})
	s := open(t, t.TempDir(), o)
	const old = 150
	for i := range old {
		put(t, s, fmt.Sprint("victim ", i), "value")
		for j := range 3 {
			put(t, s, fmt.Sprint("stays ", i, " ", j), string(make([]byte, 1000)))
		}
		s.endForTest(t)
	}
	put(t, s, "small", "file")
	s.endForTest(t)
	for i := range old {
		if err := s.Delete(fmt.Append(nil, "victim ", i)); err != nil {
			t.Fatal(err)
		}
	}
	s.endForTest(t)
	for steps := 0; ; steps++ {
		did, err := s.compactor.Step()
		if err != nil {
			t.Fatal(err)
		}
		if !did {
			break
		}
		if steps == old {
			t.Fatalf("no end after %d compactions: %+v", steps, s.Stats().Compaction)
		}
	}
	checkAccounts(t, s)
}

// endForTest seals the segment being written.
func (s *Store) endForTest(t testing.TB) {
	t.Helper()
	s.log.AsLeader(func() {
		if err := s.log.BeforeWrite(true); err != nil {
			t.Error(err)
		}
		s.log.EndTail()
	})
	if err := s.log.SealEnded(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// While Compact seals the tail, writers can use another file. Otherwise this writer, in
// the middle of the seal, would wait for it forever. Without a write the file is removed.
func TestCompactLeavesWritersAFile(t *testing.T) {
	for _, comes := range []bool{true, false} {
		disk, o := crashfs.New(), byHand()
		inject.Into(o, &inject.Seams{FS: disk, Manual: true})
		s := open(t, "/store", o)
		put(t, s, "key", "value")
		put(t, s, "key", "value")
		came := false
		disk.OnCall = func(_ int, op crashfs.Op) {
			if comes && !came && op.Kind == crashfs.Rename && strings.HasSuffix(op.To, ".hint") {
				came = true
				put(t, s, "who", "came in between")
			}
		}
		if err := s.compactor.SealGarbage(context.Background()); err != nil {
			t.Fatal(err)
		}
		if files := len(s.catalog.Files.Order); came != comes || (s.log.Tail.File != nil) != comes || files != 1+len(s.catalog.Files.Unsealed()) {
			t.Errorf("came %v, and the log goes on in %v; there are %d files", came, s.log.Tail.File, files)
		}
		disk.OnCall = nil
		closeStore(t, s)
	}
}

// Close removes a file that nothing was written to.
func TestCloseTakesAwayAnUnusedFile(t *testing.T) {
	disk, o := crashfs.New(), byHand()
	inject.Into(o, &inject.Seams{FS: disk, Manual: true})
	s := open(t, "/store", o)
	put(t, s, "key", "value")
	if _, err := s.log.Prepare(); err != nil {
		t.Fatal(err)
	}
	s.log.AsLeader(func() {
		if err := s.log.EndGarbage(); err != nil {
			t.Error(err)
		}
	})
	closeStore(t, s)
	for _, name := range disk.Files() {
		id, kind, _ := segment.ParseFileName(filepath.Base(name))
		if (kind == segment.SegmentFile || kind == segment.HintFile) && id != 1 {
			t.Errorf("%s is there", name)
		}
	}
}

// sealedForTest returns the sealed files; the background may have prepared another.
func (s *Store) sealedForTest() []compact.Candidate {
	return slices.DeleteFunc(s.compactor.Candidates(), func(c compact.Candidate) bool { return !c.Sealed })
}

func TestExpiredRecordsGoAndStayAway(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	o := byHand()
	inject.Into(o, &inject.Seams{Now: func() time.Time { return now }, Manual: true})
	dir := t.TempDir()
	s := open(t, dir, o)
	put(t, s, "a", "without end")
	fill(t, s, 0, 30, 60)
	s.endForTest(t)
	if err := s.PutWithTTL([]byte("a"), []byte("for a moment"), time.Second); err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		if err := s.PutWithTTL(fmt.Append(nil, "short", i), []byte("lived"), time.Second); err != nil {
			t.Fatal(err)
		}
	}
	s.endForTest(t)
	now = now.Add(2 * time.Second)
	if s.Len() != 131 {
		t.Errorf("%d keys before compaction", s.Len())
	}
	list := s.sealedForTest()
	pacer, done := s.compactor.NewPacer(context.Background())
	if _, err := s.compactor.CompactRun(pacer, compact.FilesOf(list[1:])); err != nil {
		t.Fatal(err)
	}
	done()
	if s.Len() != 30 {
		t.Errorf("%d keys after it", s.Len())
	}
	checkAccounts(t, s)
	now = now.Add(-2 * time.Second) // a clock that is set back revives nothing
	wantAbsent(t, s, "a")
	closeStore(t, s)
	s = open(t, dir, o)
	wantAbsent(t, s, "a")
	compactAll(t, s)
	wantAbsent(t, s, "a")
	closeStore(t, s)
	s = open(t, dir, o)
	wantAbsent(t, s, "a")
	wantAbsent(t, s, "short7")
	if s.Len() != 30 {
		t.Errorf("%d keys at the end", s.Len())
	}
}

// A record that has expired when the store opens is not in the index. If the clock is
// then set back, compaction still may not drop the record.
func TestExpiredAtOpenStaysAwayWhenTheClockIsSetBack(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	o := byHand()
	inject.Into(o, &inject.Seams{Now: func() time.Time { return now }, Manual: true})
	dir := t.TempDir()
	s := open(t, dir, o)
	put(t, s, "a", "without end")
	fill(t, s, 0, 30, 60)
	s.endForTest(t)
	if err := s.PutWithTTL([]byte("a"), []byte("for a moment"), time.Second); err != nil {
		t.Fatal(err)
	}
	put(t, s, "b", "else")
	s.endForTest(t)
	closeStore(t, s)
	now = now.Add(2 * time.Second)
	s = open(t, dir, o)
	wantAbsent(t, s, "a")
	now = now.Add(-2 * time.Second)
	pacer, done := s.compactor.NewPacer(context.Background())
	defer done()
	if _, err := s.compactor.CompactRun(pacer, compact.FilesOf(s.sealedForTest()[1:])); err != nil {
		t.Fatal(err)
	}
	wantAbsent(t, s, "a")
	closeStore(t, s)
	s = open(t, dir, o)
	wantAbsent(t, s, "a")
	wantValue(t, s, "b", "else")
}

func TestCompactAtOddMoments(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	s := open(t, dir, byHand())
	compactAll(t, s) // empty
	fill(t, s, 0, 300, 50)
	for i := range 300 {
		key, _ := numbered(i, 0)
		if i%3 > 0 {
			if err := s.Delete(key); err != nil {
				t.Fatal(err)
			}
		}
	}
	closeStore(t, s)
	if err := s.Compact(ctx); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	readOnly := byHand()
	readOnly.ReadOnly = true
	s = open(t, dir, readOnly)
	if err := s.Compact(ctx); !errors.Is(err, ErrReadOnly) {
		t.Errorf("read-only: %v", err)
	}
	closeStore(t, s)
	s = open(t, dir, byHand())
	compactAll(t, s) // before the first put of a session
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	fill(t, s, 0, 300, 51)
	fill(t, s, 0, 300, 52)
	if err := s.Compact(cancelled); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	wantFilled(t, s, 0, 300, 52)
	closeStore(t, s)
	s = open(t, dir, byHand())
	wantFilled(t, s, 0, 300, 52)
	if s.Len() != 300 {
		t.Errorf("%d keys", s.Len())
	}
}

func TestCompactDuringClose(t *testing.T) {
	for round := range 20 {
		dir := t.TempDir()
		s := open(t, dir, byHand())
		for n := range 3 {
			fill(t, s, 0, 400, 50+n)
		}
		result := make(chan error)
		go func() { result <- s.Compact(context.Background()) }()
		time.Sleep(time.Duration(round) * 100 * time.Microsecond)
		if err := s.Close(); err != nil {
			t.Fatalf("Close: %v", err)
		}
		if err := <-result; err != nil && !errors.Is(err, ErrClosed) {
			t.Fatalf("Compact: %v", err)
		}
		s = open(t, dir, byHand())
		wantFilled(t, s, 0, 400, 52)
		closeStore(t, s)
	}
}

func TestBackgroundCompactionKeepsTheBound(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, &Options{SegmentSize: 64 << 10, Sync: fsync.Never})
	const keys = 20_000
	for round := range 10 {
		for i := range keys {
			key, value := numbered(i, 100+round)
			if err := s.Put(key, value); err != nil {
				t.Fatal(err)
			}
		}
		s.compactor.Compacting <- struct{}{} // while it runs, both its inputs and its output count
		used, live := s.space.Use()
		<-s.compactor.Compacting
		if bound := 2*live + 2*space.MinSlack; used > bound {
			t.Errorf("round %d: %d bytes used, %d alive", round, used, live)
		}
	}
	wantFilled(t, s, 0, keys, 109)
	if s.Stats().Compaction.Runs == 0 {
		t.Error("there was no compaction")
	}
	closeStore(t, s)
	s = open(t, dir, byHand())
	wantFilled(t, s, 0, keys, 109)
	checkAccounts(t, s)
}

// A large write waits for room before it creates its file, not after.
func TestLargeWritesKeepTheBound(t *testing.T) {
	const size = 4 << 20
	for name, write := range map[string]func(s *Store, value []byte) error{
		"a long value": func(s *Store, value []byte) error { return s.Put([]byte("key 0"), value) },
		"a batch": func(s *Store, value []byte) error {
			var b Batch
			for i := range 16 {
				b.Put(fmt.Append(nil, "key ", i), value[:size/16])
			}
			return s.Write(&b)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			disk := &movingFS{FS: vfs.OS()}
			o := &Options{SegmentSize: 64 << 10, Sync: fsync.Never}
			inject.Into(o, &inject.Seams{FS: disk})
			s := open(t, dir, o)
			var most atomic.Int64
			disk.long = func() {
				onDisk, _ := diskUse(t, dir)
				most.Store(max(most.Load(), onDisk))
			}
			for i := range 8 {
				if err := write(s, bytes.Repeat([]byte{byte(i)}, size)); err != nil {
					t.Fatal(err)
				}
			}
			if bound := int64(2*size + 2*space.MinSlack); most.Load() > bound {
				t.Errorf("writes of %d bytes take up to %d, the bound is %d", size, most.Load(), bound)
			}
			got, err := s.Get([]byte("key 0"))
			if err != nil || len(got) == 0 || got[0] != 7 {
				t.Errorf("Get: %.8q, %v", got, err)
			}
		})
	}
}

// A compaction that seals a file first does not hurry: that would slow down readers and
// writers on the same processors.
func TestCompactSealsWithoutHurry(t *testing.T) {
	o := byHand()
	o.SegmentSize = 1 << 20
	s, disk := onFaulty(t, o, inject.Seams{})
	for range 2 {
		fill(t, s, 0, 100, 100)
	}
	hints, hurried := 0, 0
	disk.Fail(errorfs.Rule{Match: func(op errorfs.Op) bool {
		if op.Kind == errorfs.Rename && strings.HasSuffix(op.To, ".hint") {
			hints++
			if s.log.SealInHurry() {
				hurried++
			}
		}
		return false
	}})
	compactAll(t, s)
	if hints < 2 || hurried > 0 {
		t.Errorf("%d of %d hints were made in a hurry", hurried, hints)
	}
}

// A compaction that is cancelled before it begins leaves the log as it is.
func TestCompactThatIsCancelledBefore(t *testing.T) {
	s := open(t, t.TempDir(), byHand())
	for range 2 {
		put(t, s, "overwritten", "value")
	}
	tail := s.log.Tail.File
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Compact(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Compact: %v", err)
	}
	if s.log.Tail.File != tail || len(s.sealedForTest()) > 0 {
		t.Error("the tail has ended")
	}
	closeStore(t, s)
	if err := s.Compact(ctx); err != ErrClosed {
		t.Errorf("Compact of a closed store: %v", err)
	}
}
