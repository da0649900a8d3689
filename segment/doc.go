// Package segment reads and writes the files of a store: segments, which hold
// records, their hints, and the manifest. It knows the bytes and what makes them
// valid; which file counts, and what is alive, is decided above it.
//
// What must hold:
//
//   - A record lies at a multiple of 8, and validates only there and in its file:
//     its checksums depend on the file's salt and on the offset.
//   - Zeros, which a file is preallocated with, never validate: no stored checksum
//     of a record is 0, and no sequence number either.
//   - No length is believed before it was compared with what there is.
//   - In a file of the log, sequence numbers have no gaps, batches are not split.
//   - A sealed file never changes. A hint covers no byte that was not synced.
//   - A version above the known one is refused, never guessed at.
//
// All numbers are little-endian. Every checksum is a CRC-32C with a mask from the
// salt, the offset and the role (see seal); where nothing else is said, the offset
// is 0. The worked examples use the salt 0x0123456789abcdef.
//
// # Segment header
//
// A segment begins with 64 bytes, and the ids of the files that it replaces, 8
// bytes each. Records follow up to the end that the manifest names.
//
//	+-------+---------+------+----+------+------+----------+------+----------+----------+
//	| magic | version | size | id | salt | kind | replaced | zero | checksum | ids      |
//	| 8     | 4       | 4    | 8  | 8    | 4    | 4        | 20   | 4        | 8 * each |
//	+-------+---------+------+----+------+------+----------+------+----------+----------+
//
// The header of merged segment 9, which replaces segment 3:
//
//	0000  4d 4d 4b 56 53 45 47 00   magic "MMKVSEG\0"
//	0008  01 00 00 00               version
//	000c  48 00 00 00               size of this header, 72
//	0010  09 00 00 00 00 00 00 00   id, 9
//	0018  ef cd ab 89 67 45 23 01   salt
//	0020  02 00 00 00               kind, 2: Merged; a Log is 1
//	0024  01 00 00 00               number of replaced files
//	0028  00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  zero
//	0038  00 00 00 00
//	003c  38 3e 58 3a               checksum, of bytes 0 to 60 and 64 on
//	0040  03 00 00 00 00 00 00 00   id of a replaced file, 3
//
// # Record
//
//	+------------+-----------+-----+------------+----------+-------+------+
//	| header sum | value sum | seq | value size | key size | flags | zero |
//	| 4          | 4         | 8   | 4          | 2        | 1     | 1    |
//	+------------+-----------+-----+------------+----------+-------+------+
//	| expiry 8? | watermark 8? | previous offset 8, seq 8? | key | value | padding |
//	+-----------+--------------+---------------------------+-----+-------+---------+
//
// The header checksum covers all from the value checksum to the end of the key,
// the value checksum the value; both with the record's offset. The padding, to a
// multiple of 8, is not covered. Flags, from bit 0: tombstone; expiry follows (Unix
// milliseconds); the batch goes on with the next record; watermark follows (all up
// to that number was on disk before); previous follows (where the file before
// ends). A tombstone has no value.
//
// "key" with "value", as record 1 at offset 64:
//
//	0000  8a 9a 72 a4               header checksum
//	0004  b4 84 82 9c               value checksum
//	0008  01 00 00 00 00 00 00 00   sequence number, 1
//	0010  05 00 00 00               size of the value
//	0014  03 00                     size of the key
//	0016  00                        flags, none
//	0017  00                        zero
//	0018  6b 65 79                  "key"
//	001b  76 61 6c 75 65            "value"
//
// # Hint
//
// The newest record of each key of a segment, by key.
//
//	+-----------+---------+-----------+--------+-------------+
//	| header 64 | entries | directory | damage | checksum, 0 |
//	|           |         | 8 * each  | 16 *   | 4 + 4       |
//	+-----------+---------+-----------+--------+-------------+
//
// An entry is 40 bytes and the key, padded to a multiple of 8. The directory has
// the place of each in the hint. Damage lists ranges of the segment that cannot be
// read. The checksum takes the id of the segment as its offset.
//
// The hint of segment 7, one record and one damaged range:
//
//	0000  4d 4d 4b 56 48 4e 54 00   magic "MMKVHNT\0"
//	0008  01 00 00 00               version
//	000c  01 00 00 00               number of damaged ranges
//	0010  07 00 00 00 00 00 00 00   id of the segment, 7
//	0018  80 00 00 00 00 00 00 00   covers: offset, 128
//	0020  02 00 00 00 00 00 00 00   covers: sequence number, 2
//	0028  01 00 00 00 00 00 00 00   watermark, 1
//	0030  01 00 00 00 00 00 00 00   number of entries
//	0038  30 00 00 00 00 00 00 00   bytes of entries, 48
//	0040  40 00 00 00 00 00 00 00   entry: offset, 64
//	0048  20 00 00 00 00 00 00 00   size, 32
//	0050  01 00 00 00 00 00 00 00   sequence number, 1
//	0058  00 00 00 00 00 00 00 00   expiry
//	0060  03 00                     size of the key
//	0062  00                        flags: tombstone, expiry
//	0063  00 00 00 00 00            zero
//	0068  6b 65 79 00 00 00 00 00   "key", padded
//	0070  40 00 00 00 00 00 00 00   directory: the entry is at 0x40
//	0078  60 00 00 00 00 00 00 00   damage: offset, 96
//	0080  20 00 00 00 00 00 00 00   length, 32
//	0088  b4 8d a6 60 00 00 00 00   checksum, of all before it
//
// # Manifest
//
// The same block twice, one of which is enough: a header of 32 bytes, a body of
// 48, and 40 for each segment, in the order of the log. Its checksum has no salt.
//
//	+-------+---------+----------+------+------+------+----------+--- - -
//	| magic | version | checksum | size | zero | body | segments | again
//	| 8     | 4       | 4        | 8    | 8    | 48   | 40 each  |
//	+-------+---------+----------+------+------+------+----------+--- - -
//
// The block of a store with one segment, closed:
//
//	0000  4d 4d 4b 56 4d 41 4e 00   magic "MMKVMAN\0"
//	0008  01 00 00 00               version
//	000c  53 e5 66 df               checksum, of all behind it
//	0010  58 00 00 00 00 00 00 00   size of the body, 88
//	0018  00 00 00 00 00 00 00 00   zero
//	0020  03 00 00 00 00 00 00 00   body: edit, 3
//	0028  08 00 00 00 00 00 00 00   next id, 8
//	0030  02 00 00 00 00 00 00 00   last sequence number, 2
//	0038  01 00 00 00 00 00 00 00   watermark, 1
//	0040  01 00 00 00 00 00 00 00   clean, 1 for yes
//	0048  01 00 00 00 00 00 00 00   number of segments
//	0050  07 00 00 00 00 00 00 00   segment: id, 7
//	0058  ef cd ab 89 67 45 23 01   salt
//	0060  01 00 00 00               kind, 1: Log
//	0064  00 00 00 00               sealed, 0 for no
//	0068  80 00 00 00 00 00 00 00   end: offset, 128
//	0070  02 00 00 00 00 00 00 00   end: sequence number, 2
package segment
