package catalog

import (
	"slices"

	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/segment"
)

// retired lists the files that are no longer listed and may still be in use. Their names are removed
// just before or after they are retired, but each takes disk space until its last use ends.
type retired struct {
	forget func(*File) // Options.Forget; may be nil

	mu   rank.Mutex[rank.Retired] // guards list; a leaf
	list []*segment.Segment
}

// Retire retires a file that is not listed: no use of it begins any more. Held counts its space
// until the last use ends.
func (r *retired) Retire(f *File) {
	if r.forget != nil {
		r.forget(f)
	}
	f.Retire()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, f.Segment)
	r.heldLocked() // so that the list stays short
}

// Held returns how many bytes the retired files still take.
func (r *retired) Held() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.heldLocked()
}

// heldLocked is Held, and forgets the files whose last use has ended.
func (r *retired) heldLocked() (bytes int64) {
	r.list = slices.DeleteFunc(r.list, (*segment.Segment).Released)
	for _, one := range r.list {
		bytes += one.Limit()
	}
	return bytes
}

// AwaitReleases waits until the retired files that are no longer in use are unmapped and closed.
func (r *retired) AwaitReleases() {
	r.mu.Lock()
	retired := slices.Clone(r.list)
	r.mu.Unlock()
	for _, one := range retired {
		one.AwaitRelease()
	}
}
