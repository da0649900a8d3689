package mmapkv

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/errorfs"
	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/segment"
)

// want checks what a conditional write returned.
func want(t testing.TB, what string, yes bool) func(done bool, err error) {
	t.Helper()
	return func(done bool, err error) {
		t.Helper()
		if done != yes || err != nil {
			t.Fatalf("%s: %t, %v; want %t", what, done, err, yes)
		}
	}
}

// swap is CompareAndSwap of strings.
func swap(s *Store, key, old, new string) (bool, error) {
	return s.CompareAndSwap([]byte(key), []byte(old), []byte(new))
}

func TestConditionalWrites(t *testing.T) {
	for _, policy := range []fsync.Policy{fsync.Always, fsync.Never} {
		t.Run(policy.String(), func(t *testing.T) {
			o := byHand()
			o.Sync = policy
			dir := t.TempDir()
			s := open(t, dir, o)
			key := []byte("key")
			want(t, "a swap of what is absent", false)(s.CompareAndSwap(key, nil, []byte("x")))
			want(t, "a delete of what is absent", false)(s.CompareAndDelete(key, nil))
			wantAbsent(t, s, "key")
			want(t, "the first put", true)(s.PutIfAbsent(key, []byte("first")))
			want(t, "the second put", false)(s.PutIfAbsent(key, []byte("second")))
			wantValue(t, s, "key", "first")
			for _, old := range []string{"", "firs", "first!", "First"} {
				want(t, "a swap of another value", false)(swap(s, "key", old, "x"))
				want(t, "a delete of another value", false)(s.CompareAndDelete(key, []byte(old)))
			}
			want(t, "a swap", true)(swap(s, "key", "first", "second"))
			want(t, "the same swap", false)(swap(s, "key", "first", "second"))
			wantValue(t, s, "key", "second")
			want(t, "a swap for the same", true)(swap(s, "key", "second", "second"))
			want(t, "a swap for nothing", true)(s.CompareAndSwap(key, []byte("second"), nil))
			want(t, "a put where an empty value is", false)(s.PutIfAbsent(key, []byte("x")))
			want(t, "a swap of the empty value", true)(s.CompareAndSwap(key, nil, []byte("third")))
			want(t, "a delete", true)(s.CompareAndDelete(key, []byte("third")))
			wantAbsent(t, s, "key")
			want(t, "the same delete", false)(s.CompareAndDelete(key, []byte("third")))
			want(t, "a put after a delete", true)(s.PutIfAbsent(key, nil))
			want(t, "a delete of the empty value", true)(s.CompareAndDelete(key, nil))
			want(t, "the empty key", true)(s.PutIfAbsent(nil, []byte("of the empty key")))
			closeStore(t, s)
			s = open(t, dir, o)
			wantAbsent(t, s, "key")
			wantValue(t, s, "", "of the empty key")
		})
	}
}

// A store that takes no Put takes no conditional write, whether or not the condition holds.
func TestConditionalWritesWhereNothingIsWritten(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, byHand())
	put(t, s, "key", "value")
	all := func(key, value []byte) map[string]error {
		errs := map[string]error{}
		_, errs["PutIfAbsent"] = s.PutIfAbsent(key, value)
		_, errs["PutIfAbsentWithTTL"] = s.PutIfAbsentWithTTL(key, value, time.Hour)
		_, errs["CompareAndSwap"] = s.CompareAndSwap(key, value, value)
		_, errs["CompareAndDelete"] = s.CompareAndDelete(key, value)
		return errs
	}
	check := func(key, value string, is error) {
		t.Helper()
		for name, err := range all([]byte(key), []byte(value)) {
			if !errors.Is(err, is) {
				t.Errorf("%s: %v; want %v", name, err, is)
			}
		}
	}
	check(strings.Repeat("k", MaxKeySize+1), "value", ErrTooLarge)
	if _, err := s.PutIfAbsentWithTTL([]byte("key"), nil, 0); !errors.Is(err, ErrInvalid) {
		t.Errorf("no time to live: %v", err)
	}
	closeStore(t, s)
	check("key", "value", ErrClosed)
	check("nokey", "value", ErrClosed)
	o := byHand()
	o.ReadOnly = true
	s = open(t, dir, o)
	check("key", "value", ErrReadOnly)
	check("nokey", "value", ErrReadOnly)
	closeStore(t, s)
	s = open(t, dir, byHand())
	s.syncer.Fail(syscall.EIO)
	check("key", "value", ErrFailed)
	wantValue(t, s, "key", "value")
}

