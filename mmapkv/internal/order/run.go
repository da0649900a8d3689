package order

import (
	"bytes"
	"encoding/binary"
	"errors"
	"sort"

	"github.com/mmapkv/mmapkv/mmapkv/internal/hints"
	"github.com/mmapkv/mmapkv/segment"
)

// errFault says that a page cannot be read.
var errFault = errors.New("the page cannot be read")

// run is one sorted list of keys that a Cursor merges. It has each key once, with its newest record
// in the run, tombstones too. Every move says whether there is an entry; after one that returned
// false, only a seek moves again. One goroutine uses it.
type run interface {
	seekGE(key []byte) (bool, error) // the first key that is not below
	seekLast() (bool, error)
	next() (bool, error)
	prev() (bool, error)
	key() []byte // valid until the next move
	entry(e *Entry)
}

// keyPrefix is the first 8 bytes of a key as a number that sorts like them. Zeros stand for missing
// bytes.
func keyPrefix(key []byte) uint64 {
	if len(key) >= 8 {
		return binary.BigEndian.Uint64(key)
	}
	var first [8]byte
	copy(first[:], key)
	return binary.BigEndian.Uint64(first[:])
}

// tableRun is the table of a file.
type tableRun struct {
	source *source
	hints  *hints.Hints
	table  *hints.Hint
	cursor *segment.Cursor
	at     segment.HintEntry
	last   []byte // the key that it stood at before the move
	stood  bool   // there was one
}

func (r *tableRun) key() []byte { return r.at.Key }

func (r *tableRun) entry(e *Entry) {
	*e = Entry{e.Key, r.source.file, r.at.Offset, r.at.Size, r.at.Seq, r.at.Flags, r.at.Expiry}
}

// moved ends a move. If the table is damaged, again makes the move in a table made anew.
func (r *tableRun) moved(ok bool, again func() bool) (bool, error) {
	for !ok {
		err := r.cursor.Err()
		if err == nil {
			r.stood = false
			return false, nil
		}
		table, err := r.source.openTable(r.hints, r.table)
		if err != nil {
			return false, err
		}
		if table == r.table {
			return false, r.source.failed(0, r.cursor.Err())
		}
		r.table, r.cursor = table, table.Cursor()
		ok = again()
	}
	r.at = r.cursor.Entry()
	r.last, r.stood = append(r.last[:0], r.at.Key...), true
	return true, nil
}

func (r *tableRun) seekGE(key []byte) (bool, error) {
	seek := func() bool { return r.cursor.Seek(key) }
	return r.moved(seek(), seek)
}

func (r *tableRun) seekLast() (bool, error) {
	return r.moved(r.cursor.Last(), func() bool { return r.cursor.Last() })
}

func (r *tableRun) next() (bool, error) {
	return r.moved(r.cursor.Next(), func() bool {
		ok := r.cursor.Seek(r.last)
		if ok && bytes.Equal(r.cursor.Entry().Key, r.last) {
			ok = r.cursor.Next()
		}
		return ok
	})
}

func (r *tableRun) prev() (bool, error) {
	return r.moved(r.cursor.Prev(), func() bool {
		if r.cursor.Seek(r.last) {
			return r.cursor.Prev()
		}
		return r.cursor.Err() == nil && r.cursor.Last()
	})
}

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
	record := &r.heads.record
	*e = Entry{e.Key, r.heads.file, int64(r.places[r.i]) * segment.Alignment, record.Size, record.Seq, record.Flags & segment.HintFlags, record.Expiry}
}

func (r *sortedRun) seekGE(key []byte) (ok bool, err error) {
	i := sort.Search(len(r.places), func(i int) bool {
		if err != nil {
			return true
		}
		err = r.heads.read(r.places[i])
		return err != nil || bytes.Compare(r.heads.key, key) >= 0
	})
	if err != nil {
		return false, err
	}
	return r.settle(i)
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
