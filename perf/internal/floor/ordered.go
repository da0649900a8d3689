package floor

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"
	"unsafe"

	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/internal/prefetch"
	"github.com/mmapkv/mmapkv/perf/workload"
	"github.com/mmapkv/mmapkv/segment"
)

// Ordered opens the files as Reads does, sorts what it finds, and reads many pairs by a
// walk over an array of locations and a touch of each cache line of the mapped records,
// which it fetches ahead.
func Ordered() workload.Engine {
	return workload.Engine{
		Name:     Name,
		Settings: "a walk over a sorted array of locations, and a touch of each cache line of the mapped records",
		Open: func(dir string) (workload.Store, error) {
			r, err := openReads(dir)
			if err != nil {
				return nil, err
			}
			return &orderedReads{reads: r, ordered: sorted(r)}, nil
		},
	}
}

// orderedReads is reads that has sorted everything.
type orderedReads struct {
	*reads
	*ordered
}

// ordered is two arrays of all records, in the order of their keys and as they lie in
// the files, and an array of the keys in order. Keys have one size.
type ordered struct {
	keySize   int
	keys      []byte   // in order, one after another
	prefixes  []uint64 // the first word of each, which decides most comparisons
	inOrder   []index.Location
	asTheyLie []index.Location
}

const prefixSize = 8

func firstWord(key []byte) uint64 { return binary.BigEndian.Uint64(key) }

// ahead is how many records before its turn a record is fetched.
const ahead = 16

// sorted sorts all records of some files.
func sorted(r *reads) *ordered {
	type item struct {
		prefix   uint64
		key      []byte
		location index.Location
	}
	var items []item
	r.keys.Range(func(_ index.Fingerprint, location index.Location) bool {
		key, _ := pairOf(r.record(location))
		items = append(items, item{firstWord(key), key, location})
		return true
	})
	slices.SortFunc(items, func(a, b item) int {
		return cmp.Or(cmp.Compare(a.prefix, b.prefix), bytes.Compare(a.key, b.key))
	})
	o := &ordered{}
	for _, i := range items {
		o.keySize = len(i.key)
		o.keys = append(o.keys, i.key...)
		o.prefixes = append(o.prefixes, i.prefix)
		o.inOrder = append(o.inOrder, i.location)
	}
	o.asTheyLie = slices.Clone(o.inOrder)
	slices.SortFunc(o.asTheyLie, func(a, b index.Location) int {
		return cmp.Or(cmp.Compare(a.Slot(), b.Slot()), cmp.Compare(a.Offset(), b.Offset()))
	})
	return o
}

func (o *ordered) key(i int) []byte { return o.keys[i*o.keySize:][:o.keySize:o.keySize] }

// place is where the first key at or above a key is.
func (o *ordered) place(key []byte) int {
	if len(key) < prefixSize {
		key = append(bytes.Clone(key), make([]byte, prefixSize-len(key))...)
	}
	prefix := firstWord(key)
	at, _ := slices.BinarySearch(o.prefixes, prefix)
	for at < len(o.prefixes) && o.prefixes[at] == prefix && bytes.Compare(o.key(at), key) < 0 {
		at++
	}
	return at
}

// record is the memory from a record on, and no further if its size is known.
func (r *reads) record(location index.Location) []byte {
	record := r.segments[location.Slot()].Memory()[location.Offset():]
	if size, known := location.Size(); known {
		record = record[:size]
	}
	return record
}

// pairOf cuts a record.
func pairOf(record []byte) (key, value []byte) {
	keySize := int(binary.LittleEndian.Uint16(record[keySizeAt:]))
	at := segment.LongLayout(keySize, segment.Flags(binary.LittleEndian.Uint16(record[flagsAt:])))
	return record[at-int64(keySize):][:keySize], record[at:][:binary.LittleEndian.Uint32(record[valueSizeAt:])]
}

// fetch asks for the cache lines of a record.
func (r *reads) fetch(location index.Location) {
	record := r.record(location)
	size, known := location.Size()
	if !known {
		size = cacheLine
	}
	for at := int64(0); at < size; at += cacheLine {
		prefetch.Line(unsafe.Pointer(&record[at]))
	}
}

// Scan goes through the array in order, and touches each record unless only keys are
// asked for.
func (r *orderedReads) Scan(s workload.Span, fn func(key, value []byte) error) error {
	o := r.ordered
	from, to := s.Bounds()
	first, last := 0, len(o.inOrder)
	if from != nil {
		first = o.place(from)
	}
	if to != nil {
		last = o.place(to)
	}
	n := max(0, last-first)
	if s.Limit > 0 {
		n = min(n, s.Limit)
	}
	step := 1
	if s.Reverse {
		first, step = last-1, -1
	}
	for i := range n {
		var value []byte
		if !s.KeysOnly {
			if later := i + ahead; later < n {
				r.fetch(o.inOrder[first+step*later])
			}
			record := r.record(o.inOrder[first+step*i])
			touch(record)
			_, value = pairOf(record)
		}
		if err := fn(o.key(first+step*i), value); err != nil {
			return err
		}
	}
	return nil
}

func (r *orderedReads) Cursor() (workload.Cursor, error) { return cursor{r}, nil }

type cursor struct{ *orderedReads }

func (c cursor) Seek(key []byte, n int, fn func(key, value []byte) error) error {
	return c.Scan(workload.Span{From: key, Limit: n}, fn)
}

// Close leaves the files to the Store.
func (c cursor) Close() error { return nil }

// Range goes through the records as they lie in the files.
func (r *orderedReads) Range(fn func(key, value []byte) error) error {
	o := r.ordered
	for i, location := range o.asTheyLie {
		if i+ahead < len(o.asTheyLie) {
			r.fetch(o.asTheyLie[i+ahead])
		}
		record := r.record(location)
		touch(record)
		if err := fn(pairOf(record)); err != nil {
			return err
		}
	}
	return nil
}

// Keys goes through the array of keys.
func (r *orderedReads) Keys(fn func(key []byte) error) error {
	return r.Scan(workload.Span{KeysOnly: true}, func(key, _ []byte) error { return fn(key) })
}