// A verdict is about what a caller saw, and is not kept: whatever happens to the key between the
// look and the verdict makes the leader refuse the write.
func TestVerdictIsOnWhatTheCallerSaw(t *testing.T) {
	const key = "key"
	for name, test := range map[string]struct {
		before, after func(e *expiring)
		absent        bool // the caller wants no value
		holds         bool
	}{
		"nothing happens to a value":    {before: func(e *expiring) { put(e.t, e.Store, key, "v") }, after: func(*expiring) {}, holds: true},
		"nothing happens to no value":   {after: func(*expiring) {}, absent: true, holds: true},
		"another key is put":            {before: func(e *expiring) { put(e.t, e.Store, key, "v") }, after: func(e *expiring) { put(e.t, e.Store, "other", "v") }, holds: true},
		"it is put with the same value": {before: func(e *expiring) { put(e.t, e.Store, key, "v") }, after: func(e *expiring) { put(e.t, e.Store, key, "v") }},
		"it is deleted":                 {before: func(e *expiring) { put(e.t, e.Store, key, "v") }, after: func(e *expiring) { e.delete(key) }},
		"it is put where none was":      {after: func(e *expiring) { put(e.t, e.Store, key, "v") }, absent: true},
		"it comes and goes":             {after: func(e *expiring) { put(e.t, e.Store, key, "v"); e.delete(key) }, absent: true, holds: true},
		"it goes and comes": {before: func(e *expiring) { put(e.t, e.Store, key, "v") }, after: func(e *expiring) {
			e.delete(key)
			put(e.t, e.Store, key, "v")
		}},
		"it expires":               {before: func(e *expiring) { e.putFor(time.Minute, key, "v") }, after: func(e *expiring) { e.now.Add(60_000) }},
		"it expires and is swept":  {before: func(e *expiring) { e.putFor(time.Minute, key, "v") }, after: func(e *expiring) { e.pass(time.Hour) }},
		"it does not expire yet":   {before: func(e *expiring) { e.putFor(time.Minute, key, "v") }, after: func(e *expiring) { e.now.Add(59_999) }, holds: true},
		"it stays expired":         {before: func(e *expiring) { e.putFor(time.Minute, key, "v"); e.now.Add(60_000) }, after: func(e *expiring) { e.now.Add(1) }, absent: true, holds: true},
		"the expired one is swept": {before: func(e *expiring) { e.putFor(time.Minute, key, "v"); e.now.Add(60_000) }, after: func(e *expiring) { e.pass(1) }, absent: true},
		"the clock is set back":    {before: func(e *expiring) { e.putFor(time.Minute, key, "v"); e.now.Add(60_000) }, after: func(e *expiring) { e.now.Add(-1) }, absent: true},
		"compaction moves it": {before: func(e *expiring) {
			put(e.t, e.Store, key, "v")
			for range 10 {
				put(e.t, e.Store, "garbage", "v")
			}
		}, after: func(e *expiring) { compactAll(e.t, e.Store) }},
	} {
		t.Run(name, func(t *testing.T) {
			e := newExpiring(t, minSegmentSize)
			if test.before != nil {
				test.before(e)
			}
			c := &sight{store: e.Store, fp: e.hasher.Fingerprint([]byte(key))}
			has, err := c.look([]byte(key), wanted{absent: test.absent, value: []byte("v")}, false)
			if !has || err != nil {
				t.Fatal(has, err)
			}
			test.after(e)
			e.log.AsLeader(func() {
				if c.Holds() != test.holds {
					t.Errorf("the verdict is %t", !test.holds)
				}
			})
			// Whatever happened, a second look and what follows from it agree with Get.
			_, err = e.Get([]byte(key))
			want(t, "the put", errors.Is(err, ErrNotFound))(e.PutIfAbsent([]byte(key), []byte("v")))
			want(t, "the swap", true)(swap(e.Store, key, "v", "w"))
			wantValue(t, e.Store, key, "w")
		})
	}
}

