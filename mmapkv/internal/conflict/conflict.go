// Package conflict answers whether what a transaction has read has been written since.
//
// A List has the keys that were written since the oldest transaction in flight began, in the order
// of their sequence numbers. Reads are what one transaction has read: keys, by their hashes, and
// ranges. A Check compares the two.
//
// What must hold:
//
//   - Begin and Add are called under the lock under which a group of writes becomes visible
//     (Catalog.Publishing). So each group is wholly published when a transaction begins, or the List
//     gets all its keys. The transaction captures its snapshot after Begin. The snapshot's number
//     is the only one that it is judged by, so there are no two moments that could differ.
//   - Each key that is added stays, with the number of its last record, until every transaction that
//     began below that number has ended, or is lost. A key takes one entry, however often it is
//     written, unless another key shares its hash.
//   - The List takes a bounded amount of memory. Beyond that the oldest keys go, and the
//     transactions that began before them are lost: their Check fails. A lost transaction holds
//     nothing, like one that has ended. So one that is forgotten fills the List once.
//   - Nothing is kept while no transaction is open, and a write then pays one atomic load.
//   - Two keys may share a hash. A point read then conflicts with writes of either key. A range
//     conflicts only with writes of keys that lie in it.
//   - A Check inside the leadership looks at a bounded number of keys. What is older has been
//     checked before, by number: a Check that has passed up to a number need not look below it.
//   - Expiry is no write: it is not added.
package conflict

import (
	"sync/atomic"

	"github.com/mmapkv/mmapkv/internal/rank"
)

// MaxBytes is about how much memory a List takes at most.
const MaxBytes = 32 << 20

// List is the keys that were written while transactions were open. Its methods may be called
// concurrently.
type List struct {
	open atomic.Int32 // how many Marks count: neither ended nor lost

	mu          rank.Mutex[rank.Conflicts] // guards the rest, and the fields of Marks; a leaf
	first, last *Mark                      // those that count, in the order of their numbers
	chunks      []*chunk                   // in the order of their numbers; only the last one grows
	newest      map[uint64]uint64          // by hash: the number of the last write
	keyBytes    int64                      // what the chunks' keys take
	hand        int                        // which chunk is looked at next, whether it can be merged with its successor
	limits
}

// limits are constants, but for tests.
type limits struct {
	bytes        int64 // of the List
	chunkEntries int
	chunkBytes   int // of a chunk's keys
}

// Mark is one open transaction. It keeps the List from forgetting what was written since its Begin.
type Mark struct {
	seq            uint64
	counts         bool // it is in the list of Marks
	lost           bool // the List has forgotten what was written since
	previous, next *Mark
}

// New returns an empty List.
func New() *List {
	return newList(limits{bytes: MaxBytes, chunkEntries: 256, chunkBytes: 16 << 10})
}

func newList(l limits) *List { return &List{limits: l, newest: map[uint64]uint64{}} }

// Open reports whether a transaction is open, so that written keys must be added.
func (l *List) Open() bool { return l.open.Load() > 0 }

// Begin opens a transaction with a Mark that is zero. Every key with a higher number than seq, that of
// the last published record, will be kept for it. The caller holds the lock of publishing, and ends the
// Mark with End.
func (l *List) Begin(m *Mark, seq uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m.seq, m.counts, m.previous = seq, true, l.last
	if l.last == nil {
		l.first = m
	} else {
		l.last.next = m
	}
	l.last = m
	l.open.Add(1)
}

// End closes a transaction. Calling it again, or with a Mark that never began, does nothing.
func (l *List) End(m *Mark) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dropLocked(m)
	if l.first == nil {
		l.resetLocked()
	}
}

// dropLocked takes a Mark out of the list of those that count.
func (l *List) dropLocked(m *Mark) {
	if !m.counts {
		return
	}
	m.counts = false
	if m.previous == nil {
		l.first = m.next
	} else {
		m.previous.next = m.next
	}
	if m.next == nil {
		l.last = m.previous
	} else {
		m.next.previous = m.previous
	}
	m.previous, m.next = nil, nil
	l.open.Add(-1)
}

// resetLocked forgets all keys. Of the memory it keeps what a few of them need.
func (l *List) resetLocked() {
	l.hand, l.keyBytes = 0, 0
	if len(l.chunks) == 1 && len(l.newest) <= l.chunkEntries {
		l.chunks[0].reset()
		clear(l.newest)
		return
	}
	if len(l.chunks) > 0 || len(l.newest) > 0 {
		l.chunks, l.newest = nil, map[uint64]uint64{}
	}
}

// Size returns about how many bytes of memory the List takes.
func (l *List) Size() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sizeLocked()
}

// hashBytes is about what a hash in the map takes.
const hashBytes = 40

func (l *List) sizeLocked() int64 {
	return int64(len(l.chunks)*l.chunkEntries*entryBytes) + l.keyBytes + int64(len(l.newest)*hashBytes)
}
