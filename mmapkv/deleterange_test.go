package mmapkv

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/crashfs"
	"github.com/mmapkv/mmapkv/internal/errorfs"
	"github.com/mmapkv/mmapkv/internal/inject"
)

// keysLeft lists the keys of a store.
func keysLeft(t testing.TB, s *Store) (list []string) {
	t.Helper()
	err := s.Scan(ScanOptions{KeysOnly: true}, func(key, _ []byte) error {
		list = append(list, string(key))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestDeleteRangeKeepsToItsBounds(t *testing.T) {
	all := []string{"", "a", "b", "b\x00", "ba", "c", "\xff", "\xff\xff"}
	bounds := []string{"none", "", "a", "b", "b\x00", "c", "d", "\xff\xff\xff"}
	bound := func(s string) []byte {
		if s == "none" {
			return nil
		}
		return []byte(s)
	}
	s := open(t, t.TempDir(), byHand())
	for _, from := range bounds {
		for _, to := range bounds {
			var left []string
			for _, key := range all {
				put(t, s, key, "value")
				if from != "none" && key < from || to != "none" && key >= to {
					left = append(left, key)
				}
			}
			if err := s.DeleteRange(t.Context(), bound(from), bound(to)); err != nil {
				t.Fatal(err)
			}
			if got := keysLeft(t, s); fmt.Sprintf("%q", got) != fmt.Sprintf("%q", left) {
				t.Errorf("from %q to %q: %q are left; want %q", from, to, got, left)
			}
			checkAccounts(t, s)
		}
	}
}

// More keys than a batch has, short and long ones, some of them deleted before, in segments that
// are sealed and in the tail, while the index loads and when it is full.
func TestDeleteRangeOfManyBatches(t *testing.T) {
	const keys = 2*deleteRangeKeys + 1
	key := func(i int) string { return fmt.Sprintf("%07d", i) + strings.Repeat("k", 500*(i%7/6)) }
	dir := t.TempDir()
	s := open(t, dir, byHand())
	var left []string
	for i := range keys {
		put(t, s, key(i), "value")
		if i%5 == 0 {
			if err := s.Delete([]byte(key(i))); err != nil {
				t.Fatal(err)
			}
		} else if i < 10 || i >= keys-10 {
			left = append(left, key(i))
		}
	}
	closeStore(t, s)
	for _, loading := range []bool{false, true} {
		dir := copyDir(t, dir)
		if loading {
			s = openHeld(t, dir, nil)
		} else {
			s = open(t, dir, byHand())
		}
		before := s.log.Published.Load()
		if err := s.DeleteRange(t.Context(), []byte(key(10)), []byte(key(keys-10))); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(keysLeft(t, s)); got != fmt.Sprint(left) {
			t.Errorf("%s are left; want %s", got, left)
		}
		if n := s.log.Published.Load() - before; n > keys {
			t.Errorf("%d deletes of %d keys", n, keys)
		}
		closeStore(t, s)
		s = open(t, dir, byHand())
		if got := fmt.Sprint(keysLeft(t, s)); got != fmt.Sprint(left) {
			t.Errorf("after another Open %s are left; want %s", got, left)
		}
		closeStore(t, s)
	}
}

// A context that ends stops DeleteRange between two batches. What is deleted stays deleted, and
// from the lowest key on.
func TestDeleteRangeIsCancelled(t *testing.T) {
	s, disk := onFaulty(t, &Options{}, inject.Seams{Manual: true})
	const keys = 3 * deleteRangeKeys
	fill(t, s, 0, keys, 8)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.DeleteRange(ctx, nil, nil); !errors.Is(err, context.Canceled) || s.Len() != keys {
		t.Errorf("%v; %d keys are left", err, s.Len())
	}
	ctx, cancel = context.WithCancel(t.Context())
	disk.Fail(errorfs.Rule{Match: func(op errorfs.Op) bool {
		if op.Kind == errorfs.Write {
			cancel() // while the first batch is written
		}
		return false
	}})
	if err := s.DeleteRange(ctx, nil, nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if n := s.Len(); n != keys-deleteRangeKeys {
		t.Errorf("%d keys are left", n)
	}
	wantFilled(t, s, deleteRangeKeys, keys, 8)
	closeStore(t, s)
	if err := s.DeleteRange(t.Context(), nil, nil); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

func TestDeleteRangeOfAReadOnlyStore(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, byHand())
	put(t, s, "key", "value")
	closeStore(t, s)
	o := byHand()
	o.ReadOnly = true
	s = open(t, dir, o)
	for _, to := range []string{"z", ""} {
		if err := s.DeleteRange(t.Context(), nil, []byte(to)); !errors.Is(err, ErrReadOnly) {
			t.Errorf("to %q: %v", to, err)
		}
	}
	wantValue(t, s, "key", "value")
}

// A key that is written while DeleteRange runs may stay or go. Those that are not are gone, and
// none outside the bounds is.
func TestDeleteRangeBesideWriters(t *testing.T) {
	s := open(t, t.TempDir(), tiny())
	const keys = 3 * deleteRangeKeys
	fill(t, s, 0, keys, 8)
	stop, done := make(chan struct{}), make(chan error)
	go func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			key, value := numbered(i*7%keys/10*10, 8) // every tenth
			if err := s.Put(key, value); err != nil {
				done <- err
				return
			}
		}
	}()
	from, _ := numbered(100, 8)
	err := s.DeleteRange(t.Context(), from, nil)
	close(stop)
	if err := errors.Join(err, <-done); err != nil {
		t.Fatal(err)
	}
	wantFilled(t, s, 0, 100, 8)
	for i := 100; i < keys; i++ {
		key, value := numbered(i, 8)
		if got, err := s.Get(key); i%10 != 0 && !errors.Is(err, ErrNotFound) || err == nil && string(got) != string(value) {
			t.Errorf("%s: %q, %v", key, got, err)
		}
	}
}

// On a full disk a batch has no room, but each delete of its keys finds some.
func TestDeleteRangeOnAFullDisk(t *testing.T) {
	disk := crashfs.New()
	disk.SetCapacity(600 << 10)
	s := openOnDisk(t, disk, fsync.Always)
	keys := 0
	for {
		err := s.Put(fmt.Appendf(nil, "key %06d%s", keys, strings.Repeat("k", 40)), nil)
		if err == nil {
			keys++
			continue
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
		if !s.compactor.MakeRoom() {
			break // no hint is left that a batch could drop
		}
	}
	if keys < 2*deleteRangeKeys {
		t.Fatalf("full after %d keys", keys)
	}
	if err := s.DeleteRange(t.Context(), []byte("key"), nil); err != nil {
		t.Fatal(err)
	}
	if n := s.Len(); n != 0 {
		t.Errorf("%d keys are left", n)
	}
	closeStore(t, s)
	s = openOnDisk(t, disk, fsync.Always)
	if left := keysLeft(t, s); len(left) > 0 {
		t.Errorf("%d keys are left after another Open", len(left))
	}
	closeStore(t, s)
}

// A batch is replayed into another store entry by entry, and makes the same of it.
func TestBatchEach(t *testing.T) {
	var b Batch
	b.Put([]byte("a"), []byte("1"))
	b.PutWithTTL([]byte("b"), []byte("22"), time.Minute)
	b.Delete([]byte("a"))
	b.Put(nil, nil)
	b.PutWithTTL([]byte("b"), nil, time.Hour)
	b.Delete(nil)
	b.Put([]byte("a"), []byte("333"))
	const want = `put "a" "1" 0s; put "b" "22" 1m0s; del "a"; put "" "" 0s; put "b" "" 1h0m0s; del ""; put "a" "333" 0s; `
	replay := func() (list string) {
		t.Helper()
		err := b.Each(func(key, value []byte, ttl time.Duration) error {
			list += fmt.Sprintf("put %q %q %v; ", key, value, ttl)
			if cap(key) != len(key) || cap(value) != len(value) {
				t.Error("there is room to grow into the next entry")
			}
			return nil
		}, func(key []byte) error {
			list += fmt.Sprintf("del %q; ", key)
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		return list
	}
	if got := replay(); got != want {
		t.Errorf("%s; want %s", got, want)
	}
	s := open(t, t.TempDir(), byHand())
	if err := s.Write(&b); err != nil {
		t.Fatal(err)
	}
	if got := replay(); got != want { // the batch was written
		t.Errorf("%s; want %s", got, want)
	}
	for stopAt, wants := range map[int]int{0: 1, 2: 3} {
		calls := 0
		count := func() error {
			if calls++; calls > stopAt {
				return fs.ErrInvalid
			}
			return nil
		}
		err := b.Each(func([]byte, []byte, time.Duration) error { return count() }, func([]byte) error { return count() })
		if err != fs.ErrInvalid || calls != wants {
			t.Errorf("%v after %d entries", err, calls)
		}
	}
	b.Put(make([]byte, MaxKeySize+1), nil)
	if err := b.Each(nil, nil); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a batch that cannot be written: %v", err)
	}
	b.Reset()
	if err := b.Each(nil, nil); err != nil {
		t.Errorf("an empty batch: %v", err)
	}
}