// Another file gets the slot of the one in which the caller found the record, and the index a
// location in it that looks the same.
func TestVerdictKnowsTheFile(t *testing.T) {
	s := open(t, t.TempDir(), byHand())
	put(t, s, "key", "old")
	s.endForTest(t)
	put(t, s, "key", "new")
	s.endForTest(t)
	fp := s.hasher.Fingerprint([]byte("key"))
	files := s.catalog.Set().Order
	loc := s.catalog.Set().Keys.Get(fp)
	for _, test := range []struct {
		file  int
		holds bool
	}{{0, false}, {1, true}} {
		c := &sight{store: s, fp: fp, loc: loc, file: files[test.file], present: true}
		if c.Holds() != test.holds {
			t.Errorf("file %d: %t", test.file, !test.holds)
		}
	}
	if c := (&sight{store: s, fp: fp, loc: loc, present: true}); c.Holds() {
		t.Error("a location in no file holds")
	}
}

// The index gets its records between the look and the verdict, or lacks those of the key in both
// moments.
func TestConditionalWritesWhileTheIndexLoads(t *testing.T) {
	const files = 6
	dir := layers(t, files)
	last := fmt.Sprint("value ", files-1)
	for steps := 0; ; steps++ {
		s := openHeld(t, copyDir(t, dir), nil)
		loading := func() bool { return s.Stats().Loading }
		step := func() {
			if _, err := s.loading.Step(); err != nil {
				t.Fatal(err)
			}
		}
		for range steps {
			step()
		}
		ended := !loading()
		sights := map[string]*sight{}
		for key, wants := range map[string]wanted{
			"overwritten": {value: []byte(last)}, "new 0": {value: []byte("value")}, "new 5": {value: []byte("value")},
			"there by turns": {absent: true}, "never": {absent: true},
		} {
			c := &sight{store: s, fp: s.hasher.Fingerprint([]byte(key))}
			if has, err := c.look([]byte(key), wants, false); !has || err != nil {
				t.Fatalf("%d steps, %s: %t, %v", steps, key, has, err)
			}
			sights[key] = c
		}
		for key, c := range sights {
			if !c.Holds() {
				t.Errorf("%d steps, %s: nothing happened, and the verdict is no", steps, key)
			}
		}
		want(t, "the put of a key that a table has", false)(s.PutIfAbsent([]byte("new 0"), []byte("x")))
		want(t, "the swap of an overwritten value", false)(swap(s, "overwritten", "value 0", "x"))
		want(t, "the swap of a deleted value", false)(swap(s, "there by turns", "value", "x"))
		want(t, "the swap", true)(swap(s, "overwritten", last, "now"))
		want(t, "the delete", true)(s.CompareAndDelete([]byte("new 0"), []byte("value")))
		want(t, "the same delete", false)(s.CompareAndDelete([]byte("new 0"), []byte("value")))
		want(t, "the put of a deleted key", true)(s.PutIfAbsent([]byte("there by turns"), []byte("now")))
		want(t, "the put of a new key", true)(s.PutIfAbsent([]byte("never"), []byte("now")))
		want(t, "the delete of that", true)(s.CompareAndDelete([]byte("never"), []byte("now")))
		for _, key := range []string{"overwritten", "new 0", "there by turns"} {
			if sights[key].Holds() {
				t.Errorf("%d steps, %s: written, and the verdict is yes", steps, key)
			}
		}
		for loading() {
			step()
		}
		// The index is full, and has neither the deleted keys nor their placeholders any more.
		if sights["new 0"].Holds() {
			t.Errorf("%d steps: deleted and loaded, and the verdict is yes", steps)
		}
		if !sights["never"].Holds() && sights["never"].loc == 0 {
			t.Errorf("%d steps: absent again, and the verdict is no", steps)
		}
		check := func() {
			t.Helper()
			wantValue(t, s, "overwritten", "now")
			wantAbsent(t, s, "new 0")
			wantValue(t, s, "new 1", "value")
			wantValue(t, s, "there by turns", "now")
			wantAbsent(t, s, "never")
		}
		check()
		checkAccounts(t, s)
		s2 := s
		closeStore(t, s2)
		s = open(t, s2.path, byHand())
		check()
		closeStore(t, s)
		if ended {
			return
		}
	}
}

