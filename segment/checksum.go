package segment

import (
	"hash/crc32"
	"sync"
)

// castagnoli is CRC-32C, which processors compute in hardware.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// role distinguishes the checksums that may be stored at one place.
type role uint64

const (
	roleHeader role = 0x9ae16a3b2f90404f
	roleValue  role = 0xc3a5c85c97cb3127
	roleHint   role = 0xb492b66fbe98f273 // with the id as offset
	rolePart   role = 0x8ebc6af09c88c6e3 // of a hint
	roleRange  role = 0xe7037ed1a0b428db // of a partial hint, with the id as offset
	roleBody   role = 0x9ddfea08eb382d69
	roleEdit   role = 0xd6e8feb86659fd93
	roleChange role = 0xa0761d6478bd642f
)

// seal turns a CRC into the checksum that is stored. It depends on the file's salt and on the
// offset, so that bytes of another file or another offset do not validate. It is never 0, so that
// zeros do not validate either. The mask is the finalizer of splitmix64 (Steele, Lea, Flood: Fast
// Splittable Pseudorandom Number Generators, 2014). It is not linear, so a known mask says nothing
// about the mask of another offset.
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

// pieceSums computes the CRC-32C of many overlapping pieces of one buffer, each in about the same
// short time, however long the piece is. If B follows A, then crc(AB) = shiftSum(crc(A), len(B)) ^
// crc(B), so the sums of the buffer's prefixes yield the sum of every piece. A scan needs this
// where bytes that look like headers with long keys overlap.
type pieceSums struct {
	data []byte
	sums []uint32 // of data[:0], data[:pieceStride] and so on, computed on demand
}

// pieceStride is the distance in bytes between two stored sums.
const pieceStride = 64

// reset switches to new data, and reuses the memory.
func (p *pieceSums) reset(data []byte) { p.data, p.sums = data, append(p.sums[:0], 0) }

// sum is the CRC-32C of data[from:to].
func (p *pieceSums) sum(from, to int) uint32 {
	return p.prefixSum(to) ^ shiftSum(p.prefixSum(from), to-from)
}

// prefixSum is the CRC-32C of data[:n].
func (p *pieceSums) prefixSum(n int) uint32 {
	for i := len(p.sums); i <= n/pieceStride; i++ {
		p.sums = append(p.sums, crc32.Update(p.sums[i-1], castagnoli, p.data[(i-1)*pieceStride:i*pieceStride]))
	}
	kept := n / pieceStride
	return crc32.Update(p.sums[kept], castagnoli, p.data[kept*pieceStride:n])
}

// shiftSum is what sum contributes to the CRC of a text that continues for n more bytes: the
// product of sum and x to the power of 8n. n is below 1<<24.
func shiftSum(sum uint32, n int) uint32 {
	powers := shiftPowers()
	for digit := 0; n > 0; digit++ {
		if low := n & 0xff; low != 0 {
			sum = product(powers[digit][low], sum)
		}
		n >>= 8
	}
	return sum
}

// shiftPowers holds, for each base-256 digit of n, x to the power of 8n.
var shiftPowers = sync.OnceValue(func() *[3][256]uint32 {
	const one, xTo8 = 1 << 31, 1 << 23 // the highest bit is x to the power of 0
	powers := new([3][256]uint32)
	step := uint32(xTo8)
	for digit := range powers {
		powers[digit][0] = one
		for i := 1; i < len(powers[digit]); i++ {
			powers[digit][i] = product(step, powers[digit][i-1])
		}
		step = product(step, powers[digit][255])
	}
	return powers
})

// product multiplies two polynomials modulo the polynomial of CRC-32C.
func product(a, b uint32) (p uint32) {
	for ; a != 0; a <<= 1 {
		p ^= b & -(a >> 31)
		b = b>>1 ^ crc32.Castagnoli&-(b&1)
	}
	return p
}
