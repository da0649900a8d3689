package mmapkv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/crashfs"
	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/internal/vfs"
)

// Writers, readers and compactions race on the same few keys. A key's versions count
// up. A version's number determines what it is: a value, a delete or a record that
// expires. So a reader, which knows the possible versions, can check what it sees.

// racedKey is a key with one writer.
type racedKey struct {
	number      uint64
	key         []byte
	begun, done atomic.Uint64 // the latest version begun, and the latest acknowledged
}

type versionKind int

const (
	plain  versionKind = iota
	large              // has a file of its own
	living             // expires long after the test
	dying              // expires during the test
	deleted
)

// draw returns the random numbers of a version.
func (k *racedKey) draw(version uint64) *rand.Rand { return rand.New(rand.NewPCG(k.number, version)) }

func (k *racedKey) kind(version uint64) versionKind {
	switch p := k.draw(version).IntN(200); {
	case version == 0 || p < 20:
		return deleted
	case p < 40:
		return dying
	case p < 60:
		return living
	case p < 61:
		return large
	}
	return plain
}

func (v versionKind) maybeAbsent() bool { return v == deleted || v == dying }

const (
	dyingTime  = 20 * time.Millisecond
	livingTime = 1000 * time.Hour
)

func (k *racedKey) value(version uint64) []byte {
	size := k.draw(version).IntN(120)
	if k.kind(version) == large {
		size += minSegmentSize
	}
	value := fmt.Appendf(nil, "%d of %s ", version, k.key)
	return append(value, bytes.Repeat([]byte{byte(version)}, size)...)
}

// contest is one store with its writers and readers.
type contest struct {
	t       *testing.T
	options Options
	disk    *crashfs.Disk // nil: the real file system
	store   *Store
	clock   atomic.Int64 // Unix milliseconds
	keys    []*racedKey
	writers [][]*racedKey // each writer's own
	readers []*racingReader

	puts, raced atomic.Int64 // all, and those during a compaction
	writing     atomic.Bool
	cancel      atomic.Pointer[context.CancelFunc] // of a Compact to cancel in the middle
	phases      *rand.Rand
}

const (
	racingWriters = 3
	keysOfWriter  = 16
	racingReaders = 2
)

func newContest(t *testing.T, dir string, disk *crashfs.Disk, how Compaction) *contest {
	c := &contest{t: t, disk: disk, phases: rand.New(rand.NewPCG(1, 2))}
	c.clock.Store(1_000_000)
	c.options = Options{SegmentSize: minSegmentSize, Sync: fsync.Never}
	c.options.Compaction = how
	c.store = c.open(dir, disk, c.between)
	fill(t, c.store, 0, staying, smallSize)
	for w := range racingWriters {
		var own []*racedKey
		for range keysOfWriter {
			k := &racedKey{number: uint64(len(c.keys)), key: fmt.Append(nil, "raced-", w, "-", len(c.keys))}
			c.keys, own = append(c.keys, k), append(own, k)
		}
		c.writers = append(c.writers, own)
	}
	for i := range racingReaders {
		c.readers = append(c.readers, &racingReader{contest: c, rng: rand.New(rand.NewPCG(3, uint64(i))),
			last: map[*racedKey]uint64{}, gone: map[*racedKey]uint64{}})
	}
	return c
}

func (c *contest) open(dir string, disk *crashfs.Disk, between func(string)) *Store {
	c.t.Helper()
	o := c.options
	seams := &inject.Seams{
		PageSlots: 8,
		Now:       func() time.Time { return time.UnixMilli(c.clock.Load()) },
		Between:   between,
		// A store without background goroutines compacts without pauses.
		Manual: o.Compaction.Disabled,
	}
	seams.FS = vfs.OS()
	if disk != nil {
		seams.FS = disk
	}
	inject.Into(&o, seams)
	return open(c.t, dir, &o)
}

// between lets writers write a little at each step of a compaction, if they can.
func (c *contest) between(phase string) {
	if cancel := c.cancel.Load(); cancel != nil && phase == "copied" {
		(*cancel)()
	}
	until := c.puts.Load() + int64(c.phases.IntN(8))
	for range 100 {
		if !c.writing.Load() || c.puts.Load() >= until {
			return
		}
		runtime.Gosched()
	}
}

// inCompaction reports whether a compaction is at work on the store.
func (c *contest) inCompaction() bool {
	return c.store.space.Promised() > 0
}