// A record of the tables expires, or an expired one hides older ones.
func TestConditionalWritesOfExpiringKeysWhileTheIndexLoads(t *testing.T) {
	now := time.Now()
	clock := now
	options := func(hold bool) *Options {
		o := byHand()
		inject.Into(o, &inject.Seams{Manual: true, Hold: hold, Now: func() time.Time { return clock }})
		return o
	}
	dir := t.TempDir()
	s := open(t, dir, options(false))
	put(t, s, "key", "old")
	s.endForTest(t)
	if err := s.PutWithTTL([]byte("key"), []byte("expires"), time.Hour); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	s = open(t, dir, options(true))
	c := &sight{store: s, fp: s.hasher.Fingerprint([]byte("key"))}
	if has, err := c.look([]byte("key"), wanted{value: []byte("expires")}, false); !has || err != nil || !c.Holds() {
		t.Fatal(has, err)
	}
	clock = now.Add(time.Hour)
	if c.Holds() {
		t.Error("it has expired, and the verdict is yes")
	}
	want(t, "the swap", false)(swap(s, "key", "expires", "x"))
	want(t, "the swap of what is hidden", false)(swap(s, "key", "old", "x"))
	if has, err := c.look([]byte("key"), wanted{absent: true}, false); !has || err != nil || !c.Holds() {
		t.Fatal(has, err)
	}
	clock = now
	if c.Holds() {
		t.Error("it has not expired any more, and the verdict is yes")
	}
	clock = now.Add(time.Hour)
	want(t, "the put", true)(s.PutIfAbsent([]byte("key"), []byte("new")))
	if err := s.loading.Finish(); err != nil {
		t.Fatal(err)
	}
	wantValue(t, s, "key", "new")
	closeStore(t, s)
}

// Of several writers with the same idea, one succeeds: those in one group too.
func TestOneOfManyConditionalWritesSucceeds(t *testing.T) {
	s := open(t, t.TempDir(), &Options{Sync: fsync.Always})
	const writers = 16
	race := func(key string, try func() (bool, error)) {
		t.Helper()
		var wins, losses int
		var mu sync.Mutex
		var running sync.WaitGroup
		s.log.AsLeader(func() { // so that most of them wait for one leader
			for range writers {
				running.Go(func() {
					done, err := try()
					mu.Lock()
					defer mu.Unlock()
					switch {
					case err != nil:
						t.Error(err)
					case done:
						wins++
					default:
						losses++
					}
				})
			}
			waitFor(t, "the writers", func() bool { return s.writing.Load() == writers })
		})
		running.Wait()
		if wins != 1 || losses != writers-1 {
			t.Errorf("%s: %d succeed, %d do not", key, wins, losses)
		}
	}
	race("put", func() (bool, error) { return s.PutIfAbsent([]byte("a"), []byte("1")) })
	race("swap", func() (bool, error) { return swap(s, "a", "1", "2") })
	race("delete", func() (bool, error) { return s.CompareAndDelete([]byte("a"), []byte("2")) })
}

// Another value is put in the middle of a look, between its reading the record and its asking the
// clock whether that has expired. The sight is of the record, not of what the index has by then.
func TestSightIsOfTheRecordThatWasCompared(t *testing.T) {
	for name, test := range map[string]struct {
		ahead time.Duration // of the clock, when the look asks it
		write func(s *Store) (bool, error)
	}{
		"swap":   {0, func(s *Store) (bool, error) { return swap(s, "key", "old", "x") }},
		"delete": {0, func(s *Store) (bool, error) { return s.CompareAndDelete([]byte("key"), []byte("old")) }},
		"put":    {time.Hour, func(s *Store) (bool, error) { return s.PutIfAbsent([]byte("key"), []byte("x")) }},
	} {
		t.Run(name, func(t *testing.T) {
			clock, asked := time.Now(), func() {}
			o := byHand()
			inject.Into(o, &inject.Seams{Manual: true, Now: func() time.Time {
				asked()
				return clock
			}})
			s := open(t, t.TempDir(), o)
			if err := s.PutWithTTL([]byte("key"), []byte("old"), time.Hour); err != nil {
				t.Fatal(err)
			}
			clock = clock.Add(test.ahead)
			asked = func() {
				asked = func() {}
				put(t, s, "key", "new")
			}
			want(t, "the "+name, false)(test.write(s))
			wantValue(t, s, "key", "new")
		})
	}
}

