package order

import (
	"bytes"
	"slices"
	"unsafe"

	"github.com/mmapkv/mmapkv/internal/prefetch"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/segment"
)

// sortedRun is a run of sorted records of a file, of which those above a number do not count.
type sortedRun struct {
	heads  heads
	number uint32 // of the source in its plan
	places []place
	fences *fences
	seq    uint64
	i      int    // the record that it stands at
	last   []byte // its key, while others are read
	sought sought

	sieving bool // gather passes over records without a mark; see sieve.go
}

// reset makes it the run of sorted records of a file.
func (r *sortedRun) reset(file *catalog.File, number uint32, of *sorted, seq uint64) {
	r.forget()
	r.heads.file, r.number, r.places, r.fences, r.seq = file, number, of.places, &of.fences, seq
}

// forget keeps nothing but some memory, to be used again.
func (r *sortedRun) forget() {
	key, last := r.heads.key[:0], r.last[:0]
	if cap(key)+cap(last) > keptRunKeys {
		key, last = nil, nil
	}
	*r = sortedRun{heads: heads{key: key}, last: last}
}

// keptRunKeys is how much memory for keys a run keeps that is not used, in bytes.
const keptRunKeys = 4 << 10

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

func (r *sortedRun) prepare(key []byte, wave int) {
	switch wave {
	case 0:
		from, to := r.fences.candidates(key, len(r.places))
		r.sought = sought{from, to, true}
		if from < to {
			prefetch.Line(unsafe.Pointer(&r.places[from]))
			prefetch.Line(unsafe.Pointer(&r.places[min(to, len(r.places)-1)]))
		}
	case 1:
		if from, to := r.sought.from, r.sought.to; to-from <= fenceKeys {
			r.heads.prefetch(r.places[from:min(to+1, len(r.places))])
		}
	}
}

func (r *sortedRun) seekGE(key []byte) (ok bool, err error) {
	err = r.heads.within(func() error {
		i, err := r.find(key)
		if err == nil {
			ok, err = r.settle(i)
		}
		return err
	})
	return ok, err
}

// find returns the first record whose key is not below the given one. It begins where that lies if the
// keys lie evenly, and goes on from there in steps that grow.
func (r *sortedRun) find(key []byte) (int, error) {
	from, to, known := r.sought.take()
	if !known {
		from, to = r.fences.candidates(key, len(r.places))
	}
	i := r.fences.likely(key, from, to)
	for step := 1; from < to; step *= 2 {
		if i < from || i >= to || step > fenceKeys/4 {
			i = int(uint(from+to) / 2)
		}
		if err := r.heads.read(r.places[i]); err != nil {
			return 0, err
		}
		if bytes.Compare(r.heads.key, key) < 0 {
			from = i + 1
			i += step
		} else {
			to = i
			i -= step
		}
	}
	return to, nil
}

// settle moves to the first record that counts, from the i-th on, where a key begins.
func (r *sortedRun) settle(i int) (bool, error) {
	for i < len(r.places) {
		if err := r.heads.read(r.places[i]); err != nil {
			return false, err
		}
		if r.heads.record.Seq <= r.seq {
			r.i = i
			return true, nil
		}
		r.last = append(r.last[:0], r.heads.key...)
		end, err := r.endOf(i)
		if err != nil {
			return false, err
		}
		if ok, err := r.newest(i, end); ok || err != nil {
			return ok, err
		}
		i = end
	}
	return false, nil
}

// newest moves to the first of the records [from, to) that counts. They are of one key, the newest
// first.
func (r *sortedRun) newest(from, to int) (bool, error) {
	i, err := r.search(from, to, func() bool { return r.heads.record.Seq <= r.seq })
	if err != nil || i == to {
		return false, err
	}
	r.i = i
	return true, r.heads.read(r.places[i])
}

// endOf is where the records end that have the key last. The i-th one has it.
func (r *sortedRun) endOf(i int) (int, error) {
	from, to := i+1, min(i+2, len(r.places))
	for ; to > from; to = min(to+to-i, len(r.places)) {
		if err := r.heads.read(r.places[to-1]); err != nil {
			return 0, err
		}
		if !bytes.Equal(r.heads.key, r.last) {
			break
		}
		from = to
	}
	return r.search(from, to, func() bool { return !bytes.Equal(r.heads.key, r.last) })
}

// startOf is where the records begin that have the key last. The i-th one has it.
func (r *sortedRun) startOf(i int) (int, error) {
	from, to := max(i-1, 0), i
	for ; from < to; from = max(from-(i-from), 0) {
		if err := r.heads.read(r.places[from]); err != nil {
			return 0, err
		}
		if !bytes.Equal(r.heads.key, r.last) {
			break
		}
		to = from
	}
	return r.search(from, to, func() bool { return bytes.Equal(r.heads.key, r.last) })
}

// search returns the first of the records [from, to) that is found to be so, as all behind it are; to
// if none is.
func (r *sortedRun) search(from, to int, isSo func() bool) (int, error) {
	for from < to {
		middle := int(uint(from+to) / 2)
		if err := r.heads.read(r.places[middle]); err != nil {
			return 0, err
		}
		if isSo() {
			to = middle
		} else {
			from = middle + 1
		}
	}
	return to, nil
}

func (r *sortedRun) next() (bool, error) {
	r.last = append(r.last[:0], r.heads.key...)
	i := r.i + 1
	if i == len(r.places) {
		return false, nil
	}
	if err := r.heads.read(r.places[i]); err != nil {
		return false, err
	}
	if bytes.Equal(r.heads.key, r.last) {
		var err error
		if i, err = r.endOf(i); err != nil {
			return false, err
		}
	}
	return r.settle(i)
}

func (r *sortedRun) seekLast() (bool, error) { return r.before(len(r.places)) }

func (r *sortedRun) prev() (bool, error) {
	r.last = append(r.last[:0], r.heads.key...)
	start, err := r.startOf(r.i)
	if err != nil {
		return false, err
	}
	return r.before(start)
}

// before moves to the newest record that counts of the last key before the i-th record, where
// another key begins.
func (r *sortedRun) before(i int) (bool, error) {
	for i > 0 {
		if err := r.heads.read(r.places[i-1]); err != nil {
			return false, err
		}
		r.last = append(r.last[:0], r.heads.key...)
		start, err := r.startOf(i - 1)
		if err != nil {
			return false, err
		}
		if ok, err := r.newest(start, i); ok || err != nil {
			return ok, err
		}
		i = start
	}
	return false, nil
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
			switch {
			case r.sieving:
				stands, err = r.pass(heading)
			case heading == forward:
				stands, err = r.next()
			default:
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
	b.addPiece(from, r.number)
	return more, stands, nil
}
