package catalog

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/segment"
)

// LookAtNames makes the store fail if its directory, MANIFEST, LOCK or a file being written
// was removed or replaced.
func (c *Catalog) LookAtNames() {
	c.Manifest.Mu.Lock()
	err := c.checkNamesLocked()
	c.Manifest.Mu.Unlock()
	if err != nil {
		_ = c.Latch.SyncError(err) // every later write returns it
	}
}

var (
	errDirectoryRemoved = errors.New("mmapkv: the store's directory was removed")
	errManifestGone     = errors.New("mmapkv: MANIFEST was removed or replaced by another file")
	errLockGone         = errors.New("mmapkv: LOCK was removed or replaced by another file, so that a second writer may have opened the store")
)

// checkNamesLocked returns an error if a name of the store's files was removed or now means
// another file. It returns nil if all is well, or if the system cannot tell at the moment.
// The caller holds Manifest.Mu, since an edit of the manifest may replace MANIFEST.
func (c *Catalog) checkNamesLocked() error {
	m := &c.Manifest
	id, err := vfs.IdentityOf(c.Dir, segment.ManifestName)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if stamp, err := vfs.StampOf(c.Dir); err == nil && stamp.Removed {
			return errDirectoryRemoved
		}
		return errManifestGone
	case err != nil:
		return nil
	case !m.Identified:
		m.identity, m.Identified = id, true
	case id != m.identity:
		return errManifestGone
	}
	if !c.LockName.stays(c.Dir, segment.LockName) {
		return errLockGone
	}
	for _, f := range c.Files.Unsealed() {
		if name := segment.FileName(f.ID); !f.name.stays(c.Dir, name) {
			return fmt.Errorf("mmapkv: %s, which is being written, was removed or replaced by another file", name)
		}
	}
	return nil
}

// noteManifestLocked remembers which file MANIFEST is. The caller holds Manifest.Mu, and has
// opened the file or put it there.
func (c *Catalog) noteManifestLocked() {
	id, err := vfs.IdentityOf(c.Dir, segment.ManifestName)
	c.Manifest.identity, c.Manifest.Identified = id, err == nil
}

// nameIdentity remembers which file has a name.
type nameIdentity struct {
	identity vfs.Identity
	known    bool // the file system could tell
}

// NameOf remembers which file has a name now.
func NameOf(dir vfs.Dir, name string) nameIdentity {
	id, err := vfs.IdentityOf(dir, name)
	return nameIdentity{id, err == nil}
}

// stays reports whether the same file still has the name, and true if the system cannot
// tell.
func (n *nameIdentity) stays(dir vfs.Dir, name string) bool {
	if !n.known {
		return true
	}
	id, err := vfs.IdentityOf(dir, name)
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	return id == n.identity
}
