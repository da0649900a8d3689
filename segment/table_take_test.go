package segment

import (
	"bytes"
	"errors"
	"testing"
)

// taken reads all pieces of a table by Take, n entries at a time.
func taken(t *testing.T, h *Table, n int) (list []HintEntry, damaged int) {
	var entries HintEntries
	var batch Batch
	for i := range h.Pieces() {
		if err := h.Piece(i, &entries); err != nil {
			t.Fatal(err)
		}
		for more := true; more; {
			more = entries.Take(&batch, n)
			if err := entries.Err(); !more && err != nil {
				if !errors.Is(err, ErrHint) {
					t.Fatal(err)
				}
				more, damaged = true, damaged+1
			}
			for _, e := range batch.Entries {
				e.Key = bytes.Clone(e.Key)
				list = append(list, e)
			}
			if len(batch.Entries) > n {
				t.Fatalf("Take took %d entries instead of %d", len(batch.Entries), n)
			}
			batch.Reset(1 << 10)
		}
	}
	return list, damaged
}

// Take yields the entries that Next does, however many at a time, and skips the same damaged parts.
func TestTakeYieldsWhatNextDoes(t *testing.T) {
	data := longHint()
	for _, damage := range []bool{false, true} {
		h := openTable(t, data)
		if damage {
			for part := 5; part < len(h.parts); part += 50 {
				data[h.partPlace(part)+20] ^= 1
			}
		}
		var want []HintEntry
		bad := 0
		for e, err := range h.Entries() {
			if err != nil {
				bad++
				continue
			}
			e.Key = bytes.Clone(e.Key)
			want = append(want, e)
		}
		if damage != (bad > 3) {
			t.Fatalf("%d parts are damaged", bad)
		}
		for _, n := range []int{1, 7, 64, 1 << 20} {
			got, damaged := taken(t, h, n)
			if len(got) != len(want) || damaged != bad {
				t.Fatalf("%d at a time: %d entries and %d damaged parts, want %d and %d", n, len(got), damaged, len(want), bad)
			}
			for i := range got {
				if !sameEntry(got[i], want[i]) {
					t.Fatalf("%d at a time: entry %d is %v, want %v", n, i, got[i], want[i])
				}
			}
		}
	}
}
