package compact

import (
	"errors"
	"io"
	"syscall"

	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv/internal/alive"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/mmapkv/internal/failure"
	"github.com/mmapkv/mmapkv/mmapkv/internal/pace"
	"github.com/mmapkv/mmapkv/segment"
)

// rewrite rewrites a run. A run is a list of sealed files, adjacent in the catalog's order. One
// file replaces them, or none if nothing of them is needed.
//
// Two kinds of records are needed: those that the index points to, and shadows. A shadow is a
// tombstone, or an expired record, of a key that the index does not have. It is needed as long as
// an older file holds the key: otherwise that older record would reappear at the next Open.
type rewrite struct {
	compactor *Compactor
	pacer     *pace.Pacer
	// Run is what is rewritten, oldest first.
	Run   []*catalog.File
	older []*catalog.File // all files older than the run

	// Output is the file that replaces the run; nil until there is something to write.
	Output  *catalog.File
	file    vfs.File // the output's; nil until it is created, and again once the segment has it
	id      segment.ID
	header  segment.Header
	end     segment.End
	buffer  []byte // not written yet
	written int64  // offset up to which the file is written
	granted int64  // offset up to which the file has space
	hint    *segment.HintBuilder

	// Shadows are the shadows of the run, by where they lie.
	Shadows map[place]*shadow
	moves   [][]move // movesPerSlice in each but the last
	bytesIn int64    // bytes read
	cold    bool     // most of the run is not in memory, so the output should not be either
}

// place is where a record of the run lies.
type place struct {
	file   int   // index in the run
	offset int64 // in bytes from the start of the file
}

// shadow is a tombstone or an expired record of a key that the index does not have.
type shadow struct {
	// Key is the whole key.
	Key []byte
	seq uint64
	at  place
	// By is an older file that holds the key; 0 if none does.
	By segment.ID
}

// move is an index entry that the rewrite changes.
type move struct {
	hash         uint64
	from         index.Location
	offset, size uint32 // in the output, in units of segment.Alignment
	check        uint32
	keySize      uint16
}

// movesPerSlice is how many moves one slice holds. A single slice of all would be copied again
// and again as it grows.
const movesPerSlice = 4 << 10

// note adds a move.
func (rw *rewrite) note(one move) {
	last := len(rw.moves) - 1
	if last < 0 || len(rw.moves[last]) == movesPerSlice {
		rw.moves, last = append(rw.moves, nil), last+1
	}
	rw.moves[last] = append(rw.moves[last], one)
}

// bufferSize is how many bytes are written at a time.
const bufferSize = 256 << 10

// damagedRun is the error of a run with a file that cannot be compacted as it is.
type damagedRun struct {
	file   *catalog.File
	err    error
	damage *failure.Damage // where it is damaged; nil if the disk refuses to read it
}

func (e *damagedRun) Error() string { return e.err.Error() }
func (e *damagedRun) Unwrap() error { return e.err }

// prepare finds out which shadows of the run are needed. If what is needed of all files does not
// fit into one segment, prepare leaves the newest files out of the run.
func (rw *rewrite) prepare() error {
	for {
		if err := rw.FindShadows(); err != nil {
			return err
		}
		n := rw.fitting()
		if n == len(rw.Run) {
			return nil
		}
		rw.noteNeeded(n)
		rw.Run = rw.Run[:n]
	}
}

// noteNeeded notes, in the files from the n-th on, which are left out of the run, how much of
// their tombstones is needed. Otherwise the picker would take these for garbage, and pick the same run
// forever.
func (rw *rewrite) noteNeeded(n int) {
	needed := make([]map[segment.ID]int64, len(rw.Run))
	for at, one := range rw.Shadows {
		if one.By == 0 {
			continue
		}
		if needed[at.file] == nil {
			needed[at.file] = map[segment.ID]int64{}
		}
		needed[at.file][one.By] += segment.RecordSize(len(one.Key), 0, segment.Tombstone)
	}
	files := &rw.compactor.catalog.Files
	files.Mu.Lock()
	defer files.Mu.Unlock()
	for i, f := range rw.Run[n:] {
		f.NeededBy = needed[n+i]
	}
}

