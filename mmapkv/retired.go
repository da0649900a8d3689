package mmapkv

import (
	"slices"

	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/segment"
)

// retiredFiles are unlinked, and take room until no reader uses them.
type retiredFiles struct {
	mu   rank.Mutex[rank.Retired] // guards list; a leaf
	list []*segment.Segment
}

// retire retires a file that is unlinked, and counts it if a reader uses it.
func (r *retiredFiles) retire(f *file) {
	f.Retire()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, f.Segment)
	r.heldLocked()
}

// held is what unlinked files still take.
func (r *retiredFiles) held() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.heldLocked()
}

func (r *retiredFiles) heldLocked() (bytes int64) {
	r.list = slices.DeleteFunc(r.list, (*segment.Segment).Released)
	for _, one := range r.list {
		bytes += one.Limit()
	}
	return bytes
}

// awaitReleases returns when the unlinked files that no read uses are released.
func (r *retiredFiles) awaitReleases() {
	r.mu.Lock()
	retired := slices.Clone(r.list)
	r.mu.Unlock()
	for _, one := range retired {
		one.AwaitRelease()
	}
}
