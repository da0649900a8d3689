package load

import (
	"unsafe"

	"github.com/mmapkv/mmapkv/index"
)

// prepare sizes the index for all entries of the hints, and for the records of files without one, and
// sizes what workers collect. If several entries are of one key, the index is too large; the end gives
// back the rest.
func (l *Loading) prepare() {
	l.mu.Lock()
	sources, bytes := l.sources, l.bytesLocked()
	l.mu.Unlock()
	keys := l.Catalog.Files.Keys
	if bytes >= smallStore {
		entries := 0
		var known, unknown int64 // bytes of records
		for _, from := range sources {
			if l.halted() {
				return
			}
			n := from.entries
			if n == 0 {
				n = l.Hints.Count(from.file, from.end)
			}
			if entries += n; n > 0 {
				known += from.end.Offset
			} else {
				unknown += from.end.Offset
			}
		}
		if known > 0 {
			entries += int(float64(entries) * float64(unknown) / float64(known))
		}
		keys.Reserve(keys.Len()+entries, l.halted)
	}
	l.parts = 1
	for size := keys.Bytes(); l.parts < maxParts && int64(l.parts)*partBytes < size; {
		l.parts *= 2
	}
	l.capacity = capacityOf(keys.Bytes(), l.workers*l.parts)
}

// capacityOf returns how many records of each part a worker collects, if all workers together have
// that many parts. What all collect takes at most a quarter of what a large index takes.
func capacityOf(indexBytes int64, parts int) int {
	fitting := indexBytes / 4 / int64(parts) / int64(unsafe.Sizeof(index.Entry{})+unsafe.Sizeof(more{}))
	return int(min(max(fitting, minCollected), maxCollected))
}