// fitting returns how many files of the run fit into one segment, at least one.
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

// copy reads the run, and writes what is needed to a new file. When copy returns, the file is
// synced and has a hint. It is nil if nothing is needed. After an error nothing is left of it.
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

// copyFile copies what is needed of the i-th file.
func (rw *rewrite) copyFile(i int, f *catalog.File) error {
	walker := segment.NewWalker(f.Handle(), f.Salt, f.DataStart, f.End.Offset)
	verify := f.MayShadow.Load() // each record may be needed, dead or not
	var r segment.Record
	for {
		offset := walker.Offset()
		if !verify && !f.Alive.Test(offset) {
			if err := rw.passDead(walker, f); err != nil {
				return err
			}
			offset = walker.Offset()
		}
		err := walker.Next(&r)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return unreadable(f, offset, err)
		}
		rw.bytesIn += r.Size
		wrote, err := rw.copyRecord(walker, &r, place{i, offset})
		if err != nil {
			return unreadable(f, offset, err)
		}
		if err := rw.pacer.Work(r.Size + wrote); err != nil {
			return err
		}
	}
}

// copyRecord copies a record if it is alive, or a tombstone in its place if an older file may need
// one. It returns the size written.
func (rw *rewrite) copyRecord(walker *segment.Walker, r *segment.Record, at place) (wrote int64, err error) {
	f := rw.Run[at.file]
	var needed *shadow
	if r.Flags&(segment.Tombstone|segment.Expires) != 0 {
		needed = rw.Shadows[at]
	}
	switch {
	case needed == nil && f.Alive.Test(at.offset):
		if err := walker.Load(r); err != nil {
			return 0, err
		}
		if wrote, err = rw.write(r, false); err != nil {
			return 0, err
		}
		fp := rw.compactor.Hasher.Fingerprint(r.Key)
		rw.note(move{hash: fp.Hash, check: fp.Check, from: index.MakeLocation(f.Slot, at.offset, r.Size), keySize: uint16(len(r.Key)),
			offset: uint32((rw.end.Offset - wrote) / segment.Alignment), size: uint32(wrote / segment.Alignment)})
		return wrote, nil
	case needed != nil && needed.By != 0:
		if wrote, err = rw.write(r, true); err == nil {
			rw.Output.NeededBy[needed.By] += wrote
		}
		return wrote, err
	case needed == nil && r.Flags&segment.Expires != 0 && len(rw.older) > 0 && f.Swept.Load().Has(at.offset):
		return rw.write(r, true) // the next compaction finds out whether an older file needs it
	}
	return 0, nil
}

// passDead moves the walker past dead records, none of which can be needed, to the next one that is
// alive or to the end of the file. It goes by the sizes in their headers. That is not verified, but
// it must lead to the next live record; otherwise passDead verifies the records that it passed.
func (rw *rewrite) passDead(walker *segment.Walker, f *catalog.File) error {
	from := walker.Offset()
	at, ok := f.Alive.Next(from)
	if !ok || at >= f.End.Offset {
		rw.bytesIn += f.End.Offset - from
		walker.MoveTo(f.End.Offset)
		return nil
	}
	for offset := from; offset < at && !alive.SamePlace(offset, at); offset = walker.Offset() {
		if walker.Pass() != nil {
			break
		}
		if err := rw.pacer.Work(walker.Offset() - offset); err != nil {
			return err
		}
	}
	if !alive.SamePlace(walker.Offset(), at) {
		walker.MoveTo(from)
		var r segment.Record
		for offset := from; offset < at; offset = walker.Offset() {
			if err := walker.Next(&r); err != nil {
				return unreadable(f, offset, err)
			}
		}
	}
	rw.bytesIn += walker.Offset() - from
	return nil
}

// unreadable wraps the error of a failed copy in a damagedRun if the file is damaged, or if the
// disk refuses to read it. A failed write is no fault of the file that was read.
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

// errDamagedValue means that a value does not match its checksum.
var errDamagedValue = errors.New(failure.BadValue)
