package mmapkv

import (
	"time"
	"unsafe"

	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/internal/prefetch"
	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
)

// GetMany calls fn once for each key, in any order, with the key's position in keys and either
// its value or the error that Get would return, such as ErrNotFound. GetMany overlaps the memory
// latency of its keys, so it looks up many in the time that a few take one by one. As in View,
// the value can be read until fn returns, and must not be written.
//
// If fn returns an error, GetMany ends and returns it. GetMany returns ErrClosed if the store was
// closed before. If fn meets a page of the value that cannot be read, GetMany ends and returns an
// error that wraps ErrCorrupt.
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
	// The keys often lie in few files, and using the same file again costs nothing.
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

// prefetch asks for the memory that the lookups of the keys will read, for at most prefetch.Batch
// of them. It takes each step for all keys before the next step, so that no key waits for
// another. It only prefetches: by the time of its lookup a key may have moved.
func (s *Store) prefetch(keys [][]byte) {
	set := s.catalog.Set()
	if set == nil {
		return
	}
	var candidates [prefetch.Batch]index.Candidates
	var locations [prefetch.Batch]index.Location
	var lines [prefetch.Batch]unsafe.Pointer
	for i, key := range keys {
		candidates[i] = set.Keys.Find(s.hasher.Hash(key))
		lines[i] = candidates[i].Memory()
	}
	prefetch.Lines(lines[:len(keys)])
	for i := range keys {
		locations[i], _ = candidates[i].Next()
	}
	prefetchRecords(set, locations[:len(keys)], prefetchBytes)
}

// prefetchRecords asks for the memory of the records at the locations, at most prefetch.Batch, as
// far as their first most bytes.
func prefetchRecords(set *catalog.FileSet, locations []index.Location, most int64) {
	var lines [prefetch.Batch]unsafe.Pointer
	var bytes [prefetch.Batch]int64
	for i, loc := range locations {
		f := set.File(loc)
		if f == nil || loc == index.NoLocation {
			continue
		}
		size, known := loc.Size()
		if !known {
			size = most
		}
		lines[i], bytes[i] = recordMemory(f, loc.Offset(), min(size, most))
	}
	prefetchMemory(lines[:len(locations)], bytes[:len(locations)])
}

// recordMemory returns where the memory of a record begins, and how many bytes of it to ask for. It
// does not touch the memory, so it need not use the file: asking for memory that is gone does no
// harm.
func recordMemory(f *catalog.File, offset, size int64) (line unsafe.Pointer, bytes int64) {
	memory := f.Memory()
	begin := offset &^ (cacheLine - 1)
	end := min(offset+min(size, prefetchBytes), int64(len(memory)))
	if begin >= end {
		return nil, 0
	}
	return unsafe.Pointer(&memory[begin]), end - begin
}

// prefetchMemory asks for memory that recordMemory returned. It first asks for one line of each,
// because those wait for page tables.
func prefetchMemory(lines []unsafe.Pointer, bytes []int64) {
	prefetch.Lines(lines)
	for i, line := range lines {
		for at := int64(cacheLine); at < bytes[i]; at += cacheLine {
			prefetch.Line(unsafe.Add(line, at))
		}
	}
}

const (
	cacheLine     = 64  // bytes
	prefetchBytes = 512 // of a record; in longer ones the processor prefetches by itself
)
