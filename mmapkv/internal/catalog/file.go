package catalog

import (
	"sync/atomic"

	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/mmapkv/internal/expiry"
	"github.com/mmapkv/mmapkv/mmapkv/internal/failure"
	"github.com/mmapkv/mmapkv/segment"
)

// File is one segment of the store with what the writing side knows of it.
type File struct {
	*segment.Segment
	Slot      uint32       // its number in the index's locations
	name      nameIdentity // which file it is by its name, while it is unsealed
	DataStart int64
	Capacity  int64        // where the log goes on in another file
	Dropped   atomic.Bool  // compaction has put another file in its place
	Cold      atomic.Bool  // not all of it is in memory: see cold.go
	Populated atomic.Int64 // up to where its pages are in the page tables: see populate.go

	// live is what of the file the index points to, and its hint's entries.
	LiveBytes, LiveHints atomic.Int64
	HintBytes            atomic.Int64         // what its hint takes; 0 while it has none
	HintDue              atomic.Int64         // what it takes about, once it has one
	Built                *segment.HintBuilder // by a recovery that may not write it, for loading
	MayShadow            atomic.Bool          // it has tombstones or records that expire

	// expiring is where what of the file expires and when, nil while nothing does, and
	// expired what the sweep, or Open, has found to have done so, in bytes.
	Expiring atomic.Pointer[expiry.Table]
	Expired  atomic.Int64
	Swept    atomic.Pointer[expiry.Swept] // while a compaction has the file in hand

	// pins is what tombstones take that a compaction has kept, or found that it would
	// have to, by the older file that needs them. It is guarded by fileSet.mu once the
	// file is listed.
	Pins map[segment.ID]int64

	// damaged, by what Open found, and unreadable, by what a compaction met, keep the
	// file out of compactions.
	Damaged, Unreadable atomic.Bool

	// active is the writer's handle while the file is unsealed. It is set when
	// the file is made and cleared, under fileSet.mu, when it is sealed.
	Active *segment.Active

	// end is where the records end and the sequence number that the log had
	// reached there. It is final once ended is set, both under fileSet.mu.
	End   segment.End
	Ended bool
}

// AddLive counts a record that the index points to, with a key of keySize bytes,
// or one that it does so no more when sign is -1.
func (f *File) AddLive(size int64, keySize int, sign int64) {
	f.LiveBytes.Add(sign * size)
	f.LiveHints.Add(sign * segment.HintEntrySize(keySize))
}

// RecordBytes is what all records of the file occupy, live and dead.
func (f *File) RecordBytes() int64 { return max(f.Limit()-f.DataStart, 0) }

// ExpiriesOf makes what the file has no more of than one. No record of it begins
// behind size.
func (f *File) ExpiriesOf(size int64) *expiry.Table {
	t := f.Expiring.Load()
	if t == nil {
		f.Expiring.CompareAndSwap(nil, expiry.NewTable(size))
		t = f.Expiring.Load()
	}
	return t
}

// Corrupt is the error of damage in the file.
func (f *File) Corrupt(offset int64, reason string) error {
	return failure.Corrupt(failure.Damage{File: segment.FileName(f.ID), Offset: offset, Reason: reason})
}

// RecordSize is the size of the record at a location of the index.
func (f *File) RecordSize(loc index.Location) int64 {
	if size, known := loc.Size(); known {
		return size
	}
	if !f.Acquire() {
		return 0 // it was compacted, and its account is gone
	}
	defer f.Release()
	size, err := segment.ReadRecordSize(f.Handle(), loc.Offset(), f.Limit())
	if err != nil {
		return 0 // damaged meanwhile; every read of it says so
	}
	return size
}

// Sync makes what was written to a file durable. One that is retired was sealed, and
// synced for that.
func (f *File) Sync() error {
	if !f.Acquire() {
		return nil
	}
	defer f.Release()
	return f.Handle().Datasync()
}

// GrowthStep is the first step, in bytes, in which a file is preallocated.
const GrowthStep = 64 << 10
