// Package walrustest writes what package walrus reads, for tests.
package walrustest

import (
	"encoding/binary"
	"hash/fnv"
)

// AppendRecord appends a record to dst.
func AppendRecord(dst []byte, key, value string, deleted bool) []byte {
	at := len(dst)
	flags := byte(0)
	if deleted {
		flags = 1
	}
	dst = append(dst, flags)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(key)))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(value)))
	dst = append(append(dst, key...), value...)
	h := fnv.New64a()
	h.Write(dst[at:])
	return binary.LittleEndian.AppendUint32(dst, uint32(h.Sum64()))
}
