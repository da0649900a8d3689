package compact

import (
	"errors"
	"io"
	"syscall"
	"unsafe"

	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/internal/prefetch"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/mmapkv/internal/failure"
	"github.com/mmapkv/mmapkv/mmapkv/internal/pace"
	"github.com/mmapkv/mmapkv/segment"
)

// rewrite rewrites a run: files next to each other in the list, all sealed, of
// which one file takes the place, or none if nothing of them is needed.
//
// Needed are the records that the index points to, and shadows: tombstones, and
// records that have expired, of keys that the index does not have, as long as an
// older file holds the key. Without them that one's record would come back at the
// next Open.
type rewrite struct {
	compactor *Compactor
	pacer     *pace.Pacer
	Run       []*catalog.File
	older     []*catalog.File // all that are older than the run

	Made    *catalog.File // what comes of it; nil while that is nothing
	out     vfs.File      // nil until there is something to write
	id      segment.ID
	header  segment.Header
	end     segment.End
	buffer  []byte // what is not yet written
	written int64  // up to which offset the file is
	granted int64  // up to which offset it has room
	hint    *segment.HintBuilder

	Shadows map[place]*shadow
	moves   [][]move // movesTogether in each but the last
	in      int64    // bytes read
	cold    bool     // the run is mostly not in memory: neither should be what comes of it
}

// place is where a record of the run lies.
type place struct {
	file   int
	offset int64
}

// shadow is a record of a key that the index does not have.
type shadow struct {
	Key []byte
	seq uint64
	at  place
	By  segment.ID // an older file that holds the key; 0: none does
}

// move is an entry of the index that the rewrite changes.
type move struct {
	hash         uint64
	from         index.Location
	offset, size uint32 // in the new file, in units of segment.Alignment
	check        uint32
	keySize      uint16
}

// movesTogether is how many moves are in one slice: a slice of all would be copied
// again and again as it grows.
const movesTogether = 4 << 10

// note adds a move.
func (m *rewrite) note(one move) {
	last := len(m.moves) - 1
	if last < 0 || len(m.moves[last]) == movesTogether {
		m.moves, last = append(m.moves, nil), last+1
	}
	m.moves[last] = append(m.moves[last], one)
}

// bufferSize is how many bytes are written at a time.
const bufferSize = 256 << 10

// damagedRun means that a file of the run cannot be compacted as it is, and says
// which.
type damagedRun struct {
	file   *catalog.File
	err    error
	damage *failure.Damage // where it is damaged; nil: the disk refuses to read it
}

func (e *damagedRun) Error() string { return e.err.Error() }
func (e *damagedRun) Unwrap() error { return e.err }

// prepare finds out what the run's tombstones are needed for, and leaves out of
// the run its youngest files when what is needed of all would not fit into one
// segment.
func (m *rewrite) prepare() error {
	for {
		if err := m.FindShadows(); err != nil {
			return err
		}
		n := m.fitting()
		if n == len(m.Run) {
			return nil
		}
		m.leavePins(n)
		m.Run = m.Run[:n]
	}
}

// leavePins tells the files of the run that are left out of it, all from the n-th
// on, what of their tombstones is needed. The choice would otherwise take these for
// garbage, and come to the same run again for ever.
func (m *rewrite) leavePins(n int) {
	pins := make([]map[segment.ID]int64, len(m.Run))
	for at, one := range m.Shadows {
		if one.By == 0 {
			continue
		}
		if pins[at.file] == nil {
			pins[at.file] = map[segment.ID]int64{}
		}
		pins[at.file][one.By] += segment.RecordSize(len(one.Key), 0, segment.Tombstone)
	}
	files := &m.compactor.catalog.Files
	files.Mu.Lock()
	defer files.Mu.Unlock()
	for i, f := range m.Run[n:] {
		f.Pins = pins[n+i]
	}
}

// fitting is how many files of the run fit into one, at least one.
func (m *rewrite) fitting() int {
	needed := make([]int64, len(m.Run)) // bytes, of each file
	for i, f := range m.Run {
		needed[i] = f.LiveBytes.Load() + f.Swept.Load().Tombstones()
	}
	for at, one := range m.Shadows {
		if one.By != 0 {
			needed[at.file] += segment.RecordSize(len(one.Key), 0, segment.Tombstone)
		}
	}
	left := m.compactor.rewriteRoom(len(m.Run))
	for i, bytes := range needed {
		if left -= bytes; left < 0 {
			return max(i, 1)
		}
	}
	return len(m.Run)
}

