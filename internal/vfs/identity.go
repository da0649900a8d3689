package vfs

import "errors"

// Identity distinguishes a file from all others, including a later file with its name or its
// inode.
type Identity struct {
	Device, Inode uint64 // as in stat(2)
	Born          int64  // birth time in nanoseconds; 0 where the system does not know it
}

// Stamp says when a directory's entries last changed, by the system's clock.
type Stamp struct {
	Changed int64 // nanoseconds, with the resolution of the system's clock
	Removed bool  // the directory no longer has a name
}

// Witness is an optional interface of a Dir that can tell whether its files are still there.
type Witness interface {
	// Stamp does not wait for a disk.
	Stamp() (Stamp, error)
	// Identity returns the identity of the named file; fs.ErrNotExist if there is none.
	Identity(name string) (Identity, error)
}

// StampOf returns the directory's stamp; errors.ErrUnsupported if the Dir keeps none.
func StampOf(d Dir) (Stamp, error) {
	if w, ok := d.(Witness); ok {
		return w.Stamp()
	}
	return Stamp{}, errors.ErrUnsupported
}

// IdentityOf returns the identity of the named file in the directory; fs.ErrNotExist if there
// is none, errors.ErrUnsupported if the Dir cannot tell.
func IdentityOf(d Dir, name string) (Identity, error) {
	if w, ok := d.(Witness); ok {
		return w.Identity(name)
	}
	return Identity{}, errors.ErrUnsupported
}
