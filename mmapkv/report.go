package mmapkv

import (
	"fmt"

	"github.com/mmapkv/mmapkv/mmapkv/internal/check"
)

// Report is what Verify found.
type Report struct {
	// Segments, Records and Hints count what was checked. Bytes counts the bytes of the segments
	// that were read.
	Segments, Records, Hints int
	Bytes                    int64
	// Clean says that the store was closed and that nothing was written since. Otherwise a writer
	// has it open, or it was not closed.
	Clean bool
	// Damages lists what is damaged, file by file, oldest first. It has at most 10,000 entries;
	// Omitted counts the damages beyond them.
	Damages []Damage
	Omitted int
	// Remarks lists what is out of the ordinary but not damage: hints that the next Open
	// rebuilds, and files that it removes. It has at most 10,000 entries too. While a writer has
	// the store open, these may be files that it is about to use.
	Remarks []Remark
}

// Err returns nil if nothing is damaged. Otherwise it returns an error that wraps ErrCorrupt and
// says where the first damage lies.
func (r *Report) Err() error {
	if len(r.Damages) == 0 {
		return nil
	}
	d := r.Damages[0]
	first := &CorruptError{File: d.File, Offset: d.Offset, Reason: d.Reason}
	if n := len(r.Damages) + r.Omitted; n > 1 {
		return fmt.Errorf("%w (the first of %d damages)", first, n)
	}
	return first
}

// Remark is something out of the ordinary that is not damage.
type Remark struct {
	File string // name in the store's directory
	What string // what is out of the ordinary
}

// Damage is one place that is not as it was written.
type Damage struct {
	Kind   DamageKind // what is damaged
	File   string     // name in the store's directory
	Offset int64      // in bytes from the start of the file
	Size   int64      // of the damaged range; 0 if it is not known
	Key    []byte     // nil if it is not known; the empty key is not nil
	Reason string     // what is wrong with the bytes
}

// Meaning says what the damage means for those who read the store.
func (d Damage) Meaning() string { return meanings[d.Kind] }

// DamageKind says what is damaged.
type DamageKind string

// The kinds of damage.
const (
	DamagedManifest DamageKind = "manifest"        // no copy of it can be read, or it is missing
	DamagedCopy     DamageKind = "manifest copy"   // one of its two copies cannot be read
	MissingSegment  DamageKind = "missing segment" // the manifest names it
	DamagedSegment  DamageKind = "segment header"  // it cannot be read, or is of another file
	DamagedRange    DamageKind = "range"           // no record can be read here
	DamagedRecord   DamageKind = "record"          // a record in such a range, whose key the hint knows
	DamagedValue    DamageKind = "value"           // the value alone; its key can be read
	DamagedOrder    DamageKind = "order"           // sequence numbers do not follow each other as they should
	DamagedHint     DamageKind = "hint"            // it cannot be read
	WrongHint       DamageKind = "hint entry"      // it does not say what is in the segment
	NewerData       DamageKind = "newer data"      // the manifest is an older one that was put back
)

var meanings = map[DamageKind]string{
	DamagedManifest: "the store cannot be opened; salvage brings what is readable into a new store",
	DamagedCopy:     "nothing is lost: the manifest has one good copy left, and the next change rewrites both",
	MissingSegment:  "the store cannot be opened; salvage brings what the other segments hold into a new store",
	DamagedSegment:  "the store cannot be opened; salvage brings what is readable into a new store",
	DamagedRange:    "what was written here is lost: reads of keys that the hint still knows, which are listed, return ErrCorrupt; other keys are missing or have an older value",
	DamagedRecord:   "the value is lost: reads of the key return ErrCorrupt, unless it was written again later",
	DamagedValue:    "the value is lost: reads of the key return ErrCorrupt, unless it was written again later",
	DamagedOrder:    "which record of a key is the newest is not certain, or records between these two are lost",
	DamagedHint:     "nothing is lost: the next open rebuilds the hint",
	NewerData:       "the manifest is an older one that does not know this data, and the store cannot be opened; put the newest manifest back, or salvage, which brings this data into a new store",
	WrongHint:       "the next open trusts the hint: reads of the key return ErrCorrupt, find nothing or find an older value; if the hint's file is removed, the next open rebuilds it",
}

// newReport makes a Report of what package check found.
func newReport(found check.Report) Report {
	r := Report{
		Segments: found.Segments, Records: found.Records, Hints: found.Hints, Bytes: found.Bytes, Clean: found.Clean,
		Omitted: found.Omitted,
	}
	for _, d := range found.Damages {
		r.Damages = append(r.Damages, Damage{DamageKind(d.Kind), d.File, d.Offset, d.Size, d.Key, d.Reason})
	}
	for _, remark := range found.Remarks {
		r.Remarks = append(r.Remarks, Remark(remark))
	}
	return r
}
