package order

import (
	"unsafe"

	"github.com/mmapkv/mmapkv/internal/guard"
	"github.com/mmapkv/mmapkv/internal/prefetch"
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

	at  place // where the last record is
	has bool  // there was one

	guarded bool // within runs
}

// headAhead is how much is read to get the head of one record by a system call, in bytes.
const headAhead = 256

// isMapped reports whether the heads can be read where they lie.
func (h *heads) isMapped() bool { return h.file.Memory() != nil && !h.file.Cold.Load() }

// read reads the head of the record at a place, and checks it. Its key is valid until the next call.
func (h *heads) read(at place) error {
	if !h.guarded && h.isMapped() {
		return h.within(func() error { return h.read(at) })
	}
	if h.has && h.at == at {
		return nil
	}
	h.has = false
	offset := int64(at) * segment.Alignment
	var err error
	if h.guarded {
		if err = h.file.Record(&h.record, offset, -1); err == nil {
			h.keep(&h.record)
		}
	} else {
		err = h.walk(offset)
	}
	if err != nil {
		return failed(h.file, offset, err)
	}
	h.at, h.has = at, true
	return nil
}

// within calls fn, which reads many heads, under one fault guard.
func (h *heads) within(fn func() error) (err error) {
	if h.guarded || !h.isMapped() {
		return fn()
	}
	h.guarded = true
	old := guard.Enter()
	defer func() {
		guard.Leave(old)
		h.guarded = false
		if r := recover(); r != nil {
			offset, fault := guard.Inside(r, h.file.Memory())
			if !fault {
				panic(r)
			}
			err = failed(h.file, offset, errFault)
		}
	}()
	return fn()
}

// prefetch requests the memory of some records' heads, so that reading them waits only once.
func (h *heads) prefetch(places []place) {
	if !h.isMapped() {
		return
	}
	var lines [2 * prefetchedHeads]unsafe.Pointer
	memory, n := h.file.Memory(), 0
	for _, at := range places[:min(len(places), prefetchedHeads)] {
		offset := int64(at) * segment.Alignment
		if offset+headLines > int64(len(memory)) {
			continue
		}
		lines[n] = unsafe.Pointer(&memory[offset])
		lines[n+1] = unsafe.Pointer(&memory[offset+headLines-1])
		n += 2
	}
	prefetch.Lines(lines[:n])
}

const (
	prefetchedHeads = 64
	headLines       = 64 // how much of a head is requested, in bytes
)

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
