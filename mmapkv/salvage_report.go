package mmapkv

import (
	"cmp"
	"slices"

	"github.com/mmapkv/mmapkv/segment"
)

// SalvageReport is what Salvage has found. The lists of what is lost hold at most
// MaxListed each; the counts count all.
type SalvageReport struct {
	Manifest bool  // there is a readable manifest, and it was gone by
	Files    int   // segments that were read
	Records  int   // that validate and count
	Keys     int   // restored, or that would be
	Expiring int   // of them, with an expiry
	Bytes    int64 // of the restored keys and values
	Gone     int   // keys whose newest record says that they are deleted, or has expired
	// Unfinished says that the directory is itself what an earlier salvage was to
	// write, and did not come to the end of: the store that it read has more.
	Unfinished bool
	// Discarded is how many bytes of records validate and are behind the end of the
	// log: nobody knows them to have been on disk, and Open does not show them.
	Discarded int64

	KeysLost   int       // whose newest value cannot be read
	LostKeys   []LostKey // by file and offset
	RangesLost int
	BytesLost  int64 // in these ranges
	LostRanges []LostRange
	// Missing are segments that are not there though the manifest names them, or
	// that cannot be opened, or have the header of another store.
	Missing []string
	// Damages are what is damaged and costs nothing by itself: a manifest, a header.
	Damages []CorruptError
	// Unread are segments that do not count.
	Unread []string
}

// MaxListed is how many entries each list of what is lost has in a SalvageReport.
const MaxListed = 1000

// LostKey is a key whose newest value cannot be read.
type LostKey struct {
	Key    []byte
	File   string
	Offset int64
	Seq    uint64
	// Older is the sequence number of the older value that was restored in its
	// place; 0: none was.
	Older uint64
}

// LostRange is a part of a file in which nothing can be read. What was there need
// not have been the newest of anything.
type LostRange struct {
	File         string
	Offset, Size int64
	Reason       string
}

// Complete says that nothing is known to be lost. Without a manifest nobody can
// know that of a segment that is gone.
func (r *SalvageReport) Complete() bool {
	return !r.Unfinished && r.KeysLost == 0 && r.RangesLost == 0 && len(r.Missing) == 0
}

func (r *SalvageReport) order() {
	slices.SortFunc(r.LostKeys, func(a, b LostKey) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Offset, b.Offset), cmp.Compare(a.Seq, b.Seq))
	})
	r.LostKeys = r.LostKeys[:min(len(r.LostKeys), MaxListed)]
}

// lose reports a key. What is too much for the list is cut once it is sorted.
func (s *salvage) lose(k LostKey) {
	s.report.KeysLost++
	if k.Key != nil {
		s.report.LostKeys = append(s.report.LostKeys, k)
	}
}

func (s *salvage) loseRange(in *source, d segment.Damage) {
	s.report.RangesLost++
	s.report.BytesLost += d.Length
	if len(s.report.LostRanges) < MaxListed {
		reason := "no record validates here"
		if in.refused != nil {
			reason = "no record validates here, and some of the file cannot be read: " + in.refused.Error()
		}
		s.report.LostRanges = append(s.report.LostRanges, LostRange{File: in.name, Offset: d.Offset, Size: d.Length, Reason: reason})
	}
}

func (s *salvage) noteDamage(file string, offset int64, reason string) {
	if len(s.report.Damages) < MaxListed {
		s.report.Damages = append(s.report.Damages, CorruptError{File: file, Offset: offset, Reason: reason})
	}
}
