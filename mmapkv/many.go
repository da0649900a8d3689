package mmapkv

import (
	"time"

	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/internal/guard"
)

// manyAtOnce is how many keys GetMany has on the way at a time. Their records, of
// a few cache lines each, stay in a processor's first cache until they are read.
const manyAtOnce = 64

// GetMany calls fn once for each of the keys, in any order, with its number and
// either its value or the error that Get would return, such as ErrNotFound. It
// looks up many keys in the time that a few take one by one, for it waits for the
// memory of all together. The value is like that of View: it can be read until fn
// returns, and must not be written.
//
// When fn returns an error GetMany ends, and returns it. ErrClosed when the store
// was closed before, and an error that wraps ErrCorrupt, which ends it too, when fn
// met a page of the value that cannot be read.
func (s *Store) GetMany(keys [][]byte, fn func(i int, value []byte, err error) error) error {
	if s.events.watchesSlow() {
		defer s.timed("GetMany", time.Now())
	}
	if s.live.Load() == nil {
		return ErrClosed
	}
	var i int
	var shown bool
	show := func(value []byte) error {
		shown = true
		return fn(i, value, nil)
	}
	for i < len(keys) {
		next := min(i+manyAtOnce, len(keys))
		s.warm(keys[i:next])
		for ; i < next; i++ {
			shown = false
			err := s.view(keys[i], show)
			if err != nil && !shown {
				err = fn(i, nil, err)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// warm brings what the lookups of the keys, manyAtOnce at most, will read into the
// cache. Each step is taken for all keys, so that none waits for another's memory.
// What it finds does not count, and damage is left to the lookups.
func (s *Store) warm(keys [][]byte) (sum uint64) {
	l := s.live.Load()
	if l == nil {
		return 0
	}
	var candidates [manyAtOnce]index.Candidates
	var locations [manyAtOnce]index.Location
	for i, key := range keys {
		candidates[i] = l.keys.Find(s.hasher.Hash(key))
	}
	for i := range keys {
		sum += candidates[i].Touch()
	}
	for i := range keys {
		locations[i], _ = candidates[i].Next()
	}
	return sum + s.warmRecords(l, locations[:len(keys)])
}

// warmRecords brings the first bytes of the records at the locations into the cache.
func (s *Store) warmRecords(l *live, locations []index.Location) (sum uint64) {
	f := found{store: s}
	var err error
	old := guard.Enter()
	defer func() { f.leave(old, recover(), &err) }()
	for _, loc := range locations {
		if f.file = l.file(loc); f.file == nil || loc == index.NoLocation || f.file.cold.Load() {
			continue
		}
		size, known := loc.Size()
		if !known {
			size = warmBytes
		}
		memory, offset := f.file.Memory(), loc.Offset()
		end := min(offset+min(size, warmBytes), f.file.Limit(), int64(len(memory)))
		if offset >= end {
			continue
		}
		sum += uint64(memory[end-1])
		for ; offset < end; offset += cacheLine {
			sum += uint64(memory[offset])
		}
	}
	return sum
}

const (
	cacheLine = 64
	warmBytes = 512 // the processor fetches ahead in longer records by itself
)
