package segment

import (
	"encoding/binary"
	"hash/crc32"
	"io"
)

const (
	hintMagic      = "MMKVHNT\x00"
	hintHeaderSize = 80

	hintVersionAt   = 8
	hintDamagesAt   = 12
	hintIDAt        = 16
	hintCoversAt    = 24
	hintSeqAt       = 32
	hintWatermarkAt = 40
	hintCountAt     = 48
	hintKeyBytesAt  = 56
	hintBaseAt      = 64
	hintPartsAt     = 72
	hintPrefixAt    = 76

	// hintVersion is the version of this format. Nothing reads an older one: a hint of an older
	// version is rebuilt from the records.
	hintVersion = 3

	// HintFlags are the flags of a record that its hint stores. The others concern only recovery.
	HintFlags = Tombstone | Expires

	damageSize  = 16
	hintSumSize = 8
)

// Damage is a range of a file that cannot be read, although the log says that it was written and
// synced.
type Damage struct {
	Offset int64 // where the range begins
	Length int64 // in bytes
}

// MaxHintSize bounds the size of a hint that covers the given number of bytes. An entry takes at
// most twice the size of its record, and a damaged range at most twice its length, except for one
// range that is shorter than Alignment, one part that is not full, and the common prefix.
func MaxHintSize(covered int64) int64 {
	return hintHeaderSize + hintSumSize + damageSize + maxPartOverhead + 2*max(covered, 0)
}

// HintSize estimates what the entries of an encoded hint take, in terms of HintEntrySize.
func HintSize(encoded []byte) int64 {
	count, keyBytes := binary.LittleEndian.Uint64(encoded[hintCountAt:]), binary.LittleEndian.Uint64(encoded[hintKeyBytesAt:])
	return int64(keyBytes) + int64(count)*HintEntrySize(0)
}

func hintSeal(sum uint32, id ID, salt uint64) uint32 { return seal(sum, salt, int64(id), roleHint) }

// ReadHintCount reads the number of keys from the header of a hint of size bytes, and limits it to
// as many as fit. It verifies nothing.
func ReadHintCount(r io.ReaderAt, size int64) (int, error) {
	var header [hintHeaderSize]byte
	if n, err := r.ReadAt(header[:], 0); n < len(header) {
		return 0, err
	}
	fitting := uint64(size-hintHeaderSize) / (minEntrySize + placeSize)
	return int(min(binary.LittleEndian.Uint64(header[hintCountAt:]), fitting)), nil
}

// IsOlderHint reports whether data is a whole hint of an older version, which nothing reads any more.
// In the versions 1 and 2 the last 8 bytes are a checksum of all bytes before them.
func IsOlderHint(data []byte, id ID, salt uint64) bool {
	end := len(data) - hintSumSize
	if end < hintDamagesAt {
		return false
	}
	version := binary.LittleEndian.Uint32(data[hintVersionAt:])
	return (version == 1 || version == 2) &&
		binary.LittleEndian.Uint64(data[end:]) == uint64(hintSeal(crc32.Checksum(data[:end], castagnoli), id, salt))
}

// checkHintHeader says what is wrong with the header of a hint.
func checkHintHeader(header []byte, id ID) error {
	if string(header[:len(hintMagic)]) != hintMagic {
		return ErrHint
	}
	if err := checkVersion(binary.LittleEndian.Uint32(header[hintVersionAt:]), hintVersion); err != nil {
		return err
	}
	if ID(binary.LittleEndian.Uint64(header[hintIDAt:])) != id {
		return ErrHint
	}
	return nil
}
