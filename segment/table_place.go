package segment

import (
	"bytes"
	"unsafe"

	"github.com/mmapkv/mmapkv/internal/prefetch"
)

// PartEntries is how many entries a part has at most.
const PartEntries = partEntries

// Locate says which part the i-th entry lies in, and which entry of the part it is.
func (t *Table) Locate(i int) (part, entry int) {
	part = t.partOf(i)
	return part, i - t.firstEntry(part)
}

// PartBytes returns where a part lies in the hint: the bytes [from, to).
func (t *Table) PartBytes(part int) (from, to int64) { return t.partPlace(part), t.partPlace(part + 1) }

// PrefetchPlace requests from the processor's memory what PartBytes reads.
func (t *Table) PrefetchPlace(part int) { prefetch.Line(unsafe.Pointer(&t.parts[part])) }

// HasPart reports whether a part is the one that the cursor has read.
func (c *Cursor) HasPart(part int) bool { return c.of == part }

// StandAt moves to an entry of a part, as Locate names them.
func (c *Cursor) StandAt(part, entry int) bool {
	c.valid = false
	return c.loadFor(part, entry) && c.stand(entry)
}

// Compare compares the key of an entry of a part with another key, like bytes.Compare. The cursor
// then stands at no entry. Compare returns false after an error.
func (c *Cursor) Compare(part, entry int, key []byte) (order int, ok bool) {
	c.valid = false
	if !c.loadFor(part, entry) {
		return 0, false
	}
	prefix := c.part.prefix()
	suffix, ok := c.part.suffix(entry)
	if !ok {
		c.broken()
		return 0, false
	}
	n := min(len(prefix), len(key))
	if order = bytes.Compare(prefix[:n], key[:n]); order == 0 && n < len(prefix) {
		order = 1
	}
	if order == 0 {
		order = bytes.Compare(suffix, key[n:])
	}
	return order, true
}

// GatherAt appends an entry of a part to b. The cursor then stands at no entry. GatherAt returns
// false after an error.
func (c *Cursor) GatherAt(part, entry int, b *Batch) bool {
	c.valid = false
	return c.loadFor(part, entry) && (c.part.appendTo(b, entry, entry+1) || c.broken())
}

// loadFor loads the part that has an entry.
func (c *Cursor) loadFor(part, entry int) bool {
	if part < 0 || part >= len(c.t.parts) || !c.load(part) {
		return false
	}
	return entry < c.part.Len() || c.broken()
}
