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

	Output  *catalog.File // what comes of it; nil while that is nothing
	file    vfs.File      // nil until there is something to write
	id      segment.ID
	header  segment.Header
	end     segment.End
	buffer  []byte // what is not yet written
	written int64  // up to which offset the file is
	granted int64  // up to which offset it has room
	hint    *segment.HintBuilder

	Shadows map[place]*shadow
	moves   [][]move // movesTogether in each but the last
	bytesIn int64    // bytes read
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
func (rw *rewrite) note(one move) {
	last := len(rw.moves) - 1
	if last < 0 || len(rw.moves[last]) == movesTogether {
		rw.moves, last = append(rw.moves, nil), last+1
	}
	rw.moves[last] = append(rw.moves[last], one)
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
func (rw *rewrite) prepare() error {
	for {
		if err := rw.FindShadows(); err != nil {
			return err
		}
		n := rw.fitting()
		if n == len(rw.Run) {
			return nil
		}
		rw.leavePins(n)
		rw.Run = rw.Run[:n]
	}
}

// leavePins tells the files of the run that are left out of it, all from the n-th
// on, what of their tombstones is needed. The choice would otherwise take these for
// garbage, and come to the same run again for ever.
func (rw *rewrite) leavePins(n int) {
	pins := make([]map[segment.ID]int64, len(rw.Run))
	for at, one := range rw.Shadows {
		if one.By == 0 {
			continue
		}
		if pins[at.file] == nil {
			pins[at.file] = map[segment.ID]int64{}
		}
		pins[at.file][one.By] += segment.RecordSize(len(one.Key), 0, segment.Tombstone)
	}
	files := &rw.compactor.catalog.Files
	files.Mu.Lock()
	defer files.Mu.Unlock()
	for i, f := range rw.Run[n:] {
		f.Pins = pins[n+i]
	}
}

// fitting is how many files of the run fit into one, at least one.
func (rw *rewrite) fitting() int {
	needed := make([]int64, len(rw.Run)) // bytes, of each file
	for i, f := range rw.Run {
		needed[i] = f.LiveBytes.Load() + f.Swept.Load().Tombstones()
	}
	for at, one := range rw.Shadows {
		if one.By != 0 {
			needed[at.file] += segment.RecordSize(len(one.Key), 0, segment.Tombstone)
		}
	}
	left := rw.compactor.rewriteRoom(len(rw.Run))
	for i, bytes := range needed {
		if left -= bytes; left < 0 {
			return max(i, 1)
		}
	}
	return len(rw.Run)
}

// copy reads the run and writes what is needed of it, to a file that is synced
// and has a hint when copy returns. On an error nothing is left of it.
func (rw *rewrite) copy() (f *catalog.File, err error) {
	defer func() {
		if err != nil && rw.Output != nil {
			if rw.file != nil {
				err = errors.Join(err, rw.file.Close())
			}
			rw.compactor.catalog.Remove(segment.FileName(rw.id))
			rw.compactor.catalog.RemoveHint(rw.id)
		}
	}()
	var resident float64
	for i, f := range rw.Run {
		resident += vfs.Resident(f.Handle(), f.Limit()) / float64(len(rw.Run))
		if err := rw.copyFile(i, f); err != nil {
			return nil, err
		}
	}
	rw.cold = resident < 0.5
	if rw.file == nil {
		return nil, nil
	}
	return rw.finish()
}

// copyFile copies what is needed of one file.
func (rw *rewrite) copyFile(i int, f *catalog.File) error {
	walker := segment.NewWalker(f.Handle(), f.Salt, f.DataStart, f.End.Offset)
	keys, swept := rw.compactor.catalog.Files.Keys, f.Swept.Load()
	var r segment.Record
	for asked := 0; ; asked-- {
		if asked <= 0 {
			asked = rw.prefetch(walker)
		}
		offset := walker.Offset()
		err := walker.Next(&r)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return unreadable(f, offset, err)
		}
		rw.bytesIn += r.Size
		here := index.MakeLocation(f.Slot, offset, r.Size)
		shadow := rw.Shadows[place{i, offset}]
		live := shadow == nil && keys.Holds(rw.compactor.Hasher.Hash(r.Key), here)
		wrote := int64(0)
		switch {
		case live:
			if err = walker.Load(&r); err == nil {
				wrote, err = rw.write(&r, false)
			}
		case shadow != nil && shadow.By != 0:
			wrote, err = rw.write(&r, true)
			if err == nil {
				rw.Output.Pins[shadow.By] += wrote
			}
		case shadow == nil && r.Flags&segment.Expires != 0 && len(rw.older) > 0 && swept.Has(offset):
			wrote, err = rw.write(&r, true) // the next compaction asks what needs it
		}
		if err != nil {
			return unreadable(f, offset, err)
		}
		if live {
			fp := rw.compactor.Hasher.Fingerprint(r.Key)
			rw.note(move{hash: fp.Hash, check: fp.Check, from: here, keySize: uint16(len(r.Key)),
				offset: uint32((rw.end.Offset - wrote) / segment.Alignment), size: uint32(wrote / segment.Alignment)})
		}
		if err := rw.pacer.Work(r.Size + wrote); err != nil {
			return err
		}
	}
}

// prefetch asks for the memory of what the index knows of the next records, of all
// together, and returns how many those are.
func (rw *rewrite) prefetch(walker *segment.Walker) (n int) {
	var lines [prefetch.Batch]unsafe.Pointer
	walker.Peek(prefetch.Batch, func(key []byte) {
		candidates := rw.compactor.catalog.Files.Keys.Find(rw.compactor.Hasher.Hash(key))
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
