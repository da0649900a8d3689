package mmapkv

import (
	"errors"

	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/internal/guard"
	"github.com/mmapkv/mmapkv/internal/invariant"
	"github.com/mmapkv/mmapkv/mmapkv/internal/alive"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/mmapkv/internal/failure"
	"github.com/mmapkv/mmapkv/segment"
)

// Range calls fn with the live pairs, in the order of the files, without copying them. It is faster
// than Scan, which goes by the order of the keys. Both slices can be read until fn returns, and must
// not be written. Range ends with the first error of fn, which it returns, and with the first damage,
// which it returns as an error that wraps ErrCorrupt.
//
// A pair that exists throughout comes exactly once, even if compaction moves it. A pair that is
// overwritten during Range comes once, with a value from before the call, or not at all. What is
// written during Range, for instance by fn, does not come. If the store is closed during Range,
// it runs on to its end.
//
// Range waits until the index is full, and returns the error of Ready if that is impossible.
func (s *Store) Range(fn func(key, value []byte) error) error {
	if err := s.awaitIndex(nil); err != nil {
		return err
	}
	w, err := s.beginWalk()
	if err != nil {
		return err
	}
	defer w.end()
	invariant.Check(s.catalog.Loaded.Load(), "Range believes bits while the index is loaded")
	r := ranging{walk: w, upTo: s.log.Published.Load(), written: s.log.Written.Load(), fn: fn}
	r.settled = s.log.Published.Load() >= r.written
	for more := true; more && err == nil; {
		more, err = r.nextFile()
	}
	return err
}

// ranging is one Range. It shows the part of the log after one sequence number and up to another,
// upTo, which the index had reached when Range began. Past upTo, a key could come twice: with its
// old record, while that is still alive, and then with its new one. From file to file
// ranging goes by the number that it has reached, because compaction may replace the files that
// are still to come.
//
// Within a file the bits say which records are alive (package alive). Range verifies those, and
// passes over the others by what their headers say of their size. That is not verified, but it
// must lead to the next record that is alive.
type ranging struct {
	*walk
	fn          func(key, value []byte) error
	after, upTo uint64

	// The writes that are being published when Range begins may be in the index, and the bits of
	// the records that they replace still set. A read before Range may have seen such a write, so
	// until all of them are published, up to written, Range asks the index as well.
	written uint64
	settled bool

	in    found // the record in hand
	limit int64 // where the records of its file end, as far as Range goes
}

// nextFile shows the live records of one file, and reports whether there may be more.
func (r *ranging) nextFile() (more bool, err error) {
	f, done := r.next(r.after)
	if f == nil {
		return false, nil
	}
	defer done()
	// After a file that still gets records, nothing is as old as upTo.
	end, ended := r.store.catalog.Files.IsEnded(f)
	err = r.showFile(f)
	r.after = max(r.after, end.Seq)
	return ended && r.after < r.upTo, err
}

// showFile shows the live records of a file.
func (r *ranging) showFile(f *catalog.File) (err error) {
	r.in = found{store: r.store, walk: r.walk, file: f, whole: true}
	r.limit = f.Limit() // what is written from here on is past upTo
	old := guard.Enter()
	defer func() { r.in.endRead(old, recover(), &err) }()
	for offset := f.DataStart; offset < r.limit && err == nil; {
		switch {
		case f.Alive.Test(offset):
			offset, err = r.showRecord(f, offset)
		case f.Damaged.Load():
			// A record that the index does not know of may be what is damaged.
			offset, err = r.passOne(f, offset)
		default:
			offset, err = r.passDead(f, offset)
		}
	}
	return err
}

// showRecord shows the record at an offset, whose bit says that it is alive, if it is in the
// interval. It returns the offset of the next record, or the file's limit if that lies past the
// interval.
func (r *ranging) showRecord(f *catalog.File, offset int64) (next int64, err error) {
	s, record := r.store, &r.in.record
	if err := r.load(f, offset); err != nil {
		return 0, err
	}
	next = offset + record.Size
	switch {
	case record.Seq > r.upTo:
		return r.limit, nil
	case record.Seq <= r.after, s.expired(record):
		return next, nil
	}
	if !r.settled || f.Dropped.Load() {
		if live, err := r.isLive(f, offset); !live {
			return next, err
		}
	}
	if !s.options.SkipReadChecksum && !record.ValueOK() {
		return 0, f.Corrupt(offset, failure.BadValue)
	}
	r.in.shown = true
	err = showPair(record.Key, record.Value, r.fn)
	r.in.shown = false
	return next, err
}

