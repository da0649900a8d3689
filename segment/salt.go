package segment

import (
	"encoding/binary"
	"io"
)

// GuessSalt reads the salt from a header that is damaged. It is a guess: whether
// these eight bytes are still what was written shows when records validate.
func GuessSalt(r io.ReaderAt) (uint64, error) {
	var salt [8]byte
	if err := readFull(r, salt[:], segSaltAt); err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(salt[:]), nil
}
