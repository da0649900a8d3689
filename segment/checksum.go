package segment

import "hash/crc32"

// castagnoli is CRC-32C, for which processors have an instruction.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// role tells the checksums of one place apart.
type role uint64

const (
	roleHeader role = 0x9ae16a3b2f90404f
	roleValue  role = 0xc3a5c85c97cb3127
	roleHint   role = 0xb492b66fbe98f273
	roleBody   role = 0x9ddfea08eb382d69
)

// seal makes of a CRC the checksum that is stored: it also depends on the file's
// salt and on the place, so that bytes of another file or another offset do not
// validate, and it is never 0, so that zeros do not either. The mask is the
// finalizer of splitmix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom
// Number Generators, 2014): it is not linear, so one known mask tells nothing of
// another offset's.
func seal(sum uint32, salt uint64, offset int64, r role) uint32 {
	x := (salt ^ uint64(r)) + uint64(offset)*0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	x ^= x >> 31
	sum ^= uint32(x)
	if sum == 0 {
		return 1
	}
	return sum
}
