//go:build (linux || darwin || freebsd) && !race

package vfs

// mirror does nothing: mapped memory shows what is written.
type mirror struct{}

func newMirror(int) mirror { return mirror{} }

func (mirror) wrote([]byte, int64) {}

func (mirror) truncate(fd int, size int64) error { return truncate(fd, size) }

func (mirror) mapFile(f *osFile, size int) (Mapping, error) { return mapRegion(f, size) }
