package hints

import (
	"errors"
	"io"
	"slices"
	"sync/atomic"
	"unsafe"

	"github.com/mmapkv/mmapkv/internal/errno"
	"github.com/mmapkv/mmapkv/internal/guard"
	"github.com/mmapkv/mmapkv/internal/prefetch"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/mmapkv/internal/patient"
	"github.com/mmapkv/mmapkv/segment"
)

// OpenMapped is Open for a hint that stays open and is read in part, again and again. Once it has been
// read often, it is mapped: a scan of few keys, in a store of many, costs neither memory nor the time
// to bring it in. Every read copies from the mapping, under the fault guard: what is checked afterwards is
// what is used. A page that cannot be read is an error.
func (h *Hints) OpenMapped(f *catalog.File, end segment.End, pause func()) (*Hint, error) {
	from, size, err := patient.OpenBounded(h.catalog.Dir, segment.HintName(f.ID), segment.MaxHintSize(end.Offset))
	if err != nil {
		return nil, err
	}
	m := &mapped{file: from, size: size, of: f}
	table, err := segment.OpenTable(m, size, f.ID, f.Salt, pause)
	if err == nil && table.Covers != end {
		err = segment.ErrHint
	}
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	m.reads.Store(0) // those so far have opened it
	return &Hint{table, m}, nil
}

// Remake makes the hint of a file that has ended from its records, in memory. It publishes nothing,
// so it may be called while the file is being compacted or after the store was closed.
func (h *Hints) Remake(f *catalog.File, end segment.End, pause func()) (*Hint, error) {
	builder, err := h.build(f, end, pause)
	if err != nil {
		return nil, err
	}
	table, err := segment.OpenTableIn(builder.Encode(f.ID, f.Salt, end, end.Seq), f.ID, f.Salt, pause)
	return &Hint{Table: table}, err
}

// Knows reports whether the present hint of a file, such as one that Close wrote, has a record that
// lies in one of the ranges of the file and before end.
func (h *Hints) Knows(f *catalog.File, end int64, ranges []segment.Damage) (bool, error) {
	from, size, err := patient.OpenBounded(h.catalog.Dir, segment.HintName(f.ID), segment.MaxHintSize(end))
	if err != nil {
		if errno.Scarce(err) {
			return false, err
		}
		return false, nil
	}
	defer from.Close()
	table, err := segment.OpenTable(from, size, f.ID, f.Salt, nil)
	if err != nil {
		return false, nil
	}
	for e, err := range table.Entries() {
		if err != nil || e.Offset+e.Size > end {
			continue
		}
		if slices.ContainsFunc(ranges, func(d segment.Damage) bool {
			return e.Offset < d.Offset+d.Length && d.Offset < e.Offset+e.Size
		}) {
			return true, nil
		}
	}
	return false, nil
}

// mapped reads a hint by system calls, and from a mapping once it has been read often and is not cold.
type mapped struct {
	file   vfs.File
	size   int64
	of     *catalog.File // tells whether the segment is cold; its hint is then taken for cold as well
	reads  atomic.Int64  // by system calls, while the segment was not cold
	memory atomic.Pointer[mapping]
}

// mapping is what a hint is read from once it is mapped.
type mapping struct {
	vfs.Mapping
	bytes []byte
}

// mapAfter is how many reads make a hint worth mapping.
const mapAfter = 64

// mappedBytes returns what the hint is read from, nil while it is read by system calls. The reader that
// makes the hint worth mapping maps it. If that fails, nobody tries again.
func (m *mapped) mappedBytes() []byte {
	if m.of.Cold.Load() {
		return nil
	}
	if there := m.memory.Load(); there != nil {
		return there.bytes
	}
	if m.reads.Add(1) != mapAfter {
		return nil
	}
	made, err := m.file.Map(m.size)
	if err != nil {
		return nil
	}
	there := &mapping{made, made.Bytes()[:m.size:m.size]}
	vfs.Populate(made, 0, m.size)
	m.memory.Store(there)
	return there.bytes
}

// errFault says that a page of a mapped hint cannot be read.
var errFault = errors.New("mmapkv: a page of the hint cannot be read")

// ReadAt implements io.ReaderAt.
func (m *mapped) ReadAt(b []byte, at int64) (n int, err error) {
	memory := m.mappedBytes()
	if memory == nil {
		return m.file.ReadAt(b, at)
	}
	if at < 0 || at >= int64(len(memory)) {
		return 0, io.EOF
	}
	old := guard.Enter()
	defer func() {
		guard.Leave(old)
		if r := recover(); r != nil {
			if _, fault := guard.Inside(r, memory); !fault {
				panic(r)
			}
			n, err = 0, errFault
		}
	}()
	if n = copy(b, memory[at:]); n < len(b) {
		err = io.EOF
	}
	return n, err
}

// Prefetch requests the bytes [from, to) of the hint from the processor's memory, and does not wait
// for them. It does nothing if the hint is not mapped.
func (h *Hint) Prefetch(from, to int64) {
	m, ok := h.from.(*mapped)
	if !ok || m.of.Cold.Load() {
		return
	}
	there := m.memory.Load()
	if there == nil {
		return
	}
	var lines [maxPrefetched]unsafe.Pointer
	n := 0
	for at := from; at < min(to, int64(len(there.bytes))) && n < len(lines); at += cacheLine {
		lines[n] = unsafe.Pointer(&there.bytes[at])
		n++
	}
	prefetch.Lines(lines[:n])
}

const (
	cacheLine     = 64 // bytes
	maxPrefetched = 32 // lines; most parts are shorter
)

// Close unmaps and closes the hint.
func (m *mapped) Close() error {
	if there := m.memory.Load(); there != nil {
		return errors.Join(there.Unmap(), m.file.Close())
	}
	return m.file.Close()
}
