package mmapkv

import (
	"errors"
	"iter"
	"unsafe"

	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/internal/guard"
	"github.com/mmapkv/mmapkv/internal/prefetch"
	"github.com/mmapkv/mmapkv/segment"
)

// Keys yields a copy of every key, in no order. A key that is there throughout
// comes exactly once; one that is written or deleted meanwhile may come. Keys
// whose record's header is damaged cannot be told and are left out; Range and
// Stats().Recovery report damage. After Close there are none.
func (s *Store) Keys() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		l := s.live.Load()
		if l == nil {
			return
		}
		var prints [manyAtOnce]index.Fingerprint
		var locations [manyAtOnce]index.Location
		n := 0
		yieldAll := func() bool {
			prefetchRecords(l, locations[:n])
			for i := range n {
				if key, ok := s.keyAt(prints[i], locations[i]); ok && !yield(key) {
					return false
				}
			}
			n = 0
			return true
		}
		more := true
		l.keys.Range(func(print index.Fingerprint, loc index.Location) bool {
			prints[n], locations[n] = print, loc
			if n++; n == manyAtOnce {
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
func (s *Store) keyAt(print index.Fingerprint, loc index.Location) (key []byte, ok bool) {
	for {
		l := s.live.Load()
		if l == nil {
			return nil, false
		}
		key, expired, err := s.copyKey(l, loc)
		if err == nil && !expired && s.hasher.Hash(key) == print.Hash {
			return key, true
		}
		now := l.keys.Get(print)
		if now == index.NoLocation || now == loc {
			return nil, false
		}
		loc = now
	}
}

func (s *Store) copyKey(l *live, loc index.Location) (key []byte, expired bool, err error) {
	f := found{store: s}
	old := guard.Enter()
	defer func() { f.leave(old, recover(), &err) }()
	if err := f.load(l, loc); err != nil {
		return nil, false, err
	}
	return append([]byte{}, f.record.Key...), s.expired(&f.record), nil
}

// Range calls fn with the live pairs in the order of the files, without copying
// them; both slices can be read until fn returns and must not be written. It ends
// with the first error of fn, which it returns, and with the first damage, an
// error that wraps ErrCorrupt. A pair that is there throughout comes exactly once,
// also when compaction moves it. A pair that is overwritten meanwhile may come with
// either value, with both, or, overwritten again and again, not at all.
func (s *Store) Range(fn func(key, value []byte) error) error {
	l := s.live.Load()
	if l == nil {
		return ErrClosed
	}
	for _, f := range l.order {
		if err := s.rangeFile(f, fn); err != nil {
			return err
		}
	}
	return nil
}

// rangeFile shows the live records of one file.
func (s *Store) rangeFile(f *file, fn func(key, value []byte) error) error {
	var prefetched, ahead int64
	for offset := f.dataStart; offset < f.Limit(); {
		if offset >= prefetched {
			prefetched = s.prefetchIndex(f, offset)
		}
		if limit := f.Limit(); f.cold.Load() && ahead < min(offset+headBytes, limit) {
			ahead = min(offset+walkBytes, limit)
			f.Populate(offset, ahead)
		}
		next, err := s.rangeRecord(f, offset, ahead, fn)
		if err != nil {
			return err
		}
		offset = next
	}
	return nil
}

// prefetchIndex asks for the memory of what the index has for the records from an
// offset on, for many of them together, and returns where they end. Damage is left
// to those who come after it.
func (s *Store) prefetchIndex(f *file, offset int64) (end int64) {
	l := s.live.Load()
	if l == nil || f.Memory() == nil || f.cold.Load() {
		return f.Limit()
	}
	in := found{store: s, file: f}
	var err error
	old := guard.Enter()
	defer func() { in.leave(old, recover(), &err) }()
	end = offset
	var lines [manyAtOnce]unsafe.Pointer
	n := 0
	for ; n < manyAtOnce && end < f.Limit() && in.loadAt(end, -1) == nil; n++ {
		candidates := l.keys.Find(s.hasher.Hash(in.record.Key))
		lines[n] = candidates.Memory()
		end += in.record.Size
	}
	prefetch.Lines(lines[:n])
	return max(end, offset+1)
}

// isLive says whether the index points to the record in hand, which lies at the
// offset of its file, or to what compaction has made of it.
func (s *Store) isLive(l *live, in *found, offset int64) (bool, error) {
	hash := s.hasher.Hash(in.record.Key)
	if !in.file.dropped.Load() {
		if pointsTo(l, hash, index.MakeLocation(in.file.slot, offset, in.record.Size)) {
			return true, nil
		}
		if !in.file.dropped.Load() {
			return false, nil
		}
	}
	seq, err := s.newest(in.record.Key)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil && seq == in.record.Seq, err
}

// newest is the sequence number of the key's record.
func (s *Store) newest(key []byte) (seq uint64, err error) {
	var f found
	old := guard.Enter()
	defer func() { f.leave(old, recover(), &err) }()
	if err := s.lookup(key, &f, false); err != nil {
		return 0, err
	}
	return f.record.Seq, nil
}

// rangeRecord shows the record at an offset, if it is live, and returns where the
// next one is. The file was populated up to ahead.
func (s *Store) rangeRecord(f *file, offset, ahead int64, fn func(key, value []byte) error) (next int64, err error) {
	in := found{store: s, file: f, whole: true, ahead: ahead}
	old := guard.Enter()
	defer func() { in.leave(old, recover(), &err) }()
	l := s.live.Load()
	if l == nil {
		return 0, ErrClosed
	}
	if err := in.loadAt(offset, -1); err != nil {
		return 0, err
	}
	r := &in.record
	next = offset + r.Size
	if r.Flags&segment.Tombstone != 0 || s.expired(r) {
		return next, nil
	}
	if live, err := s.isLive(l, &in, offset); !live {
		return next, err
	}
	if !s.options.SkipReadChecksum && !r.ValueOK() {
		return 0, f.corrupt(offset, "the value does not match its checksum")
	}
	in.shown = true
	return next, fn(r.Key[:len(r.Key):len(r.Key)], r.Value[:len(r.Value):len(r.Value)])
}