// writeSome writes new versions of a writer's own keys.
func (c *contest) writeSome(own []*racedKey, rng *rand.Rand, rounds int) {
	for range rounds {
		keys := []*racedKey{own[rng.IntN(len(own))]}
		if rng.IntN(10) == 0 {
			keys = nil
			for _, i := range rng.Perm(len(own))[:3] {
				keys = append(keys, own[i])
			}
		}
		racing := c.inCompaction()
		if err := c.write(keys); err != nil {
			c.t.Errorf("a write: %v", err)
			return
		}
		if racing || c.inCompaction() {
			c.raced.Add(int64(len(keys)))
		}
		c.puts.Add(int64(len(keys)))
		if rng.IntN(10) == 0 {
			c.clock.Add(1)
		}
		runtime.Gosched() // otherwise each step of a compaction waits for a time slice
	}
}

func (c *contest) write(keys []*racedKey) error {
	var b Batch
	var err error
	for _, k := range keys {
		version := k.begun.Add(1)
		value := k.value(version)
		kind := k.kind(version)
		switch batch := len(keys) > 1; {
		case kind == deleted && batch:
			b.Delete(k.key)
		case kind == deleted:
			err = c.store.Delete(k.key)
		case kind == dying && batch:
			b.PutWithTTL(k.key, value, dyingTime)
		case kind == dying:
			err = c.store.PutWithTTL(k.key, value, dyingTime)
		case kind == living && batch:
			b.PutWithTTL(k.key, value, livingTime)
		case kind == living:
			err = c.store.PutWithTTL(k.key, value, livingTime)
		case batch:
			b.Put(k.key, value)
		default:
			err = c.store.Put(k.key, value)
		}
	}
	if len(keys) > 1 {
		err = c.store.Write(&b)
	}
	for _, k := range keys {
		k.done.Add(1)
	}
	return err
}

// racingReader is a reader and what it has seen.
type racingReader struct {
	contest *contest
	rng     *rand.Rand
	last    map[*racedKey]uint64 // no older version may be seen any more
	gone    map[*racedKey]uint64 // nor may this one
	buffer  []byte
}

// span is the versions that a read may see.
type span struct{ oldest, newest uint64 }

// before returns the oldest version that a read beginning now may see.
func (r *racingReader) before(k *racedKey) uint64 { return max(k.done.Load(), r.last[k]) }

// isSeen checks a value that a read returned.
func (r *racingReader) isSeen(what string, k *racedKey, oldest uint64, value []byte) {
	number, _, _ := bytes.Cut(value, []byte(" "))
	version, err := strconv.ParseUint(string(number), 10, 64)
	newest := k.begun.Load()
	switch {
	case err != nil || k.kind(version) == deleted || !bytes.Equal(value, k.value(version)):
		r.contest.t.Errorf("%s shows of %s %.60q, which was never written", what, k.key, value)
	case version < max(oldest, r.last[k]) || version > newest || version == r.gone[k]:
		r.contest.t.Errorf("%s shows version %d of %s; it must be between %d and %d, and %d has gone",
			what, version, k.key, max(oldest, r.last[k]), newest, r.gone[k])
	default:
		r.last[k] = version
	}
}

// isAbsent checks a read that found nothing.
func (r *racingReader) isAbsent(what string, k *racedKey, oldest uint64) {
	newest := k.begun.Load()
	for version := max(oldest, r.last[k]); version <= newest; version++ {
		if k.kind(version).maybeAbsent() {
			r.last[k], r.gone[k] = version, version
			return
		}
	}
	r.contest.t.Errorf("%s does not find %s, which had versions %d to %d", what, k.key, oldest, newest)
}

// readSome does a random kind of read.
func (r *racingReader) readSome() {
	c, s := r.contest, r.contest.store
	k := c.keys[r.rng.IntN(len(c.keys))]
	oldest := r.before(k)
	var err error
	switch p := r.rng.IntN(100); {
	case p < 45:
		r.buffer, err = s.AppendGet(r.buffer[:0], k.key)
		if err == nil {
			r.isSeen("Get", k, oldest, r.buffer)
		} else if errors.Is(err, ErrNotFound) {
			r.isAbsent("Get", k, oldest)
			err = nil
		}
	case p < 75:
		err = s.View(k.key, func(value []byte) error {
			r.isSeen("View", k, oldest, value)
			r.readKept()
			r.isSeenAgain(k, value)
			return nil
		})
		if errors.Is(err, ErrNotFound) {
			r.isAbsent("View", k, oldest)
			err = nil
		}
	case p < 90:
		var has bool
		if has, err = s.Has(k.key); err == nil {
			r.hasOrNot(k, oldest, has)
		}
	case p < 95:
		r.keys()
	default:
		err = r.ranges()
	}
	if err != nil {
		c.t.Errorf("a read: %v", err)
	}
}

