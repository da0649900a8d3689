package mmapkv

import (
	"time"
	"unsafe"

	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/internal/prefetch"
	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
)

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
	if s.catalog.Set() == nil {
		return ErrClosed
	}
	var i int
	var shown bool
	show := func(value []byte) error {
		shown = true
		return fn(i, value, nil)
	}
	// The keys often lie in few files, and to use the same one once more costs nothing.
	f := found{whole: true, keeps: true}
	defer f.pin.Release()
	for i < len(keys) {
		next := min(i+prefetch.Batch, len(keys))
		s.prefetch(keys[i:next])
		for ; i < next; i++ {
			shown = false
			err := s.viewInto(&f, keys[i], show)
			if err != nil && !shown {
				rank.AssertNone("a callback of GetMany")
				err = fn(i, nil, err)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// prefetch asks for the memory that the lookups of the keys, prefetch.Batch at most,
// will read. Each step is taken for all keys, so that none waits for another's. What
// it finds does not count: by the time of its lookup a key may be another one.
func (s *Store) prefetch(keys [][]byte) {
	l := s.catalog.Set()
	if l == nil {
		return
	}
	var candidates [prefetch.Batch]index.Candidates
	var locations [prefetch.Batch]index.Location
	var lines [prefetch.Batch]unsafe.Pointer
	for i, key := range keys {
		candidates[i] = l.Keys.Find(s.hasher.Hash(key))
		lines[i] = candidates[i].Memory()
	}
	prefetch.Lines(lines[:len(keys)])
	for i := range keys {
		locations[i], _ = candidates[i].Next()
	}
	prefetchRecords(l, locations[:len(keys)])
}

// prefetchRecords asks for the memory of the records at the locations, prefetch.Batch at
// most: first for one line of each, as those wait for page tables. It touches none of
// it, so that it need not use the files: asking for memory that is gone does no harm.
func prefetchRecords(l *catalog.FileSet, locations []index.Location) {
	var lines [prefetch.Batch]unsafe.Pointer
	var bytes [prefetch.Batch]int64
	for i, loc := range locations {
		f := l.File(loc)
		if f == nil || loc == index.NoLocation {
			continue
		}
		size, known := loc.Size()
		if !known {
			size = prefetchBytes
		}
		memory := f.Memory()
		begin := loc.Offset() &^ (cacheLine - 1)
		end := min(loc.Offset()+min(size, prefetchBytes), int64(len(memory)))
		if begin < end {
			lines[i], bytes[i] = unsafe.Pointer(&memory[begin]), end-begin
		}
	}
	prefetch.Lines(lines[:len(locations)])
	for i, line := range lines[:len(locations)] {
		for at := int64(cacheLine); at < bytes[i]; at += cacheLine {
			prefetch.Line(unsafe.Add(line, at))
		}
	}
}

const (
	cacheLine     = 64
	prefetchBytes = 512 // the processor fetches ahead in longer records by itself
)
