package conflict

import "sort"

// chunk is entries that follow each other, in the order of their numbers.
type chunk struct {
	entries   []entry
	keys      []byte // of the entries, one after the other
	live      int    // how many entries are not dead
	liveBytes int    // of their keys
}

// entry is one written key.
type entry struct {
	seq, hash uint64
	end       uint32 // of the key, in the chunk's keys; it begins where the one before ends
	dead      bool   // the key was written again
}

// entryBytes is what an entry takes.
const entryBytes = 24

func (c *chunk) add(seq, hash uint64, key []byte) {
	c.keys = append(c.keys, key...)
	c.entries = append(c.entries, entry{seq: seq, hash: hash, end: uint32(len(c.keys))})
	c.live++
	c.liveBytes += len(key)
}

// kill marks an entry as dead.
func (c *chunk) kill(i int) {
	c.entries[i].dead = true
	c.live--
	c.liveBytes -= len(c.key(i))
}

// key returns the key of an entry.
func (c *chunk) key(i int) []byte {
	begin := uint32(0)
	if i > 0 {
		begin = c.entries[i-1].end
	}
	return c.keys[begin:c.entries[i].end]
}

// lastSeq returns the number of the last entry, 0 if there is none.
func (c *chunk) lastSeq() uint64 {
	if n := len(c.entries); n > 0 {
		return c.entries[n-1].seq
	}
	return 0
}

// after returns the place of the first entry with a number above the given one.
func (c *chunk) after(seq uint64) int {
	return sort.Search(len(c.entries), func(i int) bool { return c.entries[i].seq > seq })
}

// reset empties the chunk for reuse.
func (c *chunk) reset() { *c = chunk{entries: c.entries[:0], keys: c.keys[:0]} }

// merge returns a chunk of the entries of both that are not dead.
func merge(a, b *chunk) *chunk {
	m := &chunk{entries: make([]entry, 0, a.live+b.live), keys: make([]byte, 0, a.liveBytes+b.liveBytes)}
	for _, c := range []*chunk{a, b} {
		for i := range c.entries {
			if e := &c.entries[i]; !e.dead {
				m.add(e.seq, e.hash, c.key(i))
			}
		}
	}
	return m
}
