package mmapkv

import (
	"runtime"

	"github.com/mmapkv/mmapkv/internal/invariant"
)

// Iterator moves over the pairs that its ScanOptions name, in the order of bytes.Compare, in both
// directions. It starts before the first pair. What it shows is the state of the store when
// Store.Iterator returned it, whatever is written, deleted, expires or is compacted later.
//
//	it, err := store.Iterator(mmapkv.ScanOptions{Prefix: []byte("user:")})
//	if err != nil {
//		return err
//	}
//	defer it.Close()
//	for key, value := range it.Pairs() {
//		...
//	}
//	return it.Err()
//
// Each move says whether there is a pair. After a move that returned false, only First, Last, SeekGE
// and SeekLT move again. After an error none does, and Err returns that error: damage, ErrClosed
// once the store is closed, ErrDone once the Iterator is.
//
// An Iterator is for one goroutine at a time. Until Close it keeps the files of its state on disk,
// see Stats.HeldBytes, and keeps nobody waiting. Close it: one that is forgotten keeps its files
// until the garbage collector finds it, and the Logger gets a message then.
type Iterator struct {
	stretch
	hold     *hold
	of       *Snapshot // that the hold is of; nil: the Iterator's own
	closed   bool      // and of is not nil
	merged   *merged   // of a transaction, does the work; nil: the rest does
	keysOnly bool
	opposite bool // Next goes downwards

	place  place
	at     int    // which entry of the batch it stands at, if place is atPair
	err    error  // the first one
	sought []byte // the key of the last seek
	value  []byte // what Value returned last
	key    []byte // what Key returned last, with the build tag invariants

	cleanup runtime.Cleanup
}

// place says where an Iterator stands.
type place uint8

const (
	atStart place = iota // it has not moved yet
	atPair
	atNoPair // its last move returned false
)

// Iterator returns an Iterator over the pairs that the options name. It must be closed.
func (s *Store) Iterator(o ScanOptions) (*Iterator, error) {
	m, err := s.instant()
	if err != nil {
		return nil, err
	}
	return m.iterator(&o)
}

// iterator makes an Iterator of an instant, which it takes over.
func (m instant) iterator(o *ScanOptions) (*Iterator, error) {
	h, err := newHold(m, callers{})
	if err != nil {
		return nil, err
	}
	it := &Iterator{stretch: stretchOf(m, o), hold: h, keysOnly: o.KeysOnly, opposite: o.Reverse}
	it.cleanup = expectClose(it, h)
	return it, nil
}

// First moves to the lowest key, whatever ScanOptions.Reverse says.
func (it *Iterator) First() bool {
	if it.merged != nil {
		return it.merged.seek([]byte{}, false)
	}
	return it.beginMove() && it.endMove(it.ascend(nil))
}

// Last moves to the highest key, whatever ScanOptions.Reverse says.
func (it *Iterator) Last() bool {
	if it.merged != nil {
		return it.merged.seek(nil, true)
	}
	return it.beginMove() && it.endMove(it.descend(nil, false))
}

// SeekGE moves to the first key that is not below the given one.
func (it *Iterator) SeekGE(key []byte) bool {
	if it.merged != nil {
		return it.merged.seekTo(key, false)
	}
	it.sought = append(it.sought[:0], key...) // key may be what Key returned, which dies now
	return it.beginMove() && it.endMove(it.ascend(it.sought))
}

// SeekLT moves to the last key that is below the given one.
func (it *Iterator) SeekLT(key []byte) bool {
	if it.merged != nil {
		return it.merged.seekTo(key, true)
	}
	it.sought = append(it.sought[:0], key...) // key may be what Key returned, which dies now
	return it.beginMove() && it.endMove(it.descend(it.sought, true))
}

// Next moves to the next pair: the next higher one, or with ScanOptions.Reverse the next lower one.
// The first Next moves to where that direction begins.
func (it *Iterator) Next() bool { return it.step(it.opposite) }

// Prev moves to the pair before: it is Next in the other direction.
func (it *Iterator) Prev() bool { return it.step(!it.opposite) }

// step moves to the next pair in a direction.
func (it *Iterator) step(down bool) bool {
	if it.merged != nil {
		return it.merged.step(down)
	}
	if it.place != atPair {
		if !it.beginMove() {
			return false
		}
		return it.endMove(it.place == atStart && it.start(down))
	}
	to := it.at + 1
	if down != it.reverse {
		to = it.at - 1
	}
	if to >= 0 && to < len(it.batch) {
		// The batch is in memory that does not go away, so the instant is not needed.
		it.forget()
		if err := it.ended(); err != nil {
			return it.fail(err)
		}
		it.at = to
		return true
	}
	if !it.beginMove() {
		return false
	}
	return it.endMove(it.beyond(down))
}

// beyond fetches what follows the pair, which the batch ends with, in a direction.
func (it *Iterator) beyond(down bool) bool {
	if down == it.reverse || it.turn() {
		return it.fetch()
	}
	it.sought = append(it.sought[:0], it.batch[it.at].Key...)
	if down {
		return it.descend(it.sought, true)
	}
	it.sought = append(it.sought, 0) // there is no key between
	return it.ascend(it.sought)
}

// beginMove begins a move. It returns false if the Iterator has ended or failed.
func (it *Iterator) beginMove() bool {
	it.forget()
	err := it.ended()
	if err == nil {
		err = it.hold.enter()
	}
	if err != nil {
		return it.fail(err)
	}
	return true
}

// endMove ends a move that began. ok says that there is a batch.
func (it *Iterator) endMove(ok bool) bool {
	it.hold.leave()
	if !ok {
		if err := it.stretch.failed(); err != nil {
			return it.fail(err)
		}
		it.place = atNoPair
		return false
	}
	if !it.keysOnly {
		it.prefetch()
	}
	it.at, it.place = 0, atPair
	return true
}

// fail ends a move with an error, and returns false.
func (it *Iterator) fail(err error) bool {
	it.note(err)
	it.place = atNoPair
	return false
}

// note keeps an error, unless there has been one.
func (it *Iterator) note(err error) {
	if it.err == nil {
		it.err = err
	}
}

// ended returns the error that ended the Iterator, nil if nothing has.
func (it *Iterator) ended() error {
	if it.err != nil {
		return it.err
	}
	if it.closed {
		return ErrDone
	}
	return it.hold.err()
}

// forget is called when a move ends the time of what Key and Value returned. With the build tag
// invariants, it poisons that.
func (it *Iterator) forget() {
	if invariant.Enabled {
		poison(it.key)
		poison(it.value)
		it.key, it.value = nil, nil
	}
}

// Valid reports whether the Iterator stands at a pair.
func (it *Iterator) Valid() bool {
	if it.merged != nil {
		return it.merged.place == atPair
	}
	return it.place == atPair
}

// Err returns the first error that ended the moves, or that reading a value met; nil if there was
// none.
func (it *Iterator) Err() error {
	if it.merged != nil {
		return it.merged.err
	}
	return it.err
}

// Close ends the Iterator, and lets go of the files. It may be called more than once, and always
// returns nil. What View is showing stays until its callback returns.
func (it *Iterator) Close() error {
	if it.merged != nil {
		it.merged.close()
		return nil
	}
	it.forget()
	it.place = atNoPair
	if it.of != nil {
		it.closeWithin()
	} else if it.hold.enter() == nil {
		it.drop()
		it.hold.end(ownerEnded)
		it.hold.leave()
		it.store.holds.remove(it.hold)
		it.cleanup.Stop()
	}
	return nil
}
