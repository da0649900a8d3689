package check

// Kind says what is damaged. The values are those of mmapkv.DamageKind, which documents
// what each means to users.
type Kind string

// The kinds of damage.
const (
	DamagedManifest Kind = "manifest"
	DamagedCopy     Kind = "manifest copy"
	MissingSegment  Kind = "missing segment"
	DamagedSegment  Kind = "segment header"
	DamagedRange    Kind = "range"
	DamagedRecord   Kind = "record"
	DamagedValue    Kind = "value"
	DamagedOrder    Kind = "order"
	DamagedHint     Kind = "hint"
	WrongHint       Kind = "hint entry"
	NewerData       Kind = "newer data"
)

// Damage is one place that is not as it was written. The fields are those of
// mmapkv.Damage.
type Damage struct {
	// Kind is what is damaged, in the File of the store's directory.
	Kind Kind
	File string
	// Offset and Size are in bytes. Size is 0 if it is not known.
	Offset, Size int64
	// Key is nil if it is not known; the empty key is not nil.
	Key []byte
	// Reason says what is wrong with the bytes.
	Reason string
}

// Remark is something out of the ordinary that is not damage.
type Remark struct {
	// File is a name in the store's directory, and What is remarkable about it.
	File, What string
}

// Report is what a check found. The fields are those of mmapkv.Report.
type Report struct {
	// Segments, Records and Hints count what was checked. Bytes counts what was read of
	// the segments.
	Segments, Records, Hints int
	Bytes                    int64
	// Clean says that the store was closed and that nothing was written since.
	Clean bool
	// Damages lists what is damaged, file by file from the oldest on. Omitted counts
	// those that did not fit into the list.
	Damages []Damage
	Omitted int
	// Remarks lists what is out of the ordinary.
	Remarks []Remark
}

// findings collects damages and remarks within bounds.
type findings struct {
	damages  []Damage
	omitted  int
	keyBytes int
	remarks  []Remark
}

const (
	// maxDamages is how many damages a Report lists, and how many remarks.
	maxDamages = 10_000
	// maxKeyBytes bounds the keys in a Report, all together.
	maxKeyBytes = 16 << 20
)

func (f *findings) damage(d Damage) {
	if len(f.damages) == maxDamages || f.keyBytes+len(d.Key) > maxKeyBytes {
		f.omitted++
		return
	}
	f.keyBytes += len(d.Key)
	f.damages = append(f.damages, d)
}

func (f *findings) remark(file, what string) {
	if len(f.remarks) < maxDamages {
		f.remarks = append(f.remarks, Remark{file, what})
	}
}

// add adds the damages of other.
func (f *findings) add(other *findings) {
	for _, d := range other.damages {
		f.damage(d)
	}
	f.omitted += other.omitted
}
