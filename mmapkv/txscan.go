package mmapkv

import (
	"bytes"
	"io/fs"
)

// Scan calls fn for each pair that the options name, in order, as Store.Scan does. It shows the state
// that the transaction sees when Scan begins: what fn itself writes does not come. Scan counts as read
// all keys that it has passed, also those that were absent, up to the last one that fn got.
func (tx *Tx) Scan(o ScanOptions, fn func(key, value []byte) error) error {
	return tx.scan(&o, true, fn)
}

func (tx *Tx) scan(o *ScanOptions, tracked bool, fn func(key, value []byte) error) error {
	if err := tx.usable(); err != nil {
		return err
	}
	sc := txScan{tx: tx, fn: fn, keysOnly: o.KeysOnly, reverse: o.Reverse}
	b := o.bounds()
	if b.isEmpty() {
		return nil
	}
	sc.own = within(tx.own.inOrder(), &b)
	sc.passed.start(&b, o.Reverse)
	m := tx.snapshot.hold.instant
	if tracked {
		defer func() { sc.passed.note(tx) }() // also if fn panics
	} else {
		m.firstExpiry = nil
	}
	err := sc.run(m, o)
	if err != nil && !sc.stopped {
		return tx.fail(err)
	}
	if err == fs.SkipAll {
		return nil
	}
	return err
}

// txScan is one Scan of a transaction.
type txScan struct {
	tx       *Tx
	own      []*ownWrite // within the bounds; those that were passed are cut off
	fn       func(key, value []byte) error
	keysOnly bool
	reverse  bool
	passed   passed
	stopped  bool // fn returned an error
}

// run shows the pairs of an instant, and the transaction's own.
func (sc *txScan) run(m instant, o *ScanOptions) error {
	n := sc.tx.snapshot
	if err := n.hold.enter(); err != nil {
		return err
	}
	defer n.leave()
	if err := m.scan(o, n.hold, sc.showBase); err != nil || sc.stopped {
		return err
	}
	for len(sc.own) > 0 {
		if err := sc.tx.usable(); err != nil {
			return err
		}
		if err := sc.showOwn(); err != nil {
			return err
		}
	}
	sc.passed.all()
	return nil
}

// showBase shows a pair of the snapshot, unless the transaction has written its key, and before that
// the transaction's own pairs which come first.
func (sc *txScan) showBase(key, value []byte) error {
	for len(sc.own) > 0 {
		order := sc.nextOwn().compareTo(key, sc.reverse)
		if order < 0 {
			break
		}
		if err := sc.showOwn(); err != nil || order == 0 {
			return err
		}
		if err := sc.tx.usable(); err != nil {
			return sc.stop(err)
		}
	}
	return sc.show(key, value)
}

// nextOwn returns the transaction's own write that comes next.
func (sc *txScan) nextOwn() *ownWrite {
	if sc.reverse {
		return sc.own[len(sc.own)-1]
	}
	return sc.own[0]
}

// showOwn shows the transaction's own write that comes next, unless that deletes its key.
func (sc *txScan) showOwn() error {
	w := sc.nextOwn()
	if sc.reverse {
		sc.own = sc.own[:len(sc.own)-1]
	} else {
		sc.own = sc.own[1:]
	}
	if w.deleted {
		return nil
	}
	if sc.keysOnly {
		return showKey(w.key, sc.show)
	}
	return showPair(w.key, w.value, sc.show)
}

// show calls fn.
func (sc *txScan) show(key, value []byte) error {
	sc.passed.to(key)
	return sc.stop(sc.fn(key, value))
}

// stop notes that an error which is not that of reading ends the scan.
func (sc *txScan) stop(err error) error {
	sc.stopped = sc.stopped || err != nil
	return err
}

// passed is the keys that a Scan or an Iterator has passed since it started somewhere: all from one to
// another.
type passed struct {
	bounds            // of the Scan or Iterator
	low, high  []byte // low <= key < high
	endless    bool   // there is no high
	fresh      bool   // nothing was passed yet
	started    bool   // and not noted yet
	descending bool   // low moves, else high
}

// start begins at an end of the bounds.
func (p *passed) start(b *bounds, descending bool) {
	if descending {
		p.startAt(b, b.to, true)
	} else {
		p.startAt(b, b.from, false)
	}
}

// startAt begins at a key. With descending that is not passed, and nil is above all keys.
func (p *passed) startAt(b *bounds, key []byte, descending bool) {
	p.bounds, p.started, p.fresh, p.descending = *b, true, true, descending
	p.low, p.high = append(p.low[:0], key...), append(p.high[:0], key...)
	p.endless = descending && key == nil
}

// has reports whether the end that moves has been beyond a key.
func (p *passed) has(key []byte) bool {
	if p.descending {
		return !p.fresh && bytes.Compare(key, p.low) >= 0
	}
	return p.endless || bytes.Compare(key, p.high) < 0
}

// to adds the keys up to one, with that.
func (p *passed) to(key []byte) {
	p.fresh = false
	if p.descending {
		p.low = append(p.low[:0], key...)
		return
	}
	p.high, p.endless = append(append(p.high[:0], key...), 0), false
}

// all adds the keys up to the end of the bounds.
func (p *passed) all() {
	p.fresh = false
	if p.descending {
		p.low = append(p.low[:0], p.bounds.from...)
		return
	}
	p.high, p.endless = append(p.high[:0], p.bounds.to...), p.bounds.to == nil
}

// note adds the keys to what the transaction has read.
func (p *passed) note(tx *Tx) {
	if !p.started || tx.done {
		return
	}
	if p.started = false; p.fresh {
		return
	}
	to := bytes.Clone(p.high)
	if p.endless {
		to = nil
	} else if to == nil {
		to = []byte{}
	}
	tx.reads.Range(bytes.Clone(p.low), to)
	if tx.reads.Bytes() > tx.limits.tracked {
		tx.fail(tx.tooMuchRead())
	}
}
