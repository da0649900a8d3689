package vfs

import "errors"

// Identity tells a file from all others, also from one that has its name, or its inode,
// when it is gone.
type Identity struct {
	Device, Inode uint64 // as stat(2) has them
	Born          int64  // nanoseconds; 0 where the system does not know
}

// Stamp is when a directory's entries have last changed, by the system's clock.
type Stamp struct {
	Changed int64 // nanoseconds, no finer than the system's clock ticks
	Removed bool  // the directory has no name any more
}

// Witness is what a Dir may be beyond its duties: one that can tell whether its files
// are still there.
type Witness interface {
	// Stamp does not wait for a disk.
	Stamp() (Stamp, error)
	// Identity is that of the file that has a name; fs.ErrNotExist where none has it.
	Identity(name string) (Identity, error)
}

// StampOf is the directory's stamp; errors.ErrUnsupported where it has none.
func StampOf(d Dir) (Stamp, error) {
	if w, ok := d.(Witness); ok {
		return w.Stamp()
	}
	return Stamp{}, errors.ErrUnsupported
}

// IdentityOf is the identity of the file that has a name in the directory;
// fs.ErrNotExist where none has it, errors.ErrUnsupported where that cannot be told.
func IdentityOf(d Dir, name string) (Identity, error) {
	if w, ok := d.(Witness); ok {
		return w.Identity(name)
	}
	return Identity{}, errors.ErrUnsupported
}
