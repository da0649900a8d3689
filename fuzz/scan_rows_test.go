package fuzz

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/mmapkv"
)

// TestDeletingUnderACursorSkipsNothing deletes each key at which a scan or an Iterator stands, and its
// neighbours, over several segments and batches. Each key comes once.
func TestDeletingUnderACursorSkipsNothing(t *testing.T) {
	const keys = 700
	name := func(i int) []byte { return fmt.Appendf(nil, "key-%04d", i) }
	for _, reverse := range []bool{false, true} {
		for how, visit := range map[string]func(s *mmapkv.Store, o mmapkv.ScanOptions, fn func(key []byte) error) error{
			"Scan": func(s *mmapkv.Store, o mmapkv.ScanOptions, fn func(key []byte) error) error {
				return s.Scan(o, func(key, _ []byte) error { return fn(key) })
			},
			"Iterator": func(s *mmapkv.Store, o mmapkv.ScanOptions, fn func(key []byte) error) error {
				it, err := s.Iterator(o)
				if err != nil {
					return err
				}
				defer it.Close()
				for it.Next() {
					if err := fn(it.Key()); err != nil {
						return err
					}
				}
				return it.Err()
			},
		} {
			l := newLife(t, &census{}, fsync.Never, rand.New(rand.NewPCG(1, 1)))
			l.name, l.compacting, l.quiet = fmt.Sprintf("%s, reverse %v", how, reverse), true, true
			store, err := l.open(l.disk)
			if err != nil {
				l.fail("open: %v", err)
			}
			content := map[string]string{}
			for i := range keys {
				content[string(name(i))] = ""
				if err := store.Put(name(i), nil); err != nil {
					l.fail("Put: %v", err)
				}
			}
			o := mmapkv.ScanOptions{Reverse: reverse}
			var got []orderedPair
			err = visit(store, o, func(key []byte) error {
				got = append(got, orderedPair{key: string(key)})
				at := 0
				if _, err := fmt.Sscanf(string(key), "key-%d", &at); err != nil {
					return err
				}
				for _, i := range []int{at, at + 1, max(at-1, 0)} {
					if err := store.Delete(name(i)); err != nil {
						return err
					}
				}
				if len(got)%200 == 0 {
					return store.Compact(context.Background())
				}
				return nil
			})
			if want := ordered(content, o); err != nil || !slices.Equal(got, want) {
				l.fail("%d keys of %d come: %v", len(got), len(want), err)
			}
			if err := wantOrder(store, nil); err != nil || store.Len() != 0 {
				l.fail("%d keys are left: %v", store.Len(), err)
			}
			if err := store.Close(); err != nil {
				l.fail("Close: %v", err)
			}
		}
	}
}

// TestDeletedKeysLeaveTheScans puts and deletes many generations of keys. After a compaction a scan has
// no more to pass over than the keys that are there need.
func TestDeletedKeysLeaveTheScans(t *testing.T) {
	l := newLife(t, &census{}, fsync.Never, rand.New(rand.NewPCG(1, 1)))
	l.compacting, l.quiet = true, true
	store, err := l.open(l.disk)
	if err != nil {
		l.fail("open: %v", err)
	}
	if err := store.Put([]byte("last"), []byte("stays")); err != nil {
		l.fail("Put: %v", err)
	}
	for generation := range 20 {
		for i := range 300 {
			key := fmt.Appendf(nil, "deleted-%d-%d", generation, i)
			if err := store.Put(key, nil); err != nil {
				l.fail("Put: %v", err)
			}
			if err := store.Delete(key); err != nil {
				l.fail("Delete: %v", err)
			}
		}
		if err := store.Compact(context.Background()); err != nil {
			l.fail("Compact: %v", err)
		}
		held := int64(0)
		for _, s := range store.Stats().Segments {
			held += s.LiveBytes + s.DeadBytes
		}
		if held > 3*4<<10 { // some segments: what was written last, and what stays
			l.fail("after generation %d the files hold %d bytes", generation, held)
		}
		if err := wantOrder(store, map[string]string{"last": "stays"}); err != nil {
			l.fail("%v", err)
		}
	}
}
