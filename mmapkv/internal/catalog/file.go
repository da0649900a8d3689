package catalog

import (
	"sync/atomic"

	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/mmapkv/internal/alive"
	"github.com/mmapkv/mmapkv/mmapkv/internal/expiry"
	"github.com/mmapkv/mmapkv/mmapkv/internal/failure"
	"github.com/mmapkv/mmapkv/segment"
)

// File is one segment of the store, with what the store knows of it. Sizes and offsets are
// in bytes.
type File struct {
	*segment.Segment
	Slot      uint32       // its number in the index's locations
	name      nameIdentity // which file has its name, while it is unsealed
	DataStart int64        // where its first record begins
	Capacity  int64        // where the log moves on to another file

	// Active is the writer's handle while the file is unsealed, nil afterwards. It is set
	// when the file is made, and cleared under FileList.Mu when the file is sealed.
	Active *segment.Active

	// End is where the records end, and the sequence number that the log had reached
	// there. It is final once Ended is set. FileList.Mu guards both. (While Open runs, Ended
	// may come first: it keeps the log from continuing in a file that recovery has yet to end.)
	End   segment.End
	Ended bool // the file gets no more records

	Dropped atomic.Bool // compaction has committed a manifest without it

	Alive alive.Bits // of the records that the index points to; see package alive
	// Died is the number of the last commit that made one of its records dead. It is noted before
	// the record's bit is cleared. Loading and compaction note nothing: what they clear was dead
	// before. Neither does the sweep: what it clears has expired.
	Died atomic.Uint64

	Cold      atomic.Bool  // not wholly in memory: see package residency
	Populated atomic.Int64 // package residency has dealt with its pages up to this offset

	LiveBytes atomic.Int64 // what its records take that the index points to
	LiveHints atomic.Int64 // what their hint entries take, as segment.HintEntrySize estimates
	HintBytes atomic.Int64 // what its hint takes, by the same estimate; 0 without a hint
	HintDue   atomic.Int64 // what its hint will take, by the same estimate
	MayShadow atomic.Bool  // it has tombstones or records that expire

	Partials     atomic.Int32 // its partial hints that may exist have numbers below this
	PartialBytes atomic.Int64 // what they take, by about the same estimate
	HintMissing  atomic.Bool  // recovery sealed it, and the background has yet to write its hint
	Recovered    *Recovered   // what recovery found in it; loading uses it up

	Expiring atomic.Pointer[expiry.Table] // where and when its records expire; nil while none does
	Expired  atomic.Int64                 // what the records take that the sweep or Open found expired
	Swept    atomic.Pointer[expiry.Swept] // what the sweep takes out while a compaction reads the file; else nil

	// NeededBy says how many bytes of tombstones each older file needs, as far as a compaction
	// has kept them or found that it would have to. FileList.Mu guards it once the file is
	// listed.
	NeededBy map[segment.ID]int64

	Damaged    atomic.Bool // Open found damage: compactions leave the file alone
	Unreadable atomic.Bool // a compaction could not read it: others leave it alone until Compact is called
}

// Recovered is what recovery found in a file, so that loading need not read that again. Together
// Tables and Scanned have all records that count.
type Recovered struct {
	Tables  []*segment.Table     // of its partial hints
	Close   func()               // closes what the tables are read from; nil: nothing
	Scanned *segment.HintBuilder // of what follows them
}

// Len returns how many entries there are. Several may be of one key.
func (r *Recovered) Len() int {
	n := r.Scanned.Len()
	for _, t := range r.Tables {
		n += t.Len()
	}
	return n
}

// GrowthStep is the first step, in bytes, by which a file is preallocated.
const GrowthStep = 64 << 10

// Enliven marks and counts the record at an offset as alive. Call it before the index points to
// the record. The record has size bytes, and its key keySize.
func (f *File) Enliven(offset, size int64, keySize int) {
	f.Alive.Set(offset)
	f.LiveBytes.Add(size)
	f.LiveHints.Add(segment.HintEntrySize(keySize))
}

// Kill takes back what Enliven did. Call it after the index has let go of the record, or has
// refused it.
func (f *File) Kill(offset, size int64, keySize int) {
	f.Alive.Clear(offset)
	f.LiveBytes.Add(-size)
	f.LiveHints.Add(-segment.HintEntrySize(keySize))
}

// RecordBytes returns what all records of the file take, live and dead.
func (f *File) RecordBytes() int64 { return max(f.Limit()-f.DataStart, 0) }

// Info is what the manifest says of the file, if it lists it as sealed or not. Once Ended is set
// it has the file's end.
func (f *File) Info(sealed bool) segment.SegmentInfo {
	return segment.SegmentInfo{ID: f.ID, Salt: f.Salt, Kind: f.Kind, Sealed: sealed, End: f.End}
}

// ExpiriesOf returns the file's table of records that expire, and makes it if there is none.
// size is an offset that no record of the file begins after.
func (f *File) ExpiriesOf(size int64) *expiry.Table {
	t := f.Expiring.Load()
	if t == nil {
		f.Expiring.CompareAndSwap(nil, expiry.NewTable(size))
		t = f.Expiring.Load()
	}
	return t
}

// RecordSize returns the size of the record at a location of the index. It returns 0 if the
// file is retired or the record cannot be read.
func (f *File) RecordSize(loc index.Location) int64 {
	if size, known := loc.Size(); known {
		return size
	}
	if !f.Acquire() {
		return 0 // compaction removed the file, and nobody counts its bytes any more
	}
	defer f.Release()
	size, err := segment.ReadRecordSize(f.Handle(), loc.Offset(), f.Limit())
	if err != nil {
		return 0 // it was damaged since; every read of it says so
	}
	return size
}

// Corrupt returns the error for damage at an offset of the file.
func (f *File) Corrupt(offset int64, reason string) error {
	return failure.Corrupt(failure.Damage{File: segment.FileName(f.ID), Offset: offset, Reason: reason})
}

// Sync makes what was written to the file durable. A retired file needs no sync: it was
// synced when it was sealed, or it has no records.
func (f *File) Sync() error {
	if !f.Acquire() {
		return nil
	}
	defer f.Release()
	return f.Handle().Datasync()
}
