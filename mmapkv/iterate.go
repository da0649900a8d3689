package mmapkv

import (
	"errors"
	"iter"
	"unsafe"

	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/internal/guard"
	"github.com/mmapkv/mmapkv/internal/prefetch"
	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/mmapkv/internal/failure"
	"github.com/mmapkv/mmapkv/segment"
)

// Keys yields a copy of every key, in no order. A key that is there throughout
// comes exactly once. One that comes meanwhile does not come, unless more than 65,536 and
// an eighth of the keys do; one that is deleted meanwhile may come. Keys whose record's header
// is damaged cannot be told and are left out; Range and Stats().Recovery report damage.
// After Close there are none; Keys in flight then runs on to its end, and keeps the files
// until then: what iter.Pull has made of it is to be stopped.
func (s *Store) Keys() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		w, err := s.beginWalk()
		if err != nil {
			return
		}
		defer w.end()
		l := w.set()
		var prints [prefetch.Batch]index.Fingerprint
		var locations [prefetch.Batch]index.Location
		n := 0
		yieldAll := func() bool {
			prefetchRecords(l, locations[:n])
			for i := range n {
				key, ok := w.keyAt(prints[i], locations[i])
				if !ok {
					continue
				}
				rank.AssertNone("the body of a loop over Keys")
				if !yield(key) {
					return false
				}
			}
			n = 0
			return true
		}
		more := true
		l.Keys.Range(func(print index.Fingerprint, loc index.Location) bool {
			prints[n], locations[n] = print, loc
			if n++; n == prefetch.Batch {
				more = yieldAll()
			}
			return more
		})
		if more {
			yieldAll()
		}
	}
}

// keyAt copies the key of the record at a location; where the record has moved or
// expired, or can no longer be read, that of the place where the index has it now.
func (w *walk) keyAt(print index.Fingerprint, loc index.Location) (key []byte, ok bool) {
	for {
		l := w.set()
		key, expired, err := w.copyKey(l, loc)
		if err == errRetired {
			continue // there is another set by now
		}
		if err == nil && !expired && w.store.hasher.Hash(key) == print.Hash {
			return key, true
		}
		now := l.Keys.Get(print)
		if now == index.NoLocation || now == loc {
			return nil, false
		}
		loc = now
	}
}

func (w *walk) copyKey(l *catalog.FileSet, loc index.Location) (key []byte, expired bool, err error) {
	f := found{store: w.store, walk: w}
	old := guard.Enter()
	defer func() { f.leave(old, recover(), &err) }()
	if err := f.load(l, loc); err != nil {
		return nil, false, err
	}
	return append([]byte{}, f.record.Key...), w.store.expired(&f.record), nil
}

// Range calls fn with the live pairs in the order of the files, without copying
// them; both slices can be read until fn returns and must not be written. It ends
// with the first error of fn, which it returns, and with the first damage, an
// error that wraps ErrCorrupt. A pair that is there throughout comes exactly once,
// also when compaction moves it. A pair that is overwritten meanwhile comes once with
// a value from before Range was called, or not at all: what is written meanwhile, by
// fn for instance, does not come. When the store is closed meanwhile Range runs on to
// its end.
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

// ranging is one Range. It shows what of the log lies behind a sequence number and up
// to another one, which the index had reached: had it not, a key could come with what
// the index had, and again with what it was about to have. It goes from file to file by
// the number that it has reached, for compaction may put other files in the place of
// those that are still to come.
type ranging struct {
	*walk
	fn          func(key, value []byte) error
	after, upTo uint64
	sparse      map[*catalog.File][]int64 // where the live records lie of files that are mostly garbage
}

// nextFile shows the live records of one file, and says whether there may be more.
func (r *ranging) nextFile() (more bool, err error) {
	f, done := r.next(r.after)
	if f == nil {
		return false, nil
	}
	defer done()
	// Behind a file that gets more records nothing is as old as upTo.
	end, ended := r.store.catalog.Files.IsEnded(f)
	if offsets, ok := r.sparse[f]; ok {
		err = r.showSome(f, offsets)
	} else {
		err = r.showAll(f)
	}
	r.after = max(r.after, end.Seq)
	return ended && r.after < r.upTo, err
}

// showSome shows the live ones of the records at the offsets.
func (r *ranging) showSome(f *catalog.File, offsets []int64) error {
	for _, offset := range offsets {
		if _, err := r.showRecord(f, offset, 0); err != nil {
			return err
		}
	}
	return nil
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

// prefetchIndex asks for the memory of what the index has for the records from an
// offset on, for many of them together, and returns where they end. Damage is left
// to those who come after it.
func (r *ranging) prefetchIndex(f *catalog.File, offset int64) (end int64) {
	if f.Memory() == nil || f.Cold.Load() {
		return f.Limit()
	}
	l := r.set()
	in := found{store: r.store, walk: r.walk, file: f}
	var err error
	old := guard.Enter()
	defer func() { in.leave(old, recover(), &err) }()
	end = offset
	var lines [prefetch.Batch]unsafe.Pointer
	n := 0
	for ; n < prefetch.Batch && end < f.Limit() && in.loadAt(end, -1) == nil; n++ {
		candidates := l.Keys.Find(r.store.hasher.Hash(in.record.Key))
		lines[n] = candidates.Memory()
		end += in.record.Size
	}
	prefetch.Lines(lines[:n])
	return max(end, offset+1)
}

// isLive says whether the index points to the record in hand, which lies at the
// offset of its file, or to what compaction has made of it.
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

// newest is the sequence number of the key's record.
func (w *walk) newest(key []byte) (seq uint64, err error) {
	f := found{walk: w}
	old := guard.Enter()
	defer func() { f.leave(old, recover(), &err) }()
	if err := w.store.lookup(key, &f, false); err != nil {
		return 0, err
	}
	return f.record.Seq, nil
}

// showRecord shows the record at an offset, if it is live and in the interval, and
// returns where the next one is, -1 if that lies behind the interval. The file was
// populated up to ahead.
func (r *ranging) showRecord(f *catalog.File, offset, ahead int64) (next int64, err error) {
	s := r.store
	in := found{store: s, walk: r.walk, file: f, whole: true, ahead: ahead}
	old := guard.Enter()
	defer func() { in.leave(old, recover(), &err) }()
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
