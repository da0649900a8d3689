package catalog

import (
	"slices"

	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/segment"
)

// retired are unlinked, and take room until no reader uses them.
type retired struct {
	mu   rank.Mutex[rank.Retired] // guards list; a leaf
	list []*segment.Segment
}

// Retire retires a file that is unlinked, and counts it if a reader uses it.
func (r *retired) Retire(f *File) {
	f.Retire()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, f.Segment)
	r.heldLocked()
}

// Held is what unlinked files still take.
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

// AwaitReleases returns when the unlinked files that no read uses are released.
func (r *retired) AwaitReleases() {
	r.mu.Lock()
	retired := slices.Clone(r.list)
	r.mu.Unlock()
	for _, one := range retired {
		one.AwaitRelease()
	}
}
