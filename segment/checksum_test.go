package segment

import (
	"hash/crc32"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

func TestSealIsNeverZero(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		salt, offset := rapid.Uint64().Draw(t, "salt"), rapid.Int64().Draw(t, "offset")
		mask := seal(0, salt, offset, roleHeader)
		if seal(mask, salt, offset, roleHeader) != 1 {
			t.Fatal("a sum that the mask turns into 0 is not stored as 1")
		}
		if sum := rapid.Uint32().Draw(t, "sum"); seal(sum, salt, offset, roleValue) == 0 {
			t.Fatal("the stored checksum is 0")
		}
	})
}

func TestSealDependsOnPlaceSaltAndRole(t *testing.T) {
	seen := make(map[uint32]bool)
	for _, salt := range []uint64{0, 1, testSalt} {
		for _, offset := range []int64{0, 8, 64, MaxOffset} {
			for _, r := range []role{roleHeader, roleValue, roleHint, roleBody} {
				seen[seal(12345, salt, offset, r)] = true
			}
		}
	}
	if len(seen) != 3*4*4 {
		t.Errorf("got %d different checksums, want %d", len(seen), 3*4*4)
	}
}

func TestPieceSumsAreThoseOfThePieces(t *testing.T) {
	var p pieceSums
	rapid.Check(t, func(t *rapid.T) {
		data := make([]byte, rapid.IntRange(0, 1<<18).Draw(t, "size"))
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		for i := range data {
			data[i] = byte(rng.Uint32())
		}
		p.reset(data)
		for range 20 {
			to := rapid.IntRange(0, len(data)).Draw(t, "to")
			from := rapid.IntRange(0, to).Draw(t, "from")
			if got, want := p.sum(from, to), crc32.Checksum(data[from:to], castagnoli); got != want {
				t.Fatalf("[%d:%d] of %d bytes: %#x, want %#x", from, to, len(data), got, want)
			}
		}
	})
}
