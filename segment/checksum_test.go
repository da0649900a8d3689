package segment

import (
	"testing"

	"pgregory.net/rapid"
)

func TestSealIsNeverZero(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		salt, offset := rapid.Uint64().Draw(t, "salt"), rapid.Int64().Draw(t, "offset")
		mask := seal(0, salt, offset, roleHeader)
		if seal(mask, salt, offset, roleHeader) != 1 {
			t.Fatal("the sum that the mask makes 0 is not stored as 1")
		}
		if sum := rapid.Uint32().Draw(t, "sum"); seal(sum, salt, offset, roleValue) == 0 {
			t.Fatal("0")
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
		t.Errorf("%d different checksums of %d", len(seen), 3*4*4)
	}
}