// isSeenAgain checks that the value in a View has not changed.
func (r *racingReader) isSeenAgain(k *racedKey, value []byte) {
	if version := r.last[k]; !bytes.Equal(value, k.value(version)) {
		r.contest.t.Errorf("View shows %.60q of %s, and at first showed version %d", value, k.key, version)
	}
}

// readKept reads a key that no writer changes.
func (r *racingReader) readKept() {
	key, want := numbered(r.rng.IntN(staying), smallSize)
	if got, err := r.contest.store.Get(key); err != nil || !bytes.Equal(got, want) {
		r.contest.t.Errorf("Get(%q) = %q, %v", key, got, err)
	}
}

func (r *racingReader) hasOrNot(k *racedKey, oldest uint64, has bool) {
	if !has {
		r.isAbsent("Has", k, oldest)
		return
	}
	for version := max(oldest, r.last[k]); version <= k.begun.Load(); version++ {
		if k.kind(version) != deleted && version != r.gone[k] {
			return
		}
	}
	r.contest.t.Errorf("Has finds %s, which was deleted in version %d", k.key, oldest)
}

// spans returns what an iteration beginning now may show of each key. The caller
// fills in newest at the end.
func (r *racingReader) spans() map[string]*span {
	spans := map[string]*span{}
	for _, k := range r.contest.keys {
		spans[string(k.key)] = &span{oldest: k.done.Load()}
	}
	return spans
}

func (r *racingReader) keys() {
	spans, times := r.spans(), map[string]int{}
	for key := range r.contest.store.Keys() {
		times[string(key)]++
	}
	r.keptOnce("Keys", times)
	for _, k := range r.contest.keys {
		span := spans[string(k.key)]
		span.newest = k.begun.Load()
		throughout := true
		for version := span.oldest; version <= span.newest; version++ {
			throughout = throughout && !k.kind(version).maybeAbsent()
		}
		n := times[string(k.key)]
		if throughout && n != 1 || span.oldest == span.newest && k.kind(span.newest) == deleted && n > 0 {
			r.contest.t.Errorf("Keys yields %s %d times, of versions %v", k.key, n, *span)
		}
	}
}

func (r *racingReader) ranges() error {
	spans, times := r.spans(), map[string]int{}
	byKey := map[string]*racedKey{}
	for _, k := range r.contest.keys {
		byKey[string(k.key)] = k
	}
	err := r.contest.store.Range(func(key, value []byte) error {
		times[string(key)]++
		if k := byKey[string(key)]; k != nil {
			r.isSeen("Range", k, spans[string(key)].oldest, value)
		}
		return nil
	})
	r.keptOnce("Range", times)
	for _, k := range r.contest.keys {
		span := spans[string(k.key)]
		span.newest = k.begun.Load()
		n, kind := times[string(k.key)], k.kind(span.newest)
		if span.oldest == span.newest && (!kind.maybeAbsent() && n != 1 || kind == deleted && n > 0 || n > 1) {
			r.contest.t.Errorf("Range shows %s %d times, of versions %v", k.key, n, *span)
		}
	}
	return err
}

// keptOnce checks that an iteration shows each unchanged key once.
func (r *racingReader) keptOnce(what string, times map[string]int) {
	for i := range staying {
		if key, _ := numbered(i, 0); times[string(key)] != 1 {
			r.contest.t.Errorf("%s yields %s, which is there throughout, %d times", what, key, times[string(key)])
		}
	}
}

// compactOn compacts until the writers are done.
func (c *contest) compactOn() {
	for n := 0; c.writing.Load(); n++ {
		ctx, cancel := context.WithCancel(context.Background())
		if n%16 == 15 {
			c.cancel.Store(&cancel)
		}
		err := c.store.Compact(ctx)
		c.cancel.Store(nil)
		cancel()
		if err != nil && !errors.Is(err, context.Canceled) {
			c.t.Errorf("Compact: %v", err)
			return
		}
	}
}

