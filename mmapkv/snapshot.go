package mmapkv

import (
	"runtime"

	"github.com/mmapkv/mmapkv/internal/rank"
)

// Snapshot is the state of a store after one commit. It is a Reader, and its reads find what the
// reads of the store found at that moment: whole batches, no later write, and no key that had
// expired, whatever is written, deleted, expires or is compacted later. What had not expired then
// does not expire in it.
//
//	snapshot, err := store.Snapshot()
//	if err != nil {
//		return err
//	}
//	defer snapshot.Close()
//	balance, err := snapshot.Get([]byte("account:1"))
//
// If the clock has been set back, keys may be missing that had expired by the clock of before.
//
// Any number of goroutines may call its methods at once. Its reads keep the promises of the store's
// reads. Reads of a key that has not changed since cost about as much as the store's. Others search
// the sorted lists of keys that Scan goes by, see Stats.Order, and take some microseconds.
//
// A Snapshot costs writers nothing. It keeps the files of its state: what compaction has replaced
// takes space on disk until Close, see Stats.HeldBytes and Options.SnapshotLimit. Close it: one that is
// forgotten keeps its files until the garbage collector finds it. The Logger gets a message then, and
// Stats.Snapshots says where each one was made.
type Snapshot struct {
	hold    *hold
	cleanup runtime.Cleanup
}

var _ Reader = (*Snapshot)(nil)

// Snapshot returns the state after the last commit. It waits for no write and no sync, but for a
// moment while a commit becomes visible. The Snapshot must be closed.
func (s *Store) Snapshot() (*Snapshot, error) {
	m, err := s.instant()
	if err != nil {
		return nil, err
	}
	h, err := newHold(m, callersOf())
	if err != nil {
		return nil, err
	}
	n := &Snapshot{hold: h}
	n.cleanup = expectClose(n, h)
	return n, nil
}

// Seq returns the sequence number of the last commit in the Snapshot. Each write of a key has a
// higher one than all writes before.
func (n *Snapshot) Seq() uint64 { return n.hold.state.Seq() }

// Close ends the Snapshot, and lets go of its files. It may be called more than once, and always
// returns nil. Reads in flight complete, or return ErrDone. Iterators of the Snapshot end with their
// next step. What a View or a Scan is showing stays until its callback returns.
func (n *Snapshot) Close() error {
	if n.hold.end(ownerEnded) {
		n.hold.store.holds.remove(n.hold)
		n.cleanup.Stop()
	}
	runtime.KeepAlive(n)
	return nil
}

// Scan is like Store.Scan, of the state of the Snapshot. If the Snapshot is ended during Scan, fn is not
// called again, and Scan returns why.
func (n *Snapshot) Scan(o ScanOptions, fn func(key, value []byte) error) error {
	rank.AssertNone("Scan of a Snapshot")
	if err := n.hold.enter(); err != nil {
		return err
	}
	defer n.leave()
	return n.hold.scan(&o, n.hold, fn)
}

// leave ends a use of the hold. It also keeps the Snapshot from being taken for forgotten until then.
func (n *Snapshot) leave() {
	n.hold.leave()
	runtime.KeepAlive(n)
}

// Iterator is like Store.Iterator, of the state of the Snapshot. The Iterator ends when the Snapshot
// does: its moves then return false, and its Err is ErrDone, ErrSnapshotTooOld or ErrClosed.
func (n *Snapshot) Iterator(o ScanOptions) (*Iterator, error) {
	if err := n.hold.enter(); err != nil {
		return nil, err
	}
	defer n.leave()
	return &Iterator{stretch: stretchOf(n.hold.instant, &o), hold: n.hold, of: n, keysOnly: o.KeysOnly, opposite: o.Reverse}, nil
}

// closeWithin closes an Iterator of a Snapshot. It keeps no files, so only its memory is given back.
func (it *Iterator) closeWithin() {
	if it.closed {
		return
	}
	it.closed = true
	if it.hold.enter() == nil {
		it.drop()
		it.hold.leave()
	}
}
