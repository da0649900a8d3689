package crashfs

import "fmt"

// Kind is what a call does.
type Kind uint8

// The calls that change a disk. A lock that creates its file is a Create.
const (
	Mkdir Kind = iota + 1
	Create
	Rename
	Remove
	SyncDir
	Write
	Truncate
	Allocate
	Datasync
)

// String returns the kind in lower case.
func (k Kind) String() string {
	switch k {
	case Mkdir:
		return "mkdir"
	case Create:
		return "create"
	case Rename:
		return "rename"
	case Remove:
		return "remove"
	case SyncDir:
		return "sync directory"
	case Write:
		return "write"
	case Truncate:
		return "truncate"
	case Allocate:
		return "allocate"
	case Datasync:
		return "datasync"
	}
	return "unknown call"
}

// Op is one call that changes the disk.
type Op struct {
	Kind   Kind   // which call
	Name   string // clean path of the file or directory; of Rename, the old one
	To     string // of Rename: the new path
	Offset int64  // of Write: where the bytes go
	Length int64  // of Write: bytes; of Truncate and Allocate: the file's length
}

// String describes the call.
func (o Op) String() string {
	switch o.Kind {
	case Rename:
		return fmt.Sprintf("%v %s to %s", o.Kind, o.Name, o.To)
	case Write:
		return fmt.Sprintf("%v %s at %d, %d bytes", o.Kind, o.Name, o.Offset, o.Length)
	case Truncate, Allocate:
		return fmt.Sprintf("%v %s to %d", o.Kind, o.Name, o.Length)
	}
	return fmt.Sprintf("%v %s", o.Kind, o.Name)
}

// Entry is one line of a disk's log.
type Entry struct {
	Op
	// Sum is a hash of this call and all earlier ones, including the bytes written. Two runs
	// whose last entries have the same Sum made the same calls.
	Sum uint64
}

func (d *Disk) logLocked(op Op, content uint64) {
	sum := uint64(op.Kind)
	if len(d.log) > 0 {
		sum = mix(d.log[len(d.log)-1].Sum, sum)
	}
	sum = mix(mix(sumName(sum, op.Name), uint64(op.Offset)), uint64(op.Length))
	d.log = append(d.log, Entry{op, mix(sumName(sum, op.To), content)})
}
