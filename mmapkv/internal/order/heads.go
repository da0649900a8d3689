package order

import (
	"github.com/mmapkv/mmapkv/internal/guard"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/segment"
)

// place is where a record begins in its file, in units of segment.Alignment.
type place = uint32

// heads reads the heads of records: everything but their values. One goroutine uses it.
type heads struct {
	file   *catalog.File
	record segment.Record // the last one, without its value
	key    []byte         // its key, in memory of its own
	walker segment.HeadWalker
	walks  bool
}

// headAhead is how much is read to get the head of one record by a system call, in bytes.
const headAhead = 256

// read reads the head of the record at a place, and checks it. Its key is valid until the next call.
func (h *heads) read(at place) error {
	offset := int64(at) * segment.Alignment
	var err error
	if h.file.Memory() != nil && !h.file.Cold.Load() {
		err = h.decode(offset)
	} else {
		err = h.walk(offset)
	}
	if err != nil {
		return failed(h.file, offset, err)
	}
	return nil
}

// decode decodes the head from the file's memory.
func (h *heads) decode(offset int64) (err error) {
	old := guard.Enter()
	defer func() {
		guard.Leave(old)
		if r := recover(); r != nil {
			if _, fault := guard.Inside(r, h.file.Memory()); !fault {
				panic(r)
			}
			err = errFault
		}
	}()
	if err := h.file.Record(&h.record, offset, -1); err != nil {
		return err
	}
	h.keep(&h.record)
	return nil
}

// walk reads the head by a system call.
func (h *heads) walk(offset int64) error {
	if !h.walks {
		h.walks = true
		h.walker.Reset(h.file.Handle(), h.file.Salt, h.file.Limit())
	}
	_, err := h.walker.Walk(offset, offset+1, offset+headAhead, func(_ int64, r *segment.Record) {
		h.record = *r
		h.keep(r)
	})
	return err
}

// keep copies the key, and forgets the value.
func (h *heads) keep(r *segment.Record) {
	h.key = append(h.key[:0], r.Key...)
	h.record.Key, h.record.Value = h.key, nil
}