// isLive reports whether the record in hand, whose bit is set, is its key's record. That the bit is
// set is not enough before everything is settled, or if a compaction moves the file's records: the
// bit of one that was moved stays set, even if it has been overwritten since.
func (r *ranging) isLive(f *catalog.File, offset int64) (bool, error) {
	if !r.settled && r.store.log.Published.Load() >= r.written {
		r.settled = true
		if !f.Alive.Test(offset) {
			return false, nil
		}
	}
	if !f.Dropped.Load() {
		if r.settled || r.indexHas(f, offset) {
			return true, nil
		}
		if !f.Dropped.Load() {
			return false, nil
		}
	}
	seq, err := r.newest(r.in.record.Key)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil && seq == r.in.record.Seq, err
}

// indexHas reports whether the index points to the record in hand, which lies at the offset.
func (r *ranging) indexHas(f *catalog.File, offset int64) bool {
	record := &r.in.record
	return pointsTo(r.set(), r.store.hasher.Hash(record.Key), index.MakeLocation(f.Slot, offset, record.Size))
}

// newest returns the sequence number of the key's record.
func (w *walk) newest(key []byte) (seq uint64, err error) {
	f := found{walk: w}
	old := guard.Enter()
	defer func() { f.endRead(old, recover(), &err) }()
	if err := w.store.lookup(key, &f, false); err != nil {
		return 0, err
	}
	return f.record.Seq, nil
}

// load decodes the record at an offset.
func (r *ranging) load(f *catalog.File, offset int64) error {
	r.populate(f, offset)
	return r.in.loadAt(offset, -1)
}

// populate populates a cold file some way ahead of an offset.
func (r *ranging) populate(f *catalog.File, offset int64) {
	if f.Cold.Load() && r.in.ahead < min(offset+headBytes, r.limit) {
		r.in.ahead = min(offset+walkBytes, r.limit)
		f.Populate(offset, r.in.ahead)
	}
}

// passOne verifies the record at an offset, without its value, and returns the offset of the next
// one.
func (r *ranging) passOne(f *catalog.File, offset int64) (next int64, err error) {
	if err := r.load(f, offset); err != nil {
		return 0, err
	}
	return offset + r.in.record.Size, nil
}

// jumpBytes is how many bytes of dead records make it worth asking the index where the next live
// one begins.
const jumpBytes = 4 << 10

// passDead returns the offset of the next record that is alive, or the limit. The record at the
// offset is dead.
func (r *ranging) passDead(f *catalog.File, offset int64) (next int64, err error) {
	at, ok := f.Alive.Next(offset)
	if !ok || at >= r.limit {
		return r.limit, nil
	}
	if at-offset >= jumpBytes && f.Memory() != nil {
		if next, ok := r.jump(f, at); ok {
			return next, nil
		}
	}
	for next = offset; next < at && !alive.SamePlace(next, at); {
		r.populate(f, next)
		size, err := f.PeekSize(next)
		if err != nil {
			break
		}
		next += size
	}
	if alive.SamePlace(next, at) {
		return next, nil
	}
	// A dead record's size is wrong, unless the bit was of a record that is not there.
	for next = offset; next < at && err == nil; {
		next, err = r.passOne(f, next)
	}
	return next, err
}

// jump returns the offset of the record that is alive and begins in the place at, if the index
// points to one there. Only the index knows where in the place it begins: by chance, bytes of the
// record before could validate.
func (r *ranging) jump(f *catalog.File, at int64) (offset int64, ok bool) {
	for offset = at; offset < min(at+alive.PlaceSize, r.limit); offset += segment.Alignment {
		if r.load(f, offset) == nil && r.indexHas(f, offset) {
			return offset, true
		}
	}
	return 0, false
}
