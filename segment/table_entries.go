package segment

import (
	"bytes"
	"iter"
	"slices"
)

// hintPieceSize is the size of a piece in bytes, to which its last part may add: small enough for a
// processor's caches, and large enough that few reads take all of a hint.
const hintPieceSize = 256 << 10

// HintEntries decodes parts of a table from the first entry to the last. It checks more than a Part
// that is read at random does: also that the keys are in order, and that the fences are theirs. The
// zero value is ready to be read into. Not for concurrent use.
type HintEntries struct {
	t    *Table
	data []byte // the parts that were read
	part int    // the next one of them to be decoded
	end  int    // behind the last one
	at   int64  // where data begins in the hint's file

	open     Part   // the one that is being decoded
	next     int    // of its entries
	rest     []byte // from that entry on
	previous []byte // the suffix of the key before, in this part
	last     []byte // the last key before this part
	follows  bool   // there is a key before this part
	err      error
	buf      []byte
}

// Pieces is the number of pieces: parts that are read together.
func (t *Table) Pieces() int { return len(t.pieces) }

// Piece reads the i-th piece into e, and reuses its memory.
func (t *Table) Piece(i int, e *HintEntries) error {
	e.follows = false
	return t.piece(i, e)
}

func (t *Table) piece(i int, e *HintEntries) (err error) {
	e.t, e.part, e.end, e.err = t, t.pieces[i], len(t.parts), nil
	e.open.count, e.next = 0, 0
	if i+1 < len(t.pieces) {
		e.end = t.pieces[i+1]
	}
	e.at = t.partPlace(e.part)
	if e.data, err = t.bytes(e.at, t.partPlace(e.end), &e.buf); err != nil {
		e.part = e.end
	}
	return err
}

// Next sets entry to the next entry, whose key is valid until the call after that. It returns false
// after the last one, and instead of a part, or the rest of a part, that is damaged: then Err is not
// nil, and another call goes on behind that part.
func (e *HintEntries) Next(entry *HintEntry) bool {
	if !e.begin() {
		return false
	}
	key, ok := e.cut(entry, e.open.key[:0])
	if ok {
		e.open.key = key
	}
	return ok
}

// Take appends the next entries to a batch, at most n. It returns false where Next does, after it has
// appended the entries before that.
//
// It is faster than Next. Whoever reads a key in larger units than it was written in, right after
// that, waits until the processor has done all its earlier writes. A batch gives it time.
func (e *HintEntries) Take(b *Batch, n int) bool {
	b.Entries = slices.Grow(b.Entries, n)
	for ; n > 0; n-- {
		if !e.begin() {
			return false
		}
		b.room(e.open.start + len(e.rest)) // more than the prefix and the rest of the key
		b.Entries = b.Entries[:len(b.Entries)+1]
		keys, ok := e.cut(&b.Entries[len(b.Entries)-1], b.keys)
		if !ok {
			b.Entries = b.Entries[:len(b.Entries)-1]
			return false
		}
		if e.next == e.open.count {
			e.open.key = append(e.open.key[:0], keys[len(b.keys):]...)
		}
		b.keys = keys
	}
	return true
}

// begin opens a part, if the one before is done.
func (e *HintEntries) begin() bool {
	e.err = nil
	if e.next < e.open.count {
		return true
	}
	if e.part == e.end {
		return false
	}
	return e.openPart() || e.fail()
}

// cut cuts the next entry off the part, and appends its key to keys.
func (e *HintEntries) cut(entry *HintEntry, keys []byte) (longer []byte, ok bool) {
	p := &e.open
	place := len(p.data) - len(e.rest)
	rest, ok := cutEntry(entry, e.rest, p.base)
	prefix, suffix := p.prefix(), entry.Key
	if !ok || p.entryPlace(e.next) != place || !entry.isWithin(p.covers) || len(prefix)+len(suffix) > MaxKeySize {
		return keys, e.fail()
	}
	longer = append(append(keys, prefix...), suffix...)
	entry.Key = longer[len(keys):len(longer):len(longer)]
	if e.next == 0 && !e.isInPlace(entry.Key) || e.next > 0 && bytes.Compare(e.previous, suffix) >= 0 {
		return keys, e.fail()
	}
	e.previous, e.rest, e.follows = suffix, rest, true
	if e.next++; e.next == p.count && !isPartEnd(rest) {
		return keys, e.fail()
	}
	return longer, true
}

// openPart checks the next part, and begins with it.
func (e *HintEntries) openPart() bool {
	if e.follows {
		e.last = append(e.last[:0], e.open.key...)
	}
	from, to := e.t.partPlace(e.part)-e.at, e.t.partPlace(e.part+1)-e.at
	e.part++
	e.next = 0
	if err := e.t.setPart(e.part-1, &e.open, e.data[from:to:to]); err != nil {
		return false
	}
	e.rest = e.open.data[e.open.start:]
	return true
}

// isInPlace reports whether the first key of the part lies above the keys before it, and belongs to
// the part's fence.
func (e *HintEntries) isInPlace(key []byte) bool {
	common := e.t.common
	return (!e.follows || bytes.Compare(e.last, key) < 0) &&
		bytes.HasPrefix(key, common) && keyPrefix(key[len(common):]) == e.t.fences[e.part-1]
}

// fail ends the part. The key before it stays the last one.
func (e *HintEntries) fail() bool {
	e.err = &HintError{e.t.partPlace(e.part - 1)}
	e.open.key = append(e.open.key[:0], e.last...)
	e.open.count, e.next = 0, 0
	return false
}

// Err says why Next returned false: nil at the end, or a HintError.
func (e *HintEntries) Err() error { return e.err }

// isPartEnd reports whether the rest of a part is what a builder writes after the last entry.
func isPartEnd(rest []byte) bool {
	return len(rest) < Alignment && len(bytes.TrimLeft(rest, "\x00")) == 0
}

// Entries yields all entries in key order. Each is valid until the next one. Instead of a part that
// is damaged or cannot be read, it yields an error, and goes on behind it.
func (t *Table) Entries() iter.Seq2[HintEntry, error] {
	return func(yield func(HintEntry, error) bool) {
		var entries HintEntries
		var e HintEntry
		for i := range t.Pieces() {
			if err := t.piece(i, &entries); err != nil && !yield(HintEntry{}, err) {
				return
			}
			for entries.Next(&e) || entries.Err() != nil {
				if err := entries.Err(); err != nil {
					e = HintEntry{}
				}
				if !yield(e, entries.Err()) {
					return
				}
			}
			t.callPause()
		}
	}
}

// Check reads all entries. It returns the first error.
func (t *Table) Check() error {
	keys := int64(0)
	for e, err := range t.Entries() {
		if err != nil {
			return err
		}
		keys += int64(len(e.Key))
	}
	if keys != t.keys {
		return ErrHint
	}
	return nil
}
