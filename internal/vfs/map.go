//go:build linux || darwin || freebsd

package vfs

import (
	"errors"
	"sync"
	"time"
	"unsafe"

	"github.com/edsrzf/mmap-go"
	"golang.org/x/sys/unix"
)

// Mappings are counted, because a process that uses up vm.max_map_count dies in the Go runtime.
// The address range of an unmapped mapping stays reserved and inaccessible for a while: a slice
// that was kept too long then faults. Otherwise it would show whatever file the kernel maps
// there next.
const (
	quarantineRanges = 16
	quarantineTime   = time.Minute
)

var mappings struct {
	mu         sync.Mutex // guards the rest
	count      int        // mapped or in quarantine
	limit      int        // 0: not yet read
	quarantine []quarantined
	now        func() time.Time // nil: time.Now
}

type quarantined struct {
	memory mmap.MMap
	since  time.Time
}

// SetMappingLimit sets how many mappings this process may have, for a test. The function that
// it returns restores the old limit.
func SetMappingLimit(n int) (restore func()) {
	mappings.mu.Lock()
	defer mappings.mu.Unlock()
	old := mappings.limit
	mappings.limit = n
	return func() {
		mappings.mu.Lock()
		defer mappings.mu.Unlock()
		mappings.limit = old
	}
}

// SetQuarantineClock sets the clock that ends quarantines, for a test. The function that it
// returns restores the old clock.
func SetQuarantineClock(now func() time.Time) (restore func()) {
	mappings.mu.Lock()
	defer mappings.mu.Unlock()
	old := mappings.now
	mappings.now = now
	return func() {
		mappings.mu.Lock()
		defer mappings.mu.Unlock()
		mappings.now = old
	}
}

// ReleaseExpired releases the address ranges whose quarantine is over. So does every Unmap.
func ReleaseExpired() error {
	mappings.mu.Lock()
	defer mappings.mu.Unlock()
	return releaseExpiredLocked()
}

func releaseExpiredLocked() error {
	now := time.Now
	if mappings.now != nil {
		now = mappings.now
	}
	var errs error
	for len(mappings.quarantine) > 0 {
		oldest := mappings.quarantine[0]
		if len(mappings.quarantine) <= quarantineRanges && now().Sub(oldest.since) < quarantineTime {
			break
		}
		mappings.quarantine = mappings.quarantine[1:]
		mappings.count--
		errs = errors.Join(errs, oldest.memory.Unmap())
	}
	return errs
}

// acquireMapping counts one more mapping, unless the limit is reached.
func acquireMapping() bool {
	mappings.mu.Lock()
	defer mappings.mu.Unlock()
	if mappings.limit == 0 {
		mappings.limit = systemMappings() / 2
	}
	if mappings.count >= mappings.limit {
		return false
	}
	mappings.count++
	return true
}

func releaseMapping() {
	mappings.mu.Lock()
	defer mappings.mu.Unlock()
	mappings.count--
}

type osMapping struct{ memory mmap.MMap }

func mapRegion(f *osFile, size int) (Mapping, error) {
	memory, err := mmap.MapRegion(f.file, size, mmap.RDONLY, 0, 0)
	if err != nil {
		return nil, err
	}
	advise(memory)
	return &osMapping{memory}, nil
}

func (m *osMapping) Bytes() []byte { return m.memory }

func (m *osMapping) Unmap() error {
	memory := m.memory
	if memory == nil {
		return unix.EINVAL // already unmapped; the range may have another use by now
	}
	m.memory = nil
	// Replace the mapping by an inaccessible one in a single call, so that no other mapping can
	// take the addresses in between.
	_, err := unix.MmapPtr(-1, 0, unsafe.Pointer(unsafe.SliceData(memory)), uintptr(len(memory)),
		unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_FIXED)
	if err != nil {
		releaseMapping()
		return errors.Join(err, memory.Unmap())
	}
	mappings.mu.Lock()
	defer mappings.mu.Unlock()
	since := time.Now()
	if mappings.now != nil {
		since = mappings.now()
	}
	mappings.quarantine = append(mappings.quarantine, quarantined{memory, since})
	return releaseExpiredLocked()
}
