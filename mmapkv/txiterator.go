package mmapkv

import (
	"bytes"
	"slices"
)

// Iterator returns an Iterator over the pairs that the options name. It shows the state that the
// transaction sees now: what the transaction writes later does not come. It counts as read all keys that
// it has passed, also those that were absent. It ends with the transaction: its Err is ErrDone then.
func (tx *Tx) Iterator(o ScanOptions) (*Iterator, error) { return tx.iterator(&o, true) }

func (tx *Tx) iterator(o *ScanOptions, tracked bool) (*Iterator, error) {
	var base *Iterator
	err := tx.usable()
	if err == nil {
		base, err = tx.snapshot.Iterator(*o)
	}
	if err != nil {
		return nil, err
	}
	if !tracked {
		base.firstExpiry = nil
	}
	m := &merged{tx: tx, base: base, bounds: base.bounds, tracked: tracked, sought: []byte{}}
	if !m.isEmpty() {
		m.own = within(tx.own.inOrder(), &m.bounds)
	}
	tx.open = append(tx.open, m)
	return &Iterator{merged: m, keysOnly: o.KeysOnly, opposite: o.Reverse}, nil
}

// merged is what an Iterator of a transaction moves over: the pairs of the snapshot, and the
// transaction's own writes, as they were when the Iterator was made. What must hold:
//
//   - It stands at the first of two candidates: a pair of the snapshot, and an own write. Both are the
//     first in its direction that it has not passed. If they have the same key, the own write counts.
//   - It turns round by seeking both anew.
//   - What it has passed since the last seek is noted as read before the next seek, and when the Iterator
//     or the transaction ends.
type merged struct {
	tx   *Tx
	base *Iterator // of the snapshot
	bounds
	own     []*ownWrite // within the bounds, by key
	tracked bool
	passed  passed

	place place
	down  bool // the direction of the candidates
	at    int  // the candidate among the own writes; there may be none
	onOwn bool // the pair is that

	value  []byte // what Value returned last
	sought []byte // the key of the last seek
	err    error  // the first one
	closed bool
}

// ended returns why the Iterator cannot be used any more, nil if it can.
func (m *merged) ended() error {
	if m.err != nil {
		return m.err
	}
	if m.closed {
		return ErrDone
	}
	return m.tx.usable()
}

// fail ends a move with an error, and returns false.
func (m *merged) fail(err error) bool {
	if m.err == nil {
		m.err = err
		m.tx.fail(err)
	}
	m.place = atNoPair
	return false
}

// seekTo is seek to a key, which may be what Key returned.
func (m *merged) seekTo(key []byte, down bool) bool {
	m.sought = append(m.sought[:0], key...)
	return m.seek(m.sought, down)
}

// seek moves to the first key from the given one on; with down, to the last below it, where nil is above
// all keys.
func (m *merged) seek(key []byte, down bool) bool {
	if err := m.ended(); err != nil {
		return m.fail(err)
	}
	m.noteRange()
	if m.isEmpty() {
		m.place = atNoPair
		return false
	}
	switch {
	case down && (key == nil || m.bounds.to != nil && bytes.Compare(key, m.bounds.to) > 0):
		key = m.bounds.to
	case bytes.Compare(key, m.bounds.from) < 0 && !down:
		key = m.bounds.from
	}
	if down && key != nil && bytes.Compare(key, m.bounds.from) <= 0 {
		m.place = atNoPair // nothing is read
		return false
	}
	if !down && m.bounds.to != nil && bytes.Compare(key, m.bounds.to) >= 0 {
		m.place = atNoPair
		return false
	}
	if m.tracked {
		m.passed.startAt(&m.bounds, key, down)
	}
	m.approach(key, down)
	return m.settle()
}

// approach makes the first key from the given one on the candidates; with down, the last below it.
func (m *merged) approach(key []byte, down bool) {
	m.down, m.at = down, firstFrom(m.own, key)
	switch {
	case !down:
		m.base.SeekGE(key)
	case key == nil:
		m.base.Last()
		m.at = len(m.own) - 1
	default:
		m.base.SeekLT(key)
		m.at--
	}
}

// candidate returns the own write that comes next, nil if there is none.
func (m *merged) candidate() *ownWrite {
	if m.at < 0 || m.at >= len(m.own) {
		return nil
	}
	return m.own[m.at]
}

// settle makes the first of the candidates the pair, and passes over keys that the transaction has
// deleted.
func (m *merged) settle() bool {
	for {
		if err := m.base.Err(); err != nil {
			return m.fail(err)
		}
		w := m.candidate()
		if w == nil && !m.base.Valid() {
			m.place = atNoPair
			if m.tracked {
				m.passed.all()
			}
			return false
		}
		order := 1 // the own write comes first
		if w == nil {
			order = -1
		} else if m.base.Valid() {
			order = w.compareTo(m.base.Key(), m.down)
		}
		if order < 0 || !w.deleted {
			m.onOwn, m.place = order >= 0, atPair
			m.extend(m.Key())
			return true
		}
		m.passOwn()
	}
}

// passOwn passes the candidate among the own writes, and a pair of the same key.
func (m *merged) passOwn() {
	if m.base.Valid() && bytes.Equal(m.base.Key(), m.own[m.at].key) {
		m.base.step(m.down)
	}
	if m.down {
		m.at--
	} else {
		m.at++
	}
}

// step moves to the next pair in a direction.
func (m *merged) step(down bool) bool {
	if m.place == atStart {
		if down {
			return m.seek(nil, true)
		}
		return m.seek([]byte{}, false)
	}
	if err := m.ended(); err != nil {
		return m.fail(err)
	}
	if m.place == atNoPair {
		return false
	}
	switch {
	case down != m.down:
		m.sought = append(m.sought[:0], m.Key()...)
		if !down {
			m.sought = append(m.sought, 0) // there is no key between
		}
		m.passed.descending = down
		m.approach(m.sought, down)
	case m.onOwn:
		m.passOwn()
	default:
		m.base.step(down)
	}
	return m.settle()
}

// extend notes that all keys up to one have been passed, unless they had been before the Iterator turned
// round.
func (m *merged) extend(key []byte) {
	if m.tracked && !m.passed.has(key) {
		m.passed.to(key)
	}
}

// noteRange notes as read what has been passed since the last seek.
func (m *merged) noteRange() {
	if m.tracked {
		m.passed.note(m.tx)
	}
}

// close is Iterator.Close.
func (m *merged) close() {
	m.place = atNoPair
	if m.closed {
		return
	}
	m.closed = true
	m.noteRange()
	m.base.Close()
	if at := slices.Index(m.tx.open, m); at >= 0 {
		m.tx.open = slices.Delete(m.tx.open, at, at+1)
	}
}
