package mmapkv

import (
	"io/fs"

	"github.com/mmapkv/mmapkv/internal/guard"
)

// Scan calls fn for each pair that the options name, in the order of bytes.Compare, without copying
// them. Both slices can be read until fn returns, and must not be written. fn may call any method of
// the store. An error of fn ends the scan and is returned, but for fs.SkipAll itself, which ends it
// with nil.
//
// Scan shows the state of the store when it begins. Each key that had a value then comes exactly
// once, with that value, whatever is written, deleted, expires or is compacted meanwhile. What
// is written during Scan, for instance by fn, does not come. A slow fn delays no writer and no
// compaction; the files that Scan reads stay until it ends, see Stats.HeldBytes.
//
// Damage ends the scan with an error that wraps ErrCorrupt. If the store is closed during Scan, fn
// is not called again, and Scan returns ErrClosed.
func (s *Store) Scan(o ScanOptions, fn func(key, value []byte) error) error {
	m, err := s.instant()
	if err != nil {
		return err
	}
	defer m.end()
	return m.scan(&o, nil, fn)
}

// scan is Scan of an instant: that of a hold, or of its own if the hold is nil.
func (m *instant) scan(o *ScanOptions, h *hold, fn func(key, value []byte) error) error {
	sc := scanning{stretch: stretchOf(*m, o), hold: h, keysOnly: o.KeysOnly, fn: fn}
	defer sc.drop()
	for more := sc.start(o.Reverse); more; more = sc.fetch() {
		var err error
		if sc.keysOnly {
			err = sc.showKeys()
		} else {
			sc.prefetch()
			err = sc.showPairs()
		}
		if err == fs.SkipAll {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return sc.failed()
}

// scanning is one Scan.
type scanning struct {
	stretch
	hold     *hold // that it reads; nil if the instant is its own
	keysOnly bool
	fn       func(key, value []byte) error
}

// ended returns why no more pairs may be shown, nil if they may.
func (sc *scanning) ended() error {
	if sc.hold != nil {
		return sc.hold.err()
	}
	if sc.store.closed.Load() {
		return ErrClosed
	}
	return nil
}

// showPairs shows the pairs of a batch.
func (sc *scanning) showPairs() (err error) {
	in := found{store: sc.store, whole: true}
	old := guard.Enter()
	defer func() { in.endRead(old, recover(), &err) }()
	for i := range sc.batch {
		if err := sc.ended(); err != nil {
			return err
		}
		in.shown = false
		if err := sc.read(&in, &sc.batch[i], true); err != nil {
			return err
		}
		in.shown = true
		if err := showPair(in.record.Key, in.record.Value, sc.fn); err != nil {
			return err
		}
	}
	return nil
}

// showKeys shows the keys of a batch. No record is read, so no fault can be the store's.
func (sc *scanning) showKeys() error {
	for i := range sc.batch {
		if err := sc.ended(); err != nil {
			return err
		}
		if err := showKey(sc.batch[i].Key, sc.fn); err != nil {
			return err
		}
	}
	return nil
}
