package mmapkv

import (
	"errors"

	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/segment"
)

// pastRead is a read of one key of a Snapshot.
type pastRead struct {
	found
	entered bool // the read uses the hold, until endRead
}

// lookup finds the key's record in the Snapshot. The caller has entered the fault guard, and ends the
// read with endRead. What must hold:
//
//   - The newest record of the key up to the Snapshot's number is the answer, and nothing else is.
//   - If the index has a record of the key, that is the newest one of all. So if its number is
//     within the Snapshot, it is the newest one there as well. Copies that compaction makes have the
//     number of what they copy.
//   - Otherwise the index does not say what there was: the record was overwritten, deleted, swept or
//     damaged since, or it is not loaded yet. Then the state decides, which holds its files. It asks
//     neither the index nor the clock.
//   - Damage is an error. No older record comes in its place, and no "not found".
//   - Whether the Snapshot has ended is checked last, also before "not found".
func (n *Snapshot) lookup(key []byte, r *pastRead, checkValue bool) error {
	h := n.hold
	r.store = h.store
	if err := h.err(); err != nil {
		return err
	}
	checkValue = checkValue && !h.store.options.SkipReadChecksum
	err := r.askIndex(h, key, checkValue)
	if err == errChanged {
		if err = h.enter(); err == nil {
			r.entered = true
			err = r.askState(h, key, checkValue)
		}
	}
	if err == nil || err == ErrNotFound {
		if ended := h.err(); ended != nil {
			return ended
		}
	}
	return err
}

// errChanged means that the index does not say what a Snapshot has.
var errChanged = errors.New("mmapkv: the key may have changed since the snapshot")

// askIndex looks for the key's record in the index. It returns errChanged unless what it finds there is
// what the Snapshot has.
func (r *pastRead) askIndex(h *hold, key []byte, checkValue bool) error {
	s := r.store
	if !s.catalog.Loaded.Load() {
		return errChanged // the index may have an older record than the newest
	}
	hash := s.hasher.Hash(key)
	for {
		set := r.set()
		if set == nil {
			return errChanged // the store is closed, and so is the Snapshot
		}
		err := r.among(h, set.Keys.Find(hash), key, checkValue)
		if err != errRetired {
			return err
		}
		// There is another set by now.
	}
}

// among is askIndex with the records that the index has for the key's hash.
func (r *pastRead) among(h *hold, candidates index.Candidates, key []byte, checkValue bool) error {
	damaged := false
	for {
		loc, ok := candidates.Next()
		if !ok {
			break
		}
		set := r.set()
		if set == nil {
			return errChanged
		}
		if err := r.load(set, loc); err == errRetired {
			return err
		} else if err != nil {
			damaged = true // or it has moved; it may be of another key
			continue
		}
		if string(r.record.Key) != string(key) {
			continue
		}
		switch {
		case r.record.Seq > h.state.Seq():
			return errChanged
		case h.hadExpired(&r.record):
			return ErrNotFound
		case checkValue && !r.record.ValueOK():
			return errChanged // the state's record may be another copy; if not, it is reported as damaged
		}
		return nil
	}
	if damaged || !h.unchanged() {
		return errChanged
	}
	return ErrNotFound
}

// unchanged reports whether no key that the instant has can have left the index since. Who did not
// find a key in the index asks this afterwards. A write has a number that counts as written before
// the index changes. A sweep notes its time before it takes out what had expired by that time, and
// with a time that is not after the instant's, that had expired at the instant as well. Nobody else
// takes keys out of the index: compaction only moves them, and loading is over.
func (m *instant) unchanged() bool {
	return m.store.log.Written.Load() == m.state.Seq() && m.store.catalog.Judged.Load() <= m.now
}

// hadExpired reports whether a record had expired at the instant.
func (m *instant) hadExpired(r *segment.Record) bool {
	return r.Flags&segment.Expires != 0 && r.Expired(m.now)
}

// askState looks for the key's record in the state. The caller has entered the hold.
func (r *pastRead) askState(h *hold, key []byte, checkValue bool) error {
	e, ok, err := h.state.Find(key)
	if err != nil {
		r.store.sawDamage(err)
		return err
	}
	if !ok || h.leavesOut(&e) {
		return ErrNotFound
	}
	return h.read(&r.found, &e, checkValue)
}
