package order

import (
	"unsafe"

	"github.com/mmapkv/mmapkv/internal/prefetch"
)

// request requests the places of the keys [from, to].
func (v *view) request(from, to int) {
	prefetch.Line(unsafe.Pointer(&v.places[from*v.width>>3]))
	prefetch.Line(unsafe.Pointer(&v.places[to*v.width>>3]))
}

// requestPlace requests what says where the part of the i-th key lies.
func (v *view) requestPlace(i int) {
	table, part, _ := v.locate(i)
	v.tables[table].PrefetchPlace(part)
}

// eachLikely calls fn with the keys that a search among candidates reads first.
func (v *view) eachLikely(among sought, fn func(i int)) {
	from, to := among.from, among.to
	last := v.count - 1
	switch {
	case last < 0:
	case to-from < 3:
		for i := from; i <= min(to, last); i++ {
			fn(i)
		}
	case to-from <= fenceKeys:
		middle := (from + to) / 2
		fn(middle)
		fn((from + middle) / 2)
		fn(min((middle+1+to)/2, last))
	}
}
