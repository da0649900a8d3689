package mmapkv

import "github.com/mmapkv/mmapkv/mmapkv/internal/salvage"

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
const MaxListed = salvage.MaxListed

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

// newSalvageReport makes a SalvageReport of what package salvage has found.
func newSalvageReport(found salvage.Report) SalvageReport {
	r := SalvageReport{
		Manifest: found.Manifest, Files: found.Files, Records: found.Records, Keys: found.Keys, Expiring: found.Expiring,
		Bytes: found.Bytes, Gone: found.Gone, Unfinished: found.Unfinished, Discarded: found.Discarded,
		KeysLost: found.KeysLost, RangesLost: found.RangesLost, BytesLost: found.BytesLost,
		Missing: found.Missing, Unread: found.Unread,
	}
	for _, k := range found.LostKeys {
		r.LostKeys = append(r.LostKeys, LostKey(k))
	}
	for _, l := range found.LostRanges {
		r.LostRanges = append(r.LostRanges, LostRange(l))
	}
	for _, d := range found.Damages {
		r.Damages = append(r.Damages, CorruptError(d))
	}
	return r
}
