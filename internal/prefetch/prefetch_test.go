package prefetch

import (
	"testing"
	"unsafe"
)

// Requested memory need not exist, and does not change.
func TestLine(t *testing.T) {
	there := [...]uint64{1, 2, 3}
	Line(unsafe.Pointer(&there[1]))
	Line(nil)
	Lines([]unsafe.Pointer{unsafe.Pointer(&there[0]), nil, unsafe.Pointer(&there[2])})
	Lines(nil)
	if there != [...]uint64{1, 2, 3} {
		t.Error(there)
	}
}

// BenchmarkSum reads a table larger than any cache in random order, block by block. It either
// reads each line in its turn, or first requests all lines of the block.
func BenchmarkSum(b *testing.B) {
	table := make([]uint64, 1<<25)
	for i := range table {
		table[i] = uint64(i)
	}
	for name, ask := range map[string]func(p *uint64){
		"one by one": func(*uint64) {},
		"requested":  func(p *uint64) { Line(unsafe.Pointer(p)) },
	} {
		b.Run(name, func(b *testing.B) {
			var block [16]uint32
			state, sum := uint64(1), uint64(0)
			for n := 0; n < b.N; n += len(block) {
				for i := range block {
					state = state*6364136223846793005 + 1442695040888963407
					block[i] = uint32(state >> 39)
					ask(&table[block[i]])
				}
				for _, at := range block {
					sum = table[(uint64(at)+sum&1)%uint64(len(table))] // depends on the previous read
				}
			}
			if sum >= uint64(len(table)) {
				b.Fatal(sum)
			}
		})
	}
}
