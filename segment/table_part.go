package segment

import (
	"bytes"
	"slices"
	"sort"

	"github.com/mmapkv/mmapkv/internal/bulk"
)

// Parts is the number of parts.
func (t *Table) Parts() int { return len(t.parts) }

// partPlace is where a part begins in the hint's file. The place of part number Parts is where the
// last one ends.
func (t *Table) partPlace(i int) int64 {
	if i == len(t.parts) {
		return t.partsEnd
	}
	return int64(t.parts[i].place) * Alignment
}

// firstEntry is the number of a part's first entry. That of part number Parts is Len.
func (t *Table) firstEntry(i int) int {
	if i == len(t.parts) {
		return t.count
	}
	return int(t.parts[i].first)
}

// Part makes p the i-th part, and checks that it is what was written: otherwise ErrHint.
func (t *Table) Part(i int, p *Part) error {
	data, err := t.bytes(t.partPlace(i), t.partPlace(i+1), &p.buf)
	if err != nil {
		return err
	}
	return t.setPart(i, p, data)
}

// bytes returns the bytes [from, to) of the hint: where they lie, or read into buf.
func (t *Table) bytes(from, to int64, buf *[]byte) ([]byte, error) {
	if t.mapped != nil {
		return t.mapped[from:to:to], nil
	}
	*buf = bulk.Grow((*buf)[:0], int(to-from))[:to-from]
	return *buf, readHintAt(t.r, *buf, from)
}

// setPart makes p the i-th part, which lies in data.
func (t *Table) setPart(i int, p *Part, data []byte) error {
	place := t.partPlace(i)
	if partSeal(t.bound, data, place, t.salt) != t.parts[i].sum {
		return &HintError{place}
	}
	p.base, p.covers = t.base, t.Covers.Offset
	if !p.set(data, t.firstEntry(i+1)-t.firstEntry(i)) {
		return &HintError{place}
	}
	return nil
}

// partOf is the part that the i-th entry lies in. Most parts are full, so it is not far from
// where it would be if all were.
func (t *Table) partOf(i int) int {
	from := i / partEntries
	if t.firstEntry(from+1) > i {
		return from
	}
	return from + sort.Search(len(t.parts)-from-1, func(n int) bool { return t.firstEntry(from+n+1) > i })
}

// candidates returns the parts [from, to) that may begin with a key not below the given one, but
// need not: the fences do not say. Part number to does, and the parts before from do not.
func (t *Table) candidates(key []byte) (from, to int) {
	if !bytes.HasPrefix(key, t.common) {
		if bytes.Compare(key, t.common) < 0 {
			return 0, 0
		}
		return len(t.parts), len(t.parts)
	}
	fence := keyPrefix(key[len(t.common):])
	from, _ = slices.BinarySearch(t.fences, fence)
	same := t.fences[from:]
	return from, from + sort.Search(len(same), func(i int) bool { return same[i] > fence })
}
