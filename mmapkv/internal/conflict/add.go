package conflict

import (
	"slices"
	"sort"
)

// Add adds a key that was written with a sequence number, higher than all before. It copies the key.
// The caller holds the lock of publishing.
func (l *List) Add(seq, hash uint64, key []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.first == nil {
		return // nobody needs it
	}
	if before, ok := l.newest[hash]; ok {
		l.supersedeLocked(before, key)
	}
	c := l.roomLocked(len(key))
	if c == nil {
		return // the last transaction that needed it is lost
	}
	l.keyBytes += int64(len(key))
	c.add(seq, hash, key)
	l.newest[hash] = seq
}

// supersedeLocked takes out the entry of an earlier write, if it is one of the same key.
func (l *List) supersedeLocked(seq uint64, key []byte) {
	at := l.chunkAfterLocked(seq - 1)
	if at == len(l.chunks) {
		return
	}
	c := l.chunks[at]
	i := c.after(seq - 1)
	if e := &c.entries[i]; e.seq != seq || e.dead || string(c.key(i)) != string(key) {
		return
	}
	c.kill(i)
	if c.live == 0 && at < len(l.chunks)-1 {
		l.removeLocked(at)
	}
}

// removeLocked takes out a chunk.
func (l *List) removeLocked(at int) {
	l.keyBytes -= int64(len(l.chunks[at].keys))
	l.chunks = slices.Delete(l.chunks, at, at+1)
	if at < l.hand {
		l.hand--
	}
}

// chunkAfterLocked returns the place of the first chunk that has a number above the given one.
func (l *List) chunkAfterLocked(seq uint64) int {
	// What is asked for is most often near the end.
	if n := len(l.chunks); n > 0 && (n == 1 || l.chunks[n-2].lastSeq() <= seq) {
		if l.chunks[n-1].lastSeq() <= seq {
			return n
		}
		return n - 1
	}
	return sort.Search(len(l.chunks), func(i int) bool { return l.chunks[i].lastSeq() > seq })
}

// roomLocked returns a chunk to which a key may be added. It returns nil if no transaction needs the
// key any more.
func (l *List) roomLocked(keySize int) *chunk {
	if n := len(l.chunks); n > 0 {
		c := l.chunks[n-1]
		if len(c.entries) == 0 || len(c.entries) < l.chunkEntries && len(c.keys)+keySize <= l.chunkBytes {
			return c
		}
	}
	l.forgetLocked()
	for range mergesPerChunk {
		l.mergeLocked()
	}
	for l.sizeLocked() > l.bytes {
		l.loseLocked()
		if l.first == nil {
			return nil
		}
	}
	c := &chunk{}
	l.chunks = append(l.chunks, c)
	return c
}

// forgetsPerChunk and mergesPerChunk bound the work for a new chunk. They are more than one, so that
// the List shrinks.
const (
	forgetsPerChunk = 2
	mergesPerChunk  = 4
)

// forgetLocked drops the oldest chunks that no transaction needs.
func (l *List) forgetLocked() {
	for range forgetsPerChunk {
		if len(l.chunks) == 0 || l.chunks[0].lastSeq() > l.first.seq {
			return
		}
		l.dropFirstLocked()
	}
}

// loseLocked drops the oldest chunk, although transactions need it. These are lost.
func (l *List) loseLocked() {
	for upTo := l.chunks[0].lastSeq(); l.first != nil && l.first.seq < upTo; {
		l.first.lost = true
		l.dropLocked(l.first)
	}
	if l.first == nil {
		l.resetLocked()
		return
	}
	l.dropFirstLocked()
}

// dropFirstLocked drops the oldest chunk.
func (l *List) dropFirstLocked() {
	c := l.chunks[0]
	for i := range c.entries {
		if e := &c.entries[i]; l.newest[e.hash] == e.seq {
			delete(l.newest, e.hash)
		}
	}
	l.removeLocked(0)
}

// mergeLocked merges the chunk at the hand with its successor if both fit into one, and otherwise
// moves the hand on. The last chunk still grows, so it is left alone.
func (l *List) mergeLocked() {
	if l.hand+2 >= len(l.chunks) {
		l.hand = 0
		return
	}
	a, b := l.chunks[l.hand], l.chunks[l.hand+1]
	if a.live+b.live > l.chunkEntries || a.liveBytes+b.liveBytes > l.chunkBytes {
		l.hand++
		return
	}
	merged := merge(a, b)
	l.keyBytes += int64(len(merged.keys) - len(a.keys) - len(b.keys))
	l.chunks[l.hand] = merged
	l.chunks = slices.Delete(l.chunks, l.hand+1, l.hand+2)
}
