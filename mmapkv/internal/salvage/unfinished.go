package salvage

import (
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv/internal/listing"
	"github.com/mmapkv/mmapkv/segment"
)

// unfinishedFS gives the manifest another name in one directory, that of a store which is
// not complete.
type unfinishedFS struct {
	vfs.FS
	path string // of the directory
}

func (f unfinishedFS) OpenDir(path string) (vfs.Dir, error) {
	dir, err := f.FS.OpenDir(path)
	if err != nil || path != f.path {
		return dir, err
	}
	return unfinishedDir{dir}, nil
}

type unfinishedDir struct{ vfs.Dir }

func (d unfinishedDir) Open(name string) (vfs.File, error) {
	return d.Dir.Open(unfinishedName(name))
}

func (d unfinishedDir) OpenReadOnly(name string) (vfs.File, error) {
	return d.Dir.OpenReadOnly(unfinishedName(name))
}

func (d unfinishedDir) Rename(oldName, newName string) error {
	return d.Dir.Rename(oldName, unfinishedName(newName))
}

func unfinishedName(name string) string {
	if name == segment.ManifestName {
		return listing.UnfinishedManifest
	}
	return name
}