// A lock with a time to live is taken once, released by time, and then taken by the next.
func TestPutIfAbsentOfAnExpiredKey(t *testing.T) {
	e := newExpiring(t, 64<<10)
	take := func(owner string) (bool, error) {
		return e.PutIfAbsentWithTTL([]byte("lock"), []byte(owner), time.Minute)
	}
	want(t, "the first", true)(take("one"))
	want(t, "the second", false)(take("two"))
	e.now.Add(60_000)
	want(t, "a swap of the expired value", false)(swap(e.Store, "lock", "one", "x"))
	want(t, "a delete of the expired value", false)(e.CompareAndDelete([]byte("lock"), []byte("one")))
	want(t, "the second, later", true)(take("two"))
	want(t, "the first again", false)(take("one"))
	e.pass(time.Minute)
	want(t, "the third, after a sweep", true)(take("three"))
	if ttl, ok, err := e.TTL([]byte("lock")); ttl != time.Minute || !ok || err != nil {
		t.Errorf("%v, %t, %v", ttl, ok, err)
	}
	want(t, "a swap", true)(swap(e.Store, "lock", "three", "for ever"))
	if _, ok, err := e.TTL([]byte("lock")); ok || err != nil {
		t.Errorf("what was swapped in expires: %v", err)
	}
}

// If two keys have one fingerprint the index knows only the younger. Conditional writes agree with
// Get about that, and come to an end.
func TestConditionalWritesOfCollidingKeys(t *testing.T) {
	for name, check := range map[string]func(key []byte) uint32{
		"hash":        func(key []byte) uint32 { return uint32(key[0]) },
		"fingerprint": func([]byte) uint32 { return 7 },
	} {
		t.Run(name, func(t *testing.T) {
			o := byHand()
			inject.Into(o, &inject.Seams{Manual: true, Hash: func(key []byte) (uint64, uint32) { return 7, check(key) }})
			s := open(t, t.TempDir(), o)
			for i := range 100 {
				key := fmt.Append(nil, i%3, " key")
				_, err := s.Get(key)
				absent := errors.Is(err, ErrNotFound)
				want(t, "the put", absent)(s.PutIfAbsent(key, []byte("v")))
				if _, err = s.Get(key); err != nil {
					t.Fatal(err)
				}
				want(t, "the swap", true)(swap(s, string(key), "v", "w"))
				want(t, "the delete", true)(s.CompareAndDelete(key, []byte("w")))
				want(t, "the put", true)(s.PutIfAbsent(key, []byte("v")))
			}
		})
	}
}

