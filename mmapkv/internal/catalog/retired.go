package catalog

import (
	"slices"

	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/segment"
)

// retired lists unlinked files. They take disk space until no reader uses them.
type retired struct {
	mu   rank.Mutex[rank.Retired] // guards list; a leaf
	list []*segment.Segment
}

// Retire retires an unlinked file, and counts its space while a reader uses it.
func (r *retired) Retire(f *File) {
	f.Retire()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, f.Segment)
	r.heldLocked()
}

// Held returns how many bytes unlinked files still take.
func (r *retired) Held() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.heldLocked()
}

func (r *retired) heldLocked() (bytes int64) {
	r.list = slices.DeleteFunc(r.list, (*segment.Segment).Released)
	for _, one := range r.list {
		bytes += one.Limit()
	}
	return bytes
}

// AwaitReleases waits until the retired files that no reader uses are unmapped and closed.
func (r *retired) AwaitReleases() {
	r.mu.Lock()
	retired := slices.Clone(r.list)
	r.mu.Unlock()
	for _, one := range retired {
		one.AwaitRelease()
	}
}