// copy reads the run and writes what is needed of it, to a file that is synced
// and has a hint when copy returns. On an error nothing is left of it.
func (m *rewrite) copy() (f *catalog.File, err error) {
	defer func() {
		if err != nil && m.Made != nil {
			if m.out != nil {
				err = errors.Join(err, m.out.Close())
			}
			m.compactor.catalog.Remove(segment.FileName(m.id))
			m.compactor.catalog.RemoveHint(m.id)
		}
	}()
	var resident float64
	for i, f := range m.Run {
		resident += vfs.Resident(f.Handle(), f.Limit()) / float64(len(m.Run))
		if err := m.copyFile(i, f); err != nil {
			return nil, err
		}
	}
	m.cold = resident < 0.5
	if m.out == nil {
		return nil, nil
	}
	return m.finish()
}

// copyFile copies what is needed of one file.
func (m *rewrite) copyFile(i int, f *catalog.File) error {
	walker := segment.NewWalker(f.Handle(), f.Salt, f.DataStart, f.End.Offset)
	keys, swept := m.compactor.catalog.Files.Keys, f.Swept.Load()
	var r segment.Record
	for asked := 0; ; asked-- {
		if asked <= 0 {
			asked = m.prefetch(walker)
		}
		offset := walker.Offset()
		err := walker.Next(&r)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return unreadable(f, offset, err)
		}
		m.in += r.Size
		here := index.MakeLocation(f.Slot, offset, r.Size)
		shadow := m.Shadows[place{i, offset}]
		live := shadow == nil && keys.Holds(m.compactor.Hasher.Hash(r.Key), here)
		wrote := int64(0)
		switch {
		case live:
			if err = walker.Load(&r); err == nil {
				wrote, err = m.write(&r, false)
			}
		case shadow != nil && shadow.By != 0:
			wrote, err = m.write(&r, true)
			if err == nil {
				m.Made.Pins[shadow.By] += wrote
			}
		case shadow == nil && r.Flags&segment.Expires != 0 && len(m.older) > 0 && swept.Has(offset):
			wrote, err = m.write(&r, true) // the next compaction asks what needs it
		}
		if err != nil {
			return unreadable(f, offset, err)
		}
		if live {
			print := m.compactor.Hasher.Fingerprint(r.Key)
			m.note(move{hash: print.Hash, check: print.Check, from: here, keySize: uint16(len(r.Key)),
				offset: uint32((m.end.Offset - wrote) / segment.Alignment), size: uint32(wrote / segment.Alignment)})
		}
		if err := m.pacer.Work(r.Size + wrote); err != nil {
			return err
		}
	}
}

// prefetch asks for the memory of what the index knows of the next records, of all
// together, and returns how many those are.
func (m *rewrite) prefetch(walker *segment.Walker) (n int) {
	var lines [prefetch.Batch]unsafe.Pointer
	walker.Peek(prefetch.Batch, func(key []byte) {
		candidates := m.compactor.catalog.Files.Keys.Find(m.compactor.Hasher.Hash(key))
		lines[n] = candidates.Memory()
		n++
	})
	prefetch.Lines(lines[:n])
	return n
}

// unreadable is the error of what could not be copied: a damagedRun, if that is
// why, or if the disk refuses to read it. Where it refused to write, the file that
// was read is none the worse.
func unreadable(f *catalog.File, offset int64, err error) error {
	if errors.Is(err, failure.ErrFailed) {
		return err
	}
	if errors.Is(err, segment.ErrBounds) || errors.Is(err, segment.ErrChecksum) || errors.Is(err, errDamagedValue) {
		d := failure.Damage{File: segment.FileName(f.ID), Offset: offset, Reason: err.Error()}
		return &damagedRun{f, failure.Corrupt(d), &d}
	}
	if errors.Is(err, syscall.EIO) {
		return &damagedRun{f, err, nil}
	}
	return err
}

var errDamagedValue = errors.New(failure.BadValue)
