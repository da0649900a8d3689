package segment

import (
	"encoding/binary"
	"io"
)

// GuessSalt reads the salt from a damaged header. It is a guess: if records validate with it, these
// eight bytes are undamaged.
func GuessSalt(r io.ReaderAt) (uint64, error) {
	var salt [8]byte
	if err := readFull(r, salt[:], segSaltAt); err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(salt[:]), nil
}
