//go:build (linux || darwin || freebsd) && race

package vfs

import (
	"bytes"
	"io"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// The race detector does not watch mapped memory. In race builds a mapping is a heap copy of
// the file, and every write to the file is copied there too, so that the detector catches a
// reader of bytes that are not published yet.
//
// What must hold: when WriteAt or Truncate returns, every copy shows what it did, and zeros
// past the file's end. Bytes are copied outside the mutex: inside, the mutex would order
// writers and readers that do not synchronize themselves.
type mirror struct{ inode inode }

type inode struct{ device, number uint64 }

var mirrors struct {
	mu     sync.Mutex // guards copies
	copies map[inode][]*heapMapping
}

func newMirror(fd int) mirror {
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return mirror{}
	}
	return mirror{inode{uint64(stat.Dev), stat.Ino}}
}

func (m mirror) copies() []*heapMapping {
	mirrors.mu.Lock()
	defer mirrors.mu.Unlock()
	return slices.Clone(mirrors.copies[m.inode])
}

func (m mirror) wrote(p []byte, offset int64) {
	for _, c := range m.copies() {
		c.write(p, offset)
	}
}

// truncate clears only what it cuts off: the memory past the old end is zero already, and most
// of it was never touched.
func (m mirror) truncate(fd int, size int64) error {
	var old unix.Stat_t
	if err := unix.Fstat(fd, &old); err != nil {
		return err
	}
	if err := truncate(fd, size); err != nil {
		return err
	}
	for _, c := range m.copies() {
		if end := min(old.Size, int64(len(c.memory))); size < end {
			// The race detector sees copy but not clear.
			c.write(make([]byte, end-size), size)
		}
	}
	return nil
}

// mapFile holds the mutex from reading the file to listing the copy. A concurrent write is in
// the file before the read, or reaches the listed copy.
func (m mirror) mapFile(f *osFile, size int) (Mapping, error) {
	mirrors.mu.Lock()
	defer mirrors.mu.Unlock()
	c := &heapMapping{memory: make([]byte, size), inode: m.inode}
	if _, err := f.ReadAt(c.memory, 0); err != nil && err != io.EOF {
		return nil, err
	}
	var err error
	if c.fd, err = unix.FcntlInt(uintptr(f.fd), unix.F_DUPFD_CLOEXEC, 0); err != nil {
		return nil, err
	}
	if mirrors.copies == nil {
		mirrors.copies = map[inode][]*heapMapping{}
	}
	mirrors.copies[m.inode] = append(mirrors.copies[m.inode], c)
	return c, nil
}

type heapMapping struct {
	memory []byte
	inode  inode
	fd     int // keeps the inode number from being reused, as a mapping would

	// A write to the file may end while its mapping goes. Writers share this mutex, which
	// orders them before Unmap, and neither among themselves nor with readers.
	writing  sync.RWMutex // guards unmapped
	unmapped bool
}

func (m *heapMapping) Bytes() []byte { return m.memory }

func (m *heapMapping) write(p []byte, offset int64) {
	m.writing.RLock()
	defer m.writing.RUnlock()
	if !m.unmapped && offset < int64(len(m.memory)) {
		copy(m.memory[offset:], p)
	}
}

func (m *heapMapping) Unmap() error {
	mirrors.mu.Lock()
	defer mirrors.mu.Unlock()
	m.writing.Lock()
	defer m.writing.Unlock()
	if m.unmapped {
		return unix.EINVAL
	}
	m.unmapped = true
	m.poison()
	releaseMapping()
	left := slices.DeleteFunc(mirrors.copies[m.inode], func(c *heapMapping) bool { return c == m })
	if len(left) == 0 {
		delete(mirrors.copies, m.inode)
	} else {
		mirrors.copies[m.inode] = left
	}
	return unix.Close(m.fd)
}

// poison overwrites what readers may have read. The race detector reports a read that is not
// ordered before it, and a later read shows nothing of the file.
func (m *heapMapping) poison() {
	const poisonBytes = 64 << 10
	var stat unix.Stat_t
	if err := unix.Fstat(m.fd, &stat); err != nil {
		return
	}
	poison := bytes.Repeat([]byte{0xdb}, poisonBytes)
	for left := m.memory[:min(stat.Size, int64(len(m.memory)))]; len(left) > 0; {
		left = left[copy(left, poison):]
	}
}
