package segment

import (
	"hash/crc32"

	"github.com/mmapkv/mmapkv/internal/vfs"
)

// WriteLongValue writes a value at an offset of a file, piece by piece through the chunk, and
// returns its CRC-32C for LongHeader. It reads the value only to copy it, so memory that faults
// does so here and nowhere else.
func WriteLongValue(f vfs.File, offset int64, value, chunk []byte) (rawSum uint32, err error) {
	for len(value) > 0 {
		n := copy(chunk, value)
		rawSum = crc32.Update(rawSum, castagnoli, chunk[:n])
		if _, err := vfs.WriteFull(f, chunk[:n], offset); err != nil {
			return 0, err
		}
		value, offset = value[n:], offset+int64(n)
	}
	return rawSum, nil
}

// LongLayout is the offset of the value from the start of its record.
func LongLayout(keySize int, flags Flags) int64 {
	return RecordHeaderSize + int64(flags.extension()) + int64(keySize)
}

// LongHeader is a record without its value. The caller writes it last, which makes the record
// exist. Padding follows the value, up to RecordSize: the file must include it.
func LongHeader(key []byte, valueSize int64, rawSum uint32, expiry int64, p Placement) []byte {
	flags := p.first()
	if expiry != 0 {
		flags |= Expires
	}
	head := make([]byte, LongLayout(len(key), flags))
	copy(head[len(head)-len(key):], key)
	encodeHead(head, flags, len(key), uint32(valueSize), rawSum, expiry, p.Seq, p.Offset, p)
	return head
}
