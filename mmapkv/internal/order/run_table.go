package order

import (
	"bytes"

	"github.com/mmapkv/mmapkv/internal/errno"
	"github.com/mmapkv/mmapkv/mmapkv/internal/hints"
	"github.com/mmapkv/mmapkv/segment"
)

// tableRun is the table of a file.
type tableRun struct {
	source *source
	number uint32 // of the source in its plan
	hints  *hints.Hints
	table  *hints.Hint
	cursor *segment.Cursor
	at     segment.HintEntry
	last   []byte // the key that it stood at before the present move
}

func (r *tableRun) key() []byte { return r.at.Key }

func (r *tableRun) entry(e *Entry) { *e = Entry{r.at, r.source.file} }

// moved ends a move. If the table is damaged, again makes the move in a table made anew.
func (r *tableRun) moved(ok bool, again func() bool) (bool, error) {
	for !ok && r.cursor.Err() != nil {
		if err := r.renew(); err != nil {
			return false, err
		}
		ok = again()
	}
	if ok {
		r.at = r.cursor.Entry()
	}
	return ok, nil
}

// renew replaces the table, which is damaged, by one made anew from the records. The cursor then
// stands nowhere.
func (r *tableRun) renew() error {
	cause := r.cursor.Err()
	if errno.Scarce(cause) {
		return cause
	}
	table, err := r.source.openTable(r.hints, r.table)
	if err != nil {
		return err
	}
	r.table, r.cursor = table, table.Table.Cursor()
	return nil
}

func (r *tableRun) prepare(key []byte, wave int) {
	if wave == 0 {
		r.table.Prefetch(r.cursor.Likely(key))
	}
}

func (r *tableRun) seekGE(key []byte) (bool, error) {
	return r.moved(r.cursor.Seek(key), func() bool { return r.cursor.Seek(key) })
}

func (r *tableRun) seekLast() (bool, error) {
	return r.moved(r.cursor.Last(), func() bool { return r.cursor.Last() })
}

func (r *tableRun) next() (bool, error) {
	r.last = append(r.last[:0], r.at.Key...)
	return r.moved(r.cursor.Next(), func() bool {
		ok := r.cursor.Seek(r.last)
		if ok && bytes.Equal(r.cursor.Entry().Key, r.last) {
			ok = r.cursor.Next()
		}
		return ok
	})
}

func (r *tableRun) prev() (bool, error) {
	r.last = append(r.last[:0], r.at.Key...)
	return r.moved(r.cursor.Prev(), func() bool {
		if r.cursor.Seek(r.last) {
			return r.cursor.Prev()
		}
		return r.cursor.Err() == nil && r.cursor.Last()
	})
}

func (r *tableRun) ahead(dst []byte, n int, heading heading) ([]byte, bool) {
	if heading == backward {
		n = -n
	}
	return r.cursor.AppendAhead(dst, n)
}

func (r *tableRun) gather(b *block, split []byte, heading heading) (more, stands bool, err error) {
	r.last = append(r.last[:0], r.at.Key...)
	from := len(b.batch.Entries)
	index := 0
	if b.indexed {
		index = r.cursor.Index()
	}
	if heading == forward {
		more = r.cursor.Gather(&b.batch, split)
	} else {
		more = r.cursor.GatherBack(&b.batch, split)
	}
	for r.cursor.Err() != nil {
		// Nothing of this piece is kept, and the run goes back to where the piece began.
		b.batch.Entries = b.batch.Entries[:from]
		if err := r.renew(); err != nil {
			return false, false, err
		}
		more = r.cursor.Seek(r.last)
	}
	b.addPiece(from, r.number)
	if b.indexed {
		for len(b.indexes) < len(b.batch.Entries) {
			b.indexes = append(b.indexes, uint32(index))
			index++
		}
	}
	r.at = r.cursor.Entry()
	return more, r.cursor.Valid(), nil
}
