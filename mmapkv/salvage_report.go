package mmapkv

import (
	"cmp"
	"slices"

	"github.com/mmapkv/mmapkv/segment"
)

// SalvageReport is what Salvage has found. The lists hold the first of what they
// list, by file and offset; the counts count all.
type SalvageReport struct {
	Manifest bool // there is a readable manifest, and it was gone by
	Files    int  // segments that were read
	Records  int  // that validate and count
	Keys     int  // restored, or that would be
	Expiring int  // of them, with an expiry
	Gone     int  // keys whose newest record says that they are deleted, or has expired
	Bytes    int64
	// Discarded is how many bytes of records validate, and are behind the end of the
	// log: they were never acknowledged as durable, and Open does not show them.
	Discarded int64

	LostKeys   int
	LostRanges int
	LostBytes  int64       // in these ranges
	Keyed      []LostKey   // those of the lost keys that are known, at most MaxListed
	Ranges     []LostRange // at most MaxListed
	// Missing are segments that the manifest names and that are not there, or cannot
	// be opened, or are of another store.
	Missing []string
	// Damages are what is damaged and cost nothing: a manifest, or a header.
	Damages []CorruptError
	// Unread are segments that do not count.
	Unread []string
}

// MaxListed is how many lost keys and ranges a SalvageReport lists.
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

// Complete says that nothing is known to be lost.
func (r *SalvageReport) Complete() bool {
	return r.LostKeys == 0 && r.LostRanges == 0 && len(r.Missing) == 0
}

func (r *SalvageReport) order() {
	slices.SortFunc(r.Keyed, func(a, b LostKey) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Offset, b.Offset), cmp.Compare(a.Seq, b.Seq))
	})
	r.Keyed = r.Keyed[:min(len(r.Keyed), MaxListed)]
}

// lose reports a key. What is too much for the list is cut once it is sorted.
func (s *salvage) lose(k LostKey) {
	s.report.LostKeys++
	if k.Key != nil {
		s.report.Keyed = append(s.report.Keyed, k)
	}
}

func (s *salvage) loseRange(in *source, d segment.Damage) {
	s.report.LostRanges++
	s.report.LostBytes += d.Length
	if len(s.report.Ranges) < MaxListed {
		reason := "no record validates here"
		if in.refused != nil {
			reason = "no record validates here, and some of the file cannot be read: " + in.refused.Error()
		}
		s.report.Ranges = append(s.report.Ranges, LostRange{File: in.name, Offset: d.Offset, Size: d.Length, Reason: reason})
	}
}

func (s *salvage) noteDamage(file string, offset int64, reason string) {
	if len(s.report.Damages) < MaxListed {
		s.report.Damages = append(s.report.Damages, CorruptError{File: file, Offset: offset, Reason: reason})
	}
}
