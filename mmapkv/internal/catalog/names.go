package catalog

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/segment"
)

// LookAtNames makes the store fail if its files are gone.
func (c *Catalog) LookAtNames() {
	c.Manifest.Mu.Lock()
	err := c.checkNamesLocked()
	c.Manifest.Mu.Unlock()
	if err != nil {
		_ = c.Latch.SyncError(err) // every write says so from now on
	}
}

var (
	errDirectoryRemoved = errors.New("mmapkv: the store's directory was removed")
	errManifestGone     = errors.New("mmapkv: MANIFEST was removed or replaced by another file")
	errLockGone         = errors.New("mmapkv: LOCK was removed or replaced by another file, so that a second writer may have opened the store")
)

// checkNamesLocked says what has happened to the names of the store's files, nil if
// nothing has, or if that cannot be told at the moment. The caller holds manifest.mu:
// whoever changes the manifest puts another file there.
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

// nameIdentity is which file has a name, as far as the file system tells.
type nameIdentity struct {
	identity vfs.Identity
	known    bool
}

// NameOf notes which file has a name now.
func NameOf(dir vfs.Dir, name string) nameIdentity {
	id, err := vfs.IdentityOf(dir, name)
	return nameIdentity{id, err == nil}
}

// stays says whether the same file has the name still, true if that cannot be told.
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

// noteManifestLocked remembers which file MANIFEST is. The caller holds manifest.mu, and
// has opened the file or put it there.
func (c *Catalog) noteManifestLocked() {
	id, err := vfs.IdentityOf(c.Dir, segment.ManifestName)
	c.Manifest.identity, c.Manifest.Identified = id, err == nil
}
