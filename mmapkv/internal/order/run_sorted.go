package order

import (
	"bytes"
	"slices"
	"sort"

	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/segment"
)

// sortedRun is a run of sorted records of a file, of which those above a number do not count.
type sortedRun struct {
	heads  heads
	places []place
	seq    uint64
	i      int    // the record that it stands at
	last   []byte // its key, while others are read
}

func (r *sortedRun) key() []byte { return r.heads.key }

func (r *sortedRun) entry(e *Entry) {
	*e = Entry{r.hintEntry(), r.heads.file}
}

// hintEntry is the entry that a table would have for the record.
func (r *sortedRun) hintEntry() segment.HintEntry {
	record := &r.heads.record
	return segment.HintEntry{Key: r.heads.key, Offset: int64(r.places[r.i]) * segment.Alignment, Size: record.Size,
		Seq: record.Seq, Flags: record.Flags & segment.HintFlags, Expiry: record.Expiry}
}

func (r *sortedRun) file() *catalog.File { return r.heads.file }

func (r *sortedRun) prepare([]byte) {}

func (r *sortedRun) seekGE(key []byte) (ok bool, err error) {
	err = r.heads.within(func() (err error) {
		i := sort.Search(len(r.places), func(i int) bool {
			if err != nil {
				return true
			}
			err = r.heads.read(r.places[i])
			return err != nil || bytes.Compare(r.heads.key, key) >= 0
		})
		if err == nil {
			ok, err = r.settle(i)
		}
		return err
	})
	return ok, err
}

// settle moves to the first record that counts, from the i-th on.
func (r *sortedRun) settle(i int) (bool, error) {
	for ; i < len(r.places); i++ {
		if err := r.heads.read(r.places[i]); err != nil {
			return false, err
		}
		if r.heads.record.Seq <= r.seq {
			r.i = i
			return true, nil
		}
	}
	return false, nil
}

func (r *sortedRun) next() (bool, error) {
	r.last = append(r.last[:0], r.heads.key...)
	for i := r.i + 1; i < len(r.places); i++ {
		if err := r.heads.read(r.places[i]); err != nil {
			return false, err
		}
		if !bytes.Equal(r.heads.key, r.last) {
			return r.settle(i)
		}
	}
	return false, nil
}

func (r *sortedRun) seekLast() (bool, error) { return r.before(len(r.places)) }

func (r *sortedRun) prev() (bool, error) {
	r.last = append(r.last[:0], r.heads.key...)
	for i := r.i - 1; i >= 0; i-- {
		if err := r.heads.read(r.places[i]); err != nil {
			return false, err
		}
		if !bytes.Equal(r.heads.key, r.last) {
			return r.before(i + 1)
		}
	}
	return false, nil
}

// before moves to the newest record that counts of the last key before the i-th record, where
// another key begins.
func (r *sortedRun) before(i int) (bool, error) {
	found := -1
	for i--; i >= 0; i-- {
		if err := r.heads.read(r.places[i]); err != nil {
			return false, err
		}
		if found >= 0 && !bytes.Equal(r.heads.key, r.last) {
			break
		}
		if r.heads.record.Seq <= r.seq {
			found = i
			r.last = append(r.last[:0], r.heads.key...)
		}
	}
	if found < 0 {
		return false, nil
	}
	r.i = found
	if err := r.heads.read(r.places[found]); err != nil {
		return false, err
	}
	return true, nil
}

func (r *sortedRun) ahead(dst []byte, n int, heading heading) ([]byte, bool) {
	if heading == backward {
		n = -n
	}
	if n += r.i; n < 0 || n >= len(r.places) {
		return dst, false
	}
	other := heads{file: r.heads.file, key: dst}
	if other.read(r.places[n]) != nil {
		return dst, false // who comes to the record will say so
	}
	return other.key, true
}

func (r *sortedRun) gather(b *block, split []byte, heading heading) (more, stands bool, err error) {
	from := len(b.batch.Entries)
	if heading == forward {
		r.heads.prefetch(r.places[r.i:])
	} else {
		r.heads.prefetch(r.places[max(0, r.i+1-prefetchedHeads) : r.i+1])
	}
	err = r.heads.within(func() (err error) {
		for stands = true; stands && err == nil && len(b.batch.Entries)-from < maxPiece; {
			if split != nil && bytes.Compare(r.key(), split) < 0 != (heading == forward) {
				return nil
			}
			b.batch.Add(r.hintEntry())
			if heading == forward {
				stands, err = r.next()
			} else {
				stands, err = r.prev()
			}
		}
		return err
	})
	if err != nil {
		return false, false, err
	}
	more = stands && len(b.batch.Entries)-from == maxPiece
	if heading == backward {
		slices.Reverse(b.batch.Entries[from:])
	}
	b.addPiece(from)
	return more, stands, nil
}
