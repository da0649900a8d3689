package order

import (
	"errors"
	"sync/atomic"

	"github.com/mmapkv/mmapkv/internal/errno"
	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/mmapkv/internal/hints"
	"github.com/mmapkv/mmapkv/segment"
)

// source is a file as scans see it. It keeps the file's table, or its sorted records, until the
// file is retired and no State has it.
type source struct {
	file      *catalog.File
	plans     int  // that have it; Order.mu guards it
	forgotten bool // the file is retired; Order.mu guards it

	end atomic.Pointer[segment.End] // once the file is sealed

	// sorting is held while the table is opened or records are sorted. It guards replaced.
	sorting  rank.Mutex[rank.Sorting]
	table    atomic.Pointer[hints.Hint]
	tail     atomic.Pointer[tail]
	filter   atomic.Pointer[filter] // of the table; nil until Find has asked it
	replaced []*hints.Hint          // tables that were damaged, and may still be in use
}

// sealed returns where the file ends, and whether it is sealed.
func (s *source) sealed(files *catalog.FileList) (segment.End, bool) {
	if end := s.end.Load(); end != nil {
		return *end, true
	}
	end, sealed := files.SealedEnd(s.file)
	if !sealed {
		return segment.End{}, false
	}
	kept := end // so that a file that is not sealed costs no memory
	s.end.Store(&kept)
	s.tail.Store(nil) // States that need it have it
	return end, true
}

// openTable returns the table of a sealed file. If damaged is the present one, it is made anew.
func (s *source) openTable(h *hints.Hints, damaged *hints.Hint) (*hints.Hint, error) {
	if t := s.table.Load(); t != damaged {
		return t, nil
	}
	s.sorting.Lock()
	defer s.sorting.Unlock()
	t := s.table.Load()
	if t != damaged {
		return t, nil
	}
	end := *s.end.Load()
	var opened *hints.Hint
	var err error
	if damaged == nil {
		opened, err = h.OpenMapped(s.file, end, nil)
	}
	if errno.Scarce(err) {
		return nil, err
	}
	if damaged != nil || err != nil {
		opened, err = s.remake(h, end)
	} else if err = s.checkLost(opened); err != nil {
		opened.Close()
	}
	if err != nil {
		return nil, err
	}
	if damaged != nil {
		s.replaced = append(s.replaced, damaged)
	}
	s.table.Store(opened)
	return opened, nil
}

// remake makes the table anew from the records.
func (s *source) remake(h *hints.Hints, end segment.End) (*hints.Hint, error) {
	made, err := h.Remake(s.file, end, nil)
	if err != nil {
		return nil, s.failed(s.file.DataStart, err)
	}
	return made, s.checkLost(made)
}

// checkLost returns an error if a table lacks records that could not be read when it was made. Nobody
// knows their keys, so the order is not known. Damage that Open or loading found is different: the store
// goes on without what is lost, and has said so.
func (s *source) checkLost(table *hints.Hint) error {
	if lost := table.Damages(); len(lost) > 0 && !s.file.Damaged.Load() {
		return s.failed(lost[0].Offset, errLost)
	}
	return nil
}

// errLost says that a record is damaged, and that without it the order is not known.
var errLost = errors.New("a record, or its entry in the hint, cannot be read")

// failed is the error of a read of the file at an offset.
func (s *source) failed(offset int64, err error) error {
	return failed(s.file, offset, err)
}

// failed is the error of a read of a file at an offset: damage, unless the system lacks something.
func failed(f *catalog.File, offset int64, err error) error {
	if errno.Scarce(err) {
		return err
	}
	return f.Corrupt(offset, err.Error())
}

// close closes what is kept. Nobody uses the source any more.
func (s *source) close() {
	if t := s.table.Swap(nil); t != nil {
		t.Close()
	}
	for _, t := range s.replaced {
		t.Close()
	}
	s.replaced = nil
	s.tail.Store(nil)
	s.filter.Store(nil)
}

// size returns what is kept, as in Stats.
func (s *source) size() (tables, runs int, bytes int64) {
	if t := s.table.Load(); t != nil {
		tables, bytes = 1, t.Memory()
	}
	if f := s.filter.Load(); f != nil {
		bytes += f.bytes()
	}
	if t := s.tail.Load(); t != nil {
		runs = len(t.runs)
		for _, run := range t.runs {
			bytes += int64(4*cap(run.places)) + run.fences.bytes()
		}
	}
	return tables, runs, bytes
}
