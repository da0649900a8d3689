package mmapkv

import "github.com/mmapkv/mmapkv/mmapkv/internal/salvage"

// SalvageReport is what Salvage found. The lists of what is lost have at most MaxListed entries
// each; the counts count everything.
type SalvageReport struct {
	Manifest bool  // there is a manifest that could be relied on
	Files    int   // segments that were read
	Records  int   // records that validate and count
	Keys     int   // keys that were restored, or would be without DryRun
	Expiring int   // how many of the keys have an expiry
	Bytes    int64 // size of the restored keys and values
	Gone     int   // keys that were deleted or have expired
	// Unfinished says that the directory is the new store of an earlier salvage that was
	// not completed. The store which that salvage read has more.
	Unfinished bool
	// Discarded is how many bytes of valid records lie beyond the end of the log. They
	// were not known to be on disk, and Open does not show them.
	Discarded int64

	KeysLost   int         // keys whose newest value cannot be read
	LostKeys   []LostKey   // those keys, by file and offset
	RangesLost int         // ranges in which nothing can be read
	BytesLost  int64       // size of those ranges
	LostRanges []LostRange // those ranges
	// Missing lists segments that the manifest names and that are not there, cannot be
	// opened, or have the header of another store.
	Missing []string
	// Damages lists damage that costs nothing by itself: of the manifest, or of a header.
	Damages []CorruptError
	// Unread lists segments that do not count.
	Unread []string
}

// MaxListed is how many entries each list of what is lost has in a SalvageReport: 1,000.
const MaxListed = salvage.MaxListed

// LostKey is a key whose newest value cannot be read.
type LostKey struct {
	Key    []byte // the whole key
	File   string // name in the store's directory
	Offset int64  // of the record, in bytes from the start of the file
	Seq    uint64 // sequence number of the record
	// Older is the sequence number of the older value that was restored in its place, 0
	// if none was.
	Older uint64
}

// LostRange is a part of a file in which nothing can be read. The records there need not
// have been the newest of their keys.
type LostRange struct {
	File         string // name in the store's directory
	Offset, Size int64  // in bytes
	Reason       string // why nothing can be read
}

// Complete says that nothing is known to be lost. Without a manifest Salvage does not know
// of segments that are gone.
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
