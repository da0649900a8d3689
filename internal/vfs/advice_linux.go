package vfs

import "golang.org/x/sys/unix"

func (m *osMapping) populate() { _ = unix.Madvise(m.memory, unix.MADV_POPULATE_READ) }

func (f *osFile) flush(offset, size int64) {
	_ = unix.SyncFileRange(f.fd, offset, size, unix.SYNC_FILE_RANGE_WRITE)
}

func (f *osFile) resident() float64 {
	size, err := f.Size()
	if err != nil || size == 0 {
		return 1
	}
	var stat unix.Cachestat_t
	if err := unix.Cachestat(uint(f.fd), &unix.CachestatRange{Len: uint64(size)}, &stat, 0); err != nil {
		return 1
	}
	return float64(stat.Cache) * float64(unix.Getpagesize()) / float64(size)
}

func (f *osFile) evict() { _ = unix.Fadvise(f.fd, 0, 0, unix.FADV_DONTNEED) }