// The old value, the new one and the key may be what a View is showing.
func TestConditionalWritesOfWhatIsShown(t *testing.T) {
	s := open(t, t.TempDir(), byHand())
	value := strings.Repeat("value ", 100)
	put(t, s, "key", value)
	put(t, s, "other", "other value")
	err := s.View([]byte("key"), func(shown []byte) error {
		return s.View([]byte("other"), func(other []byte) error {
			want(t, "the swap", true)(s.CompareAndSwap([]byte("key"), shown, other))
			want(t, "the swap back", true)(s.CompareAndSwap([]byte("key"), other, shown))
			want(t, "the put", true)(s.PutIfAbsent(other, shown))
			want(t, "the delete", true)(s.CompareAndDelete([]byte("key"), shown))
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	wantAbsent(t, s, "key")
	wantValue(t, s, "other value", value)
}

// A long value has a file of its own, which a refusal leaves none of.
func TestConditionalWritesOfLongValues(t *testing.T) {
	dir, o := t.TempDir(), byHand()
	inject.Into(o, &inject.Seams{Manual: true}) // so that no file is prepared meanwhile
	s := open(t, dir, o)
	long := func(b byte) []byte { return bytes.Repeat([]byte{b}, 2*minSegmentSize) }
	key := []byte("key")
	want(t, "the put", true)(s.PutIfAbsent(key, long('a')))
	_, files := diskUse(t, dir)
	want(t, "the second put", false)(s.PutIfAbsent(key, long('b')))
	want(t, "the swap of another", false)(s.CompareAndSwap(key, long('b'), long('c')))
	if _, now := diskUse(t, dir); now != files {
		t.Errorf("%d files became %d, although nothing was written", files, now)
	}
	want(t, "the swap", true)(s.CompareAndSwap(key, long('a'), long('b')))
	want(t, "the swap for a short one", true)(s.CompareAndSwap(key, long('b'), []byte("short")))
	want(t, "the swap for a long one", true)(s.CompareAndSwap(key, []byte("short"), long('c')))
	wantValue(t, s, "key", string(long('c')))
	closeStore(t, s)
	s = open(t, dir, byHand())
	wantValue(t, s, "key", string(long('c')))
	want(t, "the delete", true)(s.CompareAndDelete(key, long('c')))
	wantAbsent(t, s, "key")
}

// A rotten value is neither the old one nor another, and is not overwritten by a swap. That the
// key has a value is certain all the same.
func TestConditionalWritesOfARottenValue(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, byHand())
	put(t, s, "key", strings.Repeat("v", 100))
	offset := s.catalog.Set().Keys.Get(s.hasher.Fingerprint([]byte("key"))).Offset()
	name := segment.FileName(s.log.Tail.File.ID)
	closeStore(t, s)
	flipAt(t, dir, name, offset+80)
	s = open(t, dir, byHand())
	for _, value := range []string{strings.Repeat("v", 100), "other"} {
		if done, err := swap(s, "key", value, "new"); done || !errors.Is(err, ErrCorrupt) {
			t.Errorf("a swap: %t, %v", done, err)
		}
		if done, err := s.CompareAndDelete([]byte("key"), []byte(value)); done || !errors.Is(err, ErrCorrupt) {
			t.Errorf("a delete: %t, %v", done, err)
		}
	}
	want(t, "the put", false)(s.PutIfAbsent([]byte("key"), nil))
}

// On a full disk nothing of a swap is visible, and the error says why. A refusal needs no room, and
// a delete finds some.
func TestConditionalWritesOnAFullDisk(t *testing.T) {
	s, disk := onFaulty(t, &Options{SegmentSize: 1 << 20, Sync: fsync.Always}, inject.Seams{Manual: true})
	put(t, s, "key", "value")
	put(t, s, "big", strings.Repeat("v", 60<<10))
	disk.Fail(fails(syscall.ENOSPC, ".seg", errorfs.Allocate))
	more := make([]byte, 64<<10)
	if done, err := s.CompareAndSwap([]byte("key"), []byte("value"), more); done || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a swap: %t, %v", done, err)
	}
	if done, err := s.PutIfAbsent([]byte("new"), more); done || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a put: %t, %v", done, err)
	}
	want(t, "the swap of another value", false)(s.CompareAndSwap([]byte("key"), nil, more))
	want(t, "the put of a key that is there", false)(s.PutIfAbsent([]byte("key"), more))
	wantValue(t, s, "key", "value")
	wantAbsent(t, s, "new")
	want(t, "the delete", true)(s.CompareAndDelete([]byte("key"), []byte("value")))
	disk.Heal()
	want(t, "the put with room", true)(s.PutIfAbsent([]byte("new"), more))
}

// A counter that eight goroutines increase by swaps loses no step, while segments rotate, Compact
// moves the value and other writers share the groups.
func TestCounterOfSwaps(t *testing.T) {
	const goroutines, each = 8, 200
	o := tiny()
	o.Compaction.GarbageRatio = 0.05
	dir := t.TempDir()
	s := open(t, dir, o)
	put(t, s, "counter", "0")
	var running, others sync.WaitGroup
	stop := make(chan struct{})
	others.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				if err := s.Compact(t.Context()); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	for g := range goroutines {
		running.Go(func() {
			for i := range each {
				for {
					old, err := s.Get([]byte("counter"))
					if err != nil {
						t.Error(err)
						return
					}
					var n int
					if _, err := fmt.Sscan(string(old), &n); err != nil {
						t.Error(err)
						return
					}
					done, err := s.CompareAndSwap([]byte("counter"), old, fmt.Append(nil, n+1))
					if err != nil {
						t.Error(err)
						return
					}
					if done {
						break
					}
				}
				if err := s.Put(fmt.Append(nil, g, " ", i%10), []byte("value")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	running.Wait()
	close(stop)
	others.Wait()
	wantValue(t, s, "counter", fmt.Sprint(goroutines*each))
	closeStore(t, s)
	s = open(t, dir, o)
	wantValue(t, s, "counter", fmt.Sprint(goroutines*each))
}
