package salvage

import (
	"cmp"
	"slices"

	"github.com/mmapkv/mmapkv/mmapkv/internal/failure"
	"github.com/mmapkv/mmapkv/segment"
)

// Report is what Run has found. The fields are those of mmapkv.SalvageReport, which
// documents them. The lists of what is lost hold at most MaxListed entries each; the counts
// count all.
type Report struct {
	// Manifest says that a manifest was readable and was gone by.
	Manifest bool
	// Files were read, and Records validate and count.
	Files, Records int
	// Keys were restored, Expiring of them with an expiry. Their keys and values have Bytes.
	Keys, Expiring int
	Bytes          int64
	// Gone counts keys that were deleted or have expired.
	Gone int
	// Unfinished says that the directory is a new store that an earlier run left
	// incomplete.
	Unfinished bool
	// Discarded counts bytes of valid records beyond the end of the log.
	Discarded int64

	// KeysLost counts keys whose newest value cannot be read, and LostKeys lists them.
	KeysLost int
	LostKeys []LostKey
	// RangesLost counts ranges where nothing can be read, BytesLost their bytes, and
	// LostRanges lists them.
	RangesLost int
	BytesLost  int64
	LostRanges []LostRange
	// Missing are segments that the manifest names and that are not there or cannot be
	// opened.
	Missing []string
	// Damages are places whose damage costs nothing by itself.
	Damages []failure.Damage
	// Unread are segments that do not count.
	Unread []string
}

// MaxListed is how many entries each list of what is lost has.
const MaxListed = 1000

// LostKey is a key whose newest value cannot be read, the record Seq at Offset of File.
type LostKey struct {
	// Key may be nil in what Run collects, but not in a Report.
	Key    []byte
	File   string
	Offset int64
	Seq    uint64
	// Older is the number of the older value that was restored instead, 0 if there is none.
	Older uint64
}

// LostRange is Size bytes at Offset of File in which nothing can be read.
type LostRange struct {
	// File is a name in the store's directory.
	File         string
	Offset, Size int64
	// Reason says why nothing can be read.
	Reason string
}

// order sorts the list of lost keys, and then cuts it.
func (r *Report) order() {
	slices.SortFunc(r.LostKeys, func(a, b LostKey) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Offset, b.Offset), cmp.Compare(a.Seq, b.Seq))
	})
	r.LostKeys = r.LostKeys[:min(len(r.LostKeys), MaxListed)]
}

// lose reports a key. The list is cut only once it is sorted.
func (s *salvage) lose(k LostKey) {
	s.report.KeysLost++
	if k.Key != nil {
		s.report.LostKeys = append(s.report.LostKeys, k)
	}
}

// loseRange reports a range.
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

// noteDamage reports damage that costs nothing by itself.
func (s *salvage) noteDamage(file string, offset int64, reason string) {
	if len(s.report.Damages) < MaxListed {
		s.report.Damages = append(s.report.Damages, failure.Damage{File: file, Offset: offset, Reason: reason})
	}
}
