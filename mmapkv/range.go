package mmapkv

import (
	"errors"
	"slices"
	"unsafe"

	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/internal/guard"
	"github.com/mmapkv/mmapkv/internal/prefetch"
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
func (s *Store) Range(fn func(key, value []byte) error) error {
	w, err := s.beginWalk()
	if err != nil {
		return err
	}
	defer w.end()
	r := ranging{walk: w, upTo: s.log.Published.Load(), fn: fn}
	r.sparse = findSparse(w.set())
	for more := true; more && err == nil; {
		more, err = r.nextFile()
	}
	return err
}

// ranging is one Range. It shows the part of the log after one sequence number and up to another,
// upTo, which the index had reached when Range began. Past upTo, a key could come twice: with its
// old record, while the index still points there, and then with its new one. From file to file
// ranging goes by the number that it has reached, because compaction may replace the files that
// are still to come.
type ranging struct {
	*walk
	fn          func(key, value []byte) error
	after, upTo uint64
	sparse      map[*catalog.File][]int64 // offsets of the live records in files that are mostly garbage
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
	if offsets, ok := r.sparse[f]; ok {
		err = r.showSome(f, offsets)
	} else {
		err = r.showAll(f)
	}
	r.after = max(r.after, end.Seq)
	return ended && r.after < r.upTo, err
}

// showAll shows the live records of a file.
func (r *ranging) showAll(f *catalog.File) error {
	var prefetched, ahead int64
	for offset := f.DataStart; offset < f.Limit(); {
		if offset >= prefetched {
			prefetched = r.prefetchIndex(f, offset)
		}
		if limit := f.Limit(); f.Cold.Load() && ahead < min(offset+headBytes, limit) {
			ahead = min(offset+walkBytes, limit)
			f.Populate(offset, ahead)
		}
		next, err := r.showRecord(f, offset, ahead)
		if err != nil || next < 0 {
			return err
		}
		offset = next
	}
	return nil
}

// showSome shows those of the records at the offsets that are live.
func (r *ranging) showSome(f *catalog.File, offsets []int64) error {
	for _, offset := range offsets {
		if _, err := r.showRecord(f, offset, 0); err != nil {
			return err
		}
	}
	return nil
}

// showRecord shows the record at an offset if it is live and in the interval. It returns the
// offset of the next record, or -1 if that lies past the interval. The file is populated up to
// ahead.
func (r *ranging) showRecord(f *catalog.File, offset, ahead int64) (next int64, err error) {
	s := r.store
	in := found{store: s, walk: r.walk, file: f, whole: true, ahead: ahead}
	old := guard.Enter()
	defer func() { in.endRead(old, recover(), &err) }()
	if err := in.loadAt(offset, -1); err != nil {
		return 0, err
	}
	record := &in.record
	next = offset + record.Size
	switch {
	case record.Seq > r.upTo:
		return -1, nil
	case record.Seq <= r.after, record.Flags&segment.Tombstone != 0, s.expired(record):
		return next, nil
	}
	if live, err := r.isLive(&in, offset); !live {
		return next, err
	}
	if !s.options.SkipReadChecksum && !record.ValueOK() {
		return 0, f.Corrupt(offset, failure.BadValue)
	}
	in.shown = true
	return next, showPair(record.Key, record.Value, r.fn)
}

// isLive reports whether the index points to the record in hand, which lies at the offset of its
// file, or to the copy that compaction made of it.
func (r *ranging) isLive(in *found, offset int64) (bool, error) {
	hash := r.store.hasher.Hash(in.record.Key)
	if !in.file.Dropped.Load() {
		if pointsTo(r.set(), hash, index.MakeLocation(in.file.Slot, offset, in.record.Size)) {
			return true, nil
		}
		if !in.file.Dropped.Load() {
			return false, nil
		}
	}
	seq, err := r.newest(in.record.Key)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil && seq == in.record.Seq, err
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

// prefetchIndex asks for the index memory of the records from an offset on, for many at once, and
// returns where they end. It leaves damage to showRecord.
func (r *ranging) prefetchIndex(f *catalog.File, offset int64) (end int64) {
	if f.Memory() == nil || f.Cold.Load() {
		return f.Limit()
	}
	set := r.set()
	in := found{store: r.store, walk: r.walk, file: f}
	var err error
	old := guard.Enter()
	defer func() { in.endRead(old, recover(), &err) }()
	end = offset
	var lines [prefetch.Batch]unsafe.Pointer
	n := 0
	for ; n < prefetch.Batch && end < f.Limit() && in.loadAt(end, -1) == nil; n++ {
		candidates := set.Keys.Find(r.store.hasher.Hash(in.record.Key))
		lines[n] = candidates.Memory()
		end += in.record.Size
	}
	prefetch.Lines(lines[:n])
	return max(end, offset+1)
}

const (
	// sparse is the fraction of live bytes in a file, one in sparse, below which Range asks
	// the index where the live records are.
	sparse = 16
	// sparseWorth is how many bytes such files must have for each key of the index before
	// it is worth going through the index. A key takes some ten nanoseconds there, and a
	// record takes at least ten times that in its file.
	sparseWorth = 8
)

// findSparse finds the live records of files that are mostly garbage, and returns their offsets
// in order.
func findSparse(set *catalog.FileSet) map[*catalog.File][]int64 {
	found := map[*catalog.File][]int64{}
	var bytes int64
	for _, f := range set.Order {
		if records := f.RecordBytes(); f.LiveBytes.Load() < records/sparse {
			found[f] = nil
			bytes += records
		}
	}
	if bytes <= sparseWorth*int64(set.Keys.Len()) {
		return nil
	}
	set.Keys.Range(func(_ index.Fingerprint, loc index.Location) bool {
		if f := set.File(loc); f != nil {
			if offsets, ok := found[f]; ok {
				found[f] = append(offsets, loc.Offset())
			}
		}
		return true
	})
	for f, offsets := range found {
		// A compaction that had begun to move the file's entries by now may have moved some
		// before Range of the index met them.
		if f.Dropped.Load() {
			delete(found, f)
		}
		slices.Sort(offsets)
	}
	return found
}
