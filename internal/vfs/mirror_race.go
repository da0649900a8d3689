//go:build (linux || darwin || freebsd) && race

package vfs

import (
	"io"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// The race detector does not see mapped memory. In race builds a mapping is a
// heap copy of the file, into which every write to the file is copied too, so
// that a reader of bytes that are not published yet is found out.
type mirror struct{ inode inode }

type inode struct{ device, number uint64 }

var mirrors struct {
	mu     sync.Mutex
	copies map[inode][]*heapMapping
}

func newMirror(fd int) mirror {
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return mirror{}
	}
	return mirror{inode{uint64(stat.Dev), stat.Ino}}
}

func (m mirror) wrote(p []byte, offset int64) {
	mirrors.mu.Lock()
	copies := slices.Clone(mirrors.copies[m.inode])
	mirrors.mu.Unlock()
	for _, c := range copies {
		if offset < int64(len(c.memory)) {
			copy(c.memory[offset:], p)
		}
	}
}

func (m mirror) mapFile(f *osFile, size int64) (Mapping, error) {
	if !spareMapping() {
		return nil, ErrMappingLimit
	}
	c := &heapMapping{memory: make([]byte, size), inode: m.inode}
	if n, err := f.ReadAt(c.memory, 0); err != nil && err != io.EOF {
		unspareMapping()
		return nil, err
	} else {
		clear(c.memory[n:])
	}
	mirrors.mu.Lock()
	defer mirrors.mu.Unlock()
	if mirrors.copies == nil {
		mirrors.copies = map[inode][]*heapMapping{}
	}
	mirrors.copies[m.inode] = append(mirrors.copies[m.inode], c)
	return c, nil
}

type heapMapping struct {
	memory []byte
	inode  inode
}

func (m *heapMapping) Bytes() []byte { return m.memory }

func (m *heapMapping) Unmap() error {
	unspareMapping()
	mirrors.mu.Lock()
	defer mirrors.mu.Unlock()
	left := slices.DeleteFunc(mirrors.copies[m.inode], func(c *heapMapping) bool { return c == m })
	if len(left) == 0 {
		delete(mirrors.copies, m.inode)
	} else {
		mirrors.copies[m.inode] = left
	}
	return nil
}
