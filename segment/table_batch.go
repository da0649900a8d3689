package segment

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// Batch is entries that a Cursor has read, many at a time, with their keys in memory of its own. The
// zero value is empty, and Reset makes it so again.
type Batch struct {
	Entries []HintEntry // valid until Reset
	keys    []byte      // the memory that the next keys go to
}

// batchKeys is how much memory a Batch gets for keys at least, in bytes.
const batchKeys = 16 << 10

// Reset empties the batch, and keeps its memory unless that is more than keep bytes for keys.
func (b *Batch) Reset(keep int) {
	b.Entries = b.Entries[:0]
	if b.keys = b.keys[:0]; cap(b.keys) > keep {
		b.keys = nil
	}
}

// Add adds an entry, with a copy of its key.
func (b *Batch) Add(e HintEntry) {
	b.room(len(e.Key))
	from := len(b.keys)
	b.keys = append(b.keys, e.Key...)
	e.Key = b.keys[from:len(b.keys):len(b.keys)]
	b.Entries = append(b.Entries, e)
}

// room makes room for size more bytes of keys. Keys that are there already stay where they are.
func (b *Batch) room(size int) {
	if cap(b.keys)-len(b.keys) < size {
		b.keys = make([]byte, 0, max(size, batchKeys, 2*cap(b.keys)))
	}
}

// appendTo appends the entries [from, to) to a batch. It returns false, and appends fewer, if it
// meets an entry that no builder writes.
func (p *Part) appendTo(b *Batch, from, to int) bool {
	if from >= to {
		return true
	}
	prefix := p.prefix()
	b.room((to-from)*len(prefix) + len(p.data))
	b.Entries = slices.Grow(b.Entries, to-from)
	place := p.entryPlace(from)
	if place < p.start || place > len(p.data) {
		return false
	}
	rest, keys := p.data[place:], b.keys
	for n := to - from; n > 0; n-- {
		b.Entries = b.Entries[:len(b.Entries)+1]
		e := &b.Entries[len(b.Entries)-1]
		var ok bool
		rest, ok = cutEntry(e, rest, p.base)
		if !ok || !e.isWithin(p.covers) || len(prefix)+len(e.Key) > MaxKeySize || len(prefix)+len(e.Key) > cap(keys)-len(keys) {
			b.Entries = b.Entries[:len(b.Entries)-1]
			return false
		}
		begin := len(keys)
		keys = append(append(keys, prefix...), e.Key...)
		e.Key = keys[begin:len(keys):len(keys)]
		b.keys = keys
	}
	return true
}

// Gather appends to b the entries of the present part from where the cursor stands, as long as their
// keys are below the given one; nil: all. It moves behind them, and returns whether it then
// stands at an entry that may be below as well.
func (c *Cursor) Gather(b *Batch, below []byte) (more bool) {
	if !c.valid {
		return false
	}
	end := c.part.Len()
	if below != nil && !c.t.surelyBelow(c.of+1, below) {
		ok := false
		if end, ok = c.part.Seek(below); !ok {
			return c.broken()
		}
	}
	if !c.part.appendTo(b, c.i, end) {
		return c.broken()
	}
	if end < c.part.Len() {
		c.stand(max(c.i, end))
		return false
	}
	return c.move(c.of+1, 0)
}

// GatherBack appends to b the entries of the present part up to where the cursor stands, as long as
// their keys are not below the given one; nil: all. They are in ascending order. It moves before
// them, and returns whether it then stands at an entry that may be not below either.
func (c *Cursor) GatherBack(b *Batch, from []byte) (more bool) {
	if !c.valid {
		return false
	}
	first, i := 0, c.i
	if from != nil && !c.t.surelyNotBelow(c.of, from) {
		ok := false
		if first, ok = c.part.Seek(from); !ok {
			return c.broken()
		}
	}
	if !c.part.appendTo(b, first, i+1) {
		return c.broken()
	}
	if first > 0 {
		c.stand(min(i, first-1))
		return false
	}
	return c.move(c.of-1, lastEntry)
}

// surelyBelow reports whether the fences show that the first key of a part is below the given one.
func (t *Table) surelyBelow(part int, key []byte) bool {
	if !bytes.HasPrefix(key, t.common) {
		return bytes.Compare(t.common, key) < 0
	}
	return part < len(t.fences) && t.fences[part] < keyPrefix(key[len(t.common):])
}

// surelyNotBelow reports whether the fences show that the first key of a part is not below the given
// one.
func (t *Table) surelyNotBelow(part int, key []byte) bool {
	if !bytes.HasPrefix(key, t.common) {
		return bytes.Compare(t.common, key) > 0
	}
	return t.fences[part] > keyPrefix(key[len(t.common):])
}

// AppendAhead appends to dst a key near that of the n-th entry behind the present one, or before it
// if n is negative. It returns false if there is no such entry, or if that cannot be read.
func (c *Cursor) AppendAhead(dst []byte, n int) ([]byte, bool) {
	if !c.valid {
		return dst, false
	}
	i, part := c.i+n, &c.part
	if i < 0 || i >= part.Len() {
		of := c.of + i/partEntries
		if i < 0 {
			of = c.of - (partEntries-1-i)/partEntries
		}
		if of < 0 || of >= len(c.t.parts) {
			return dst, false
		}
		if fence := c.t.fences[of]; fence != c.t.fences[c.of] {
			return binary.BigEndian.AppendUint64(append(dst, c.t.common...), fence), true
		}
		if i, part = 0, &c.ahead; c.t.Part(of, part) != nil {
			return dst, false
		}
	}
	suffix, ok := part.suffix(i)
	return append(append(dst, part.prefix()...), suffix...), ok
}

// Likely returns the bytes [from, to) of the hint that a Seek to the key most likely reads.
func (c *Cursor) Likely(key []byte) (from, to int64) {
	if len(c.t.parts) == 0 {
		return 0, 0
	}
	_, part := c.t.candidates(key)
	part = max(part-1, 0)
	return c.t.partPlace(part), c.t.partPlace(part + 1)
}

// Valid reports whether the cursor stands at an entry.
func (c *Cursor) Valid() bool { return c.valid }

func (c *Cursor) broken() bool {
	c.valid, c.err = false, &HintError{c.t.partPlace(c.of)}
	return false
}