// batch runs one race and checks its outcome.
func (c *contest) batch(number, rounds int) {
	var writing, others sync.WaitGroup
	c.writing.Store(true)
	for w, own := range c.writers {
		writing.Go(func() { c.writeSome(own, rand.New(rand.NewPCG(uint64(number), uint64(w))), rounds) })
	}
	for _, r := range c.readers {
		others.Go(func() {
			for c.writing.Load() && !c.t.Failed() {
				r.readSome()
				runtime.Gosched()
			}
		})
	}
	others.Go(c.compactOn)
	writing.Wait()
	c.writing.Store(false)
	others.Wait()

	c.clock.Add(dyingTime.Milliseconds() + 1)
	c.check(c.store)
	if c.disk != nil && number%4 == 0 {
		killed := c.open("/store", c.disk.Kill(), nil)
		c.check(killed)
		closeStore(c.t, killed)
	}
}

// check compares a whole store at rest with the last versions.
func (c *contest) check(s *Store) {
	c.t.Helper()
	s.compactor.Compacting <- struct{}{} // keeps the background still
	defer func() { <-s.compactor.Compacting }()
	wantFilled(c.t, s, 0, staying, smallSize)
	there := staying
	want := map[string]string{}
	for _, k := range c.keys {
		version := k.done.Load()
		if k.kind(version).maybeAbsent() {
			wantAbsent(c.t, s, string(k.key))
			continue
		}
		there++
		want[string(k.key)] = string(k.value(version))
		wantValue(c.t, s, string(k.key), want[string(k.key)])
	}
	listed := 0
	for range s.Keys() {
		listed++
	}
	err := s.Range(func(key, value []byte) error {
		there--
		if shown, ok := want[string(key)]; ok && shown != string(value) {
			return fmt.Errorf("%s is %.40q", key, value)
		}
		return nil
	})
	if err != nil || there != 0 || listed != staying+len(want) {
		c.t.Errorf("Range shows %d pairs too few, %v; Keys yields %d of %d", there, err, listed, staying+len(want))
	}
	// The accounts still count expired records that were not swept.
	now := c.clock.Swap(0)
	checkAccounts(c.t, s)
	c.clock.Store(now)
}

// TestWritersRaceCompactions runs until 100,000 puts and deletes in all have raced with
// a compaction.
func TestWritersRaceCompactions(t *testing.T) {
	// Writers must race with compactions, not wait for them.
	background := Compaction{GarbageRatio: 0.1, MaxSpaceRatio: 100}
	for _, test := range []struct {
		name       string
		onDisk     bool
		compaction Compaction
		rounds     int64
	}{
		{"in memory, by Compact", false, Compaction{Disabled: true}, 80_000},
		{"in memory, also in the background", false, background, 14_000},
		{"on disk, also in the background", true, background, 5_000},
		{"in memory, bounded", false, Compaction{}, 1_000},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir, disk := "/store", crashfs.New()
			if test.onDisk {
				dir, disk = t.TempDir(), nil
			}
			c := newContest(t, dir, disk, test.compaction)
			batches := 0
			for ; c.raced.Load() < test.rounds && !t.Failed(); batches++ {
				c.batch(batches, int(min(test.rounds, 10_000)/10))
			}
			stats := c.store.Stats()
			t.Logf("%d writes in %d batches, %d of them beside one of %d compactions (%d failed or cancelled), writers waited %v",
				c.puts.Load(), batches, c.raced.Load(), stats.Compaction.Runs, stats.Compaction.Failed, stats.WriteStall)
			if int64(stats.Compaction.Runs) < test.rounds/1000 {
				t.Error("there were too few compactions")
			}
			if err := stats.Compaction.LastError; err != nil && !errors.Is(err, context.Canceled) {
				t.Errorf("a compaction failed: %v", err)
			}
			closeStore(t, c.store)
			again := c.open(dir, disk, nil)
			c.check(again)
			if err := again.Compact(context.Background()); err != nil {
				t.Errorf("Compact after the reopen: %v", err)
			}
			c.check(again)
			closeStore(t, again)
			again = c.open(dir, disk, nil)
			if r := again.Stats().Recovery; !r.Clean || len(r.Damages) > 0 {
				t.Errorf("recovery found %+v", r)
			}
			c.check(again)
		})
	}
}
