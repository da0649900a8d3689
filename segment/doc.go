// Package segment is the bytes: how a record, a segment file, a hint and a
// manifest are laid out, how they are written, and how they are read back from a
// disk that may have torn, lost, mixed up or changed any of them.
//
// It knows nothing of which file counts, what a key's newest record is, or when
// to sync: that is policy, and lies above.
//
// # What must hold
//
//   - All numbers are little-endian, and everything begins at a multiple of 8, but
//     for what is in a hint.
//   - A length from a disk is compared with what is left, by subtraction, before
//     it is used; nothing is allocated by one that was not. Reading a damaged or
//     hostile file costs memory and time in proportion to the file.
//   - The version is looked at before any field behind it. A newer one is
//     [ErrVersion], whatever else the file holds.
//   - What validates was written by this package for this place. Zeros, blocks of
//     ones, leftovers of another file and bytes that a user stored do not.
//   - A header vouches for its key and for everything else but the value, whose
//     own checksum it covers. So damage in a value leaves the key known.
//   - [Decode], [Record.ValueOK] and a reused [Draft] allocate nothing.
//
// # Checksums
//
// A checksum is a CRC-32C, sealed: xored with 32 bits that a non-linear mixer
// makes of the file's salt, the offset and the checksum's role, and then 1 if it
// would be 0 (seal, in checksum.go, has the arithmetic). A stored 0 is never
// right, because the CRC of nothing is 0, and zeros are just what a lost write
// leaves behind. The seeds keep apart what a CRC alone would take for the same:
//
//   - the salt, 64 random bits drawn for each file: a block that an older or
//     another store left on the disk, and a record that somebody who knows this
//     page stores inside a value, to be found by a scan behind some damage;
//   - the offset: a record that was written, copied or read elsewhere in its file;
//   - the role: a value that is the image of a header, and a hint of a record.
//
// The offset of a write is known late, in the leader's hands. Because the seal is
// put on last, the long part, the CRC of the value, is computed before, outside
// every lock. A hint is sealed with its segment's salt and id, and so belongs to
// that file only. The full copy in a manifest is sealed without a salt, since it is
// where the salts are found; the edits behind it have that of their file.
//
// None of this withstands somebody who can write to the files.
//
// # A segment file
//
// A header, then records without gaps between them. What a file may hold behind
// its last record, preallocated zeros or what a crash left, has no meaning. The
// header, [Header], is 64 bytes and the ids of the files that this one replaced:
//
//	       0       1       2       3       4       5       6       7
//	   +-------+-------+-------+-------+-------+-------+-------+-------+
//	 0 |  M       M       K       V       S       E       G       0    |
//	 8 |         version, 1            |          header's size        |
//	16 |                              id                               |
//	24 |                             salt                              |
//	32 |  kind: 1 log, 2 merged        |  number of ids at the end     |
//	40 |                             zeros                             |
//	48 |                             zeros                             |
//	56 |            zeros              |  checksum                     |
//	64 |  ids of the replaced files, 8 bytes each ...                  |
//	   +---------------------------------------------------------------+
//
// The checksum covers all bytes but its own four; its offset is 0. File 9, merged
// in place of file 3, begins like this:
//
//	0000  4d 4d 4b 56 53 45 47 00  "MMKVSEG", 0
//	0008  01 00 00 00 48 00 00 00  version 1, 72 bytes
//	0010  09 00 00 00 00 00 00 00  id 9
//	0018  ef cd ab 89 67 45 23 01  salt 0x0123456789abcdef
//	0020  02 00 00 00 01 00 00 00  merged, of 1 file
//	0028  00 00 00 00 00 00 00 00
//	0030  00 00 00 00 00 00 00 00
//	0038  00 00 00 00 38 3e 58 3a  checksum
//	0040  03 00 00 00 00 00 00 00  in place of file 3
//
// # A record
//
// A header of 24 bytes, the extensions that its flags announce, the key, the
// value, and padding up to the next multiple of 8:
//
//	       0       1       2       3       4       5       6       7
//	   +-------+-------+-------+-------+-------+-------+-------+-------+
//	 0 |  checksum of the header       |  checksum of the value        |
//	 8 |                       sequence number                         |
//	16 |        value's size           |  key's size   | flags |   0   |
//	   +---------------------------------------------------------------+
//	   |  expiry, Unix milliseconds, signed              if Expires    |
//	   |  watermark                                     if HasWatermark|
//	   |  where the file before ends: offset             if HasPrevious|
//	   |                              sequence number                  |
//	   +---------------------------------------------------------------+
//	   |  key, value, padding ...                                      |
//	   +---------------------------------------------------------------+
//
// The header's checksum covers bytes 4 to 24, the extensions and the key; both
// checksums have the offset of the record. The padding is written as zeros,
// belongs to the record, and is covered by none. The flags are bits:
//
//	 1  Tombstone     the key has no value from here on; the value's size is 0
//	 2  Expires       the key has no value from the expiry on
//	 4  BatchGoesOn   the next record belongs to the same batch
//	 8  HasWatermark  all records up to the watermark were on disk before this one
//	16  HasPrevious   in a file's first record: where the log left the file before
//
// Other bits do not validate, nor does sequence number 0. In a file of kind log
// the numbers have no gaps. The record number 1 of "key" and "value", at offset
// 64 of a file with the salt above:
//
//	0000  8a 9a 72 a4 b4 84 82 9c  checksums of header and value
//	0008  01 00 00 00 00 00 00 00  sequence number 1
//	0010  05 00 00 00 03 00 00 00  value of 5 bytes, key of 3, no flags
//	0018  6b 65 79 76 61 6c 75 65  "key", "value", no padding needed
//
// # A hint
//
// The newest record of each key of one file, sorted by key, so that opening a
// store need not read the records: a header, the entries, a directory of where
// each entry begins, for binary search, the damages, and the checksum of all that.
// Entries are as short as they can be, since there is one for each key: numbers are
// in base 128, 7 bits a byte from the lowest on, with the eighth bit where more
// follow (a varint, as Go's encoding/binary has it), in as few bytes as they need.
//
//	       0       1       2       3       4       5       6       7
//	   +-------+-------+-------+-------+-------+-------+-------+-------+
//	 0 |  M       M       K       V       H       N       T       0    |
//	 8 |         version, 2            |       number of damages       |
//	16 |                       id of the segment                       |
//	24 |   where its records ended when this was written: offset       |
//	32 |                                                  sequence n.  |
//	40 |         watermark, all up to it was on disk then              |
//	48 |                      number of entries                        |
//	56 |                 size of all keys together                     |
//	   +---------------------------------------------------------------+
//	   |  entries:       flags, 1 byte                                 |
//	   |                 key's size, varint                            |
//	   |                 key                                           |
//	   |                 offset of the record in its segment / 8,      |
//	   |                 size of the record / 8, varints               |
//	   |                 sequence number, varint                       |
//	   |                 expiry, 8 bytes                  if Expires   |
//	   +---------------------------------------------------------------+
//	   |  directory:     place of each entry in this file, 4 bytes     |
//	   +---------------------------------------------------------------+
//	   |  damages:       offset in the segment                         |
//	   |                 length                                        |
//	   +---------------------------------------------------------------+
//	   |       checksum                |             zeros             |
//	   +---------------------------------------------------------------+
//
// A damage is a range that once was written and synced and that cannot be read
// any more. Of the flags only Tombstone and Expires are kept. A hint that covers
// another end than the manifest names is as good as none. The hint of segment 7,
// which has the record above and 32 bytes of damage behind it:
//
//	0000  4d 4d 4b 56 48 4e 54 00  "MMKVHNT", 0
//	0008  02 00 00 00 01 00 00 00  version 2, 1 damage
//	0010  07 00 00 00 00 00 00 00  segment 7
//	0018  80 00 00 00 00 00 00 00  its records ended at 128
//	0020  02 00 00 00 00 00 00 00  and at sequence number 2
//	0028  01 00 00 00 00 00 00 00  watermark 1
//	0030  01 00 00 00 00 00 00 00  1 entry
//	0038  03 00 00 00 00 00 00 00  with 3 bytes of keys
//	0040  00                       no flags
//	0041  03 6b 65 79              key of 3 bytes, "key"
//	0045  08                       the record at 64
//	0046  04                       has 32 bytes
//	0047  01                       and sequence number 1
//	0048  40 00 00 00              the entry is at 64 of this file
//	004c  60 00 00 00 00 00 00 00  damage at 96
//	0054  20 00 00 00 00 00 00 00  of 32 bytes
//	005c  e2 57 7e ea 00 00 00 00  checksum
//
// # The manifest
//
// A full copy, which is a header of 32 bytes and a body of 56 bytes and 40 for each
// segment; behind it edits, each of which makes the next manifest of the one before;
// behind these zeros, which are room for more. All this is there twice, as two equal
// halves of the file, each a multiple of 4096 bytes:
//
//	       0       1       2       3       4       5       6       7
//	   +-------+-------+-------+-------+-------+-------+-------+-------+
//	 0 |  M       M       K       V       M       A       N       0    |
//	 8 |         version, 2            |  checksum                     |
//	16 |  size of the body             |  size of the half             |
//	24 |                      salt of the file                         |
//	   +---------------------------------------------------------------+
//	32 |                        number of edits                        |
//	40 |                    lowest id never used yet                   |
//	48 |       highest sequence number ever given, as far as known     |
//	56 |                           watermark                           |
//	64 |    sequence number at the end of the last file ever sealed    |
//	72 |              1 after a clean close, otherwise 0               |
//	80 |                       number of segments                      |
//	   +---------------------------------------------------------------+
//	   |  segments, oldest first:  id                                  |
//	   |                           salt                                |
//	   |            kind               |     1 if sealed, otherwise 0  |
//	   |          where its records end:  offset                       |
//	   |                                  sequence number              |
//	   +---------------------------------------------------------------+
//	   |  edits ...                                                    |
//	   +---------------------------------------------------------------+
//	   |  zeros ...                                                    |
//	   +---------------------------------------------------------------+
//
// The checksum covers the version and all behind it, up to the edits. The end of a
// segment is known if it is sealed, and for all after a clean close. An edit:
//
//	       0       1       2       3       4       5       6       7
//	   +-------+-------+-------+-------+-------+-------+-------+-------+
//	 0 |  checksum of bytes 4 to 24    |  checksum of all behind them  |
//	 8 |                      number of the edit                       |
//	16 |  size of the edit             |  1 after a clean close        |
//	24 |                   lowest id never used yet                    |
//	32 |                   highest sequence number                     |
//	40 |                          watermark                            |
//	48 |             sequence number of the last sealed end            |
//	56 |  id of the segment in front of what changes; 0: the beginning |
//	64 |  how many segments go         |             zeros             |
//	   +---------------------------------------------------------------+
//	   |  segments that come in their place, as in the body ...        |
//	   +---------------------------------------------------------------+
//
// The checksums have the salt of the file and the offset in the half, so that what
// lay on the disk before, another manifest's edits say, is none of this one's. A
// segment that is sealed goes, and comes in its own place.
//
// A new full copy is a new file, which takes the old one's name when it is on disk.
// An edit is written into room that this file had from the beginning, in the first
// half and then in the second, and counts when both are synced. So no length ever
// changes, and:
//
//   - A crash can leave the last edit torn, in one half or in both, and no other one:
//     each was synced before the next one was begun. An edit that is whole in one half
//     counts. One that is so in neither was never acknowledged, and is not there.
//   - Damage to one half, of whatever size, takes nothing: a copy or an edit of it is
//     read in the other half.
//   - Where both halves have lost an edit that is not the last, there is one with a
//     higher number behind it. Its header, which is looked for at every multiple of 8,
//     proves that, and the manifest is damaged: it is never taken for an older one.
//   - A file of another length is damaged: edits were cut off, or moved.
//   - Damage that takes just the last edit from both halves at once is not seen here.
//     The files tell then: those that it listed have newer numbers than the manifest
//     knows, those that it took out are missing, and what it sealed is recovered.
//   - Whoever opens a store appends nothing to the manifest that he finds, since of
//     its last edit he does not know how much is on disk: his first edit is a full copy.
//     And an edit that a write which failed may have left is overwritten, or its file
//     replaced, before anybody hears that it was not made.
//
// A half has room for as many bytes of edits as its copy has, and 2048 at least. So
// an edit costs what it changes, and its share in the full copies no more than that.
//
// A store had one empty segment, and was cleanly closed when that had the records of
// the hint above. Both halves have this, and zeros behind it:
//
//	0000  4d 4d 4b 56 4d 41 4e 00  "MMKVMAN", 0
//	0008  02 00 00 00 4a bb b7 74  version 2, checksum
//	0010  60 00 00 00 00 10 00 00  body of 96 bytes, half of 4096
//	0018  10 32 54 76 98 ba dc fe  salt 0xfedcba9876543210
//	0020  02 00 00 00 00 00 00 00  2 edits
//	0028  08 00 00 00 00 00 00 00  the next id is 8
//	0030  01 00 00 00 00 00 00 00  last sequence number 1
//	0038  00 00 00 00 00 00 00 00  watermark 0
//	0040  01 00 00 00 00 00 00 00  a file that ended at 1 was sealed, and is gone
//	0048  00 00 00 00 00 00 00 00  not clean
//	0050  01 00 00 00 00 00 00 00  1 segment
//	0058  07 00 00 00 00 00 00 00  id 7
//	0060  ef cd ab 89 67 45 23 01  its salt
//	0068  01 00 00 00 00 00 00 00  log, not sealed
//	0070  00 00 00 00 00 00 00 00  ends nobody knows where
//	0078  00 00 00 00 00 00 00 00
//	0080  19 e9 ab b5 bc 91 5a df  checksums of the edit
//	0088  03 00 00 00 00 00 00 00  edit 3
//	0090  70 00 00 00 01 00 00 00  112 bytes, clean
//	0098  08 00 00 00 00 00 00 00  the next id is 8
//	00a0  02 00 00 00 00 00 00 00  last sequence number 2
//	00a8  01 00 00 00 00 00 00 00  watermark 1
//	00b0  01 00 00 00 00 00 00 00  sealed up to 1
//	00b8  00 00 00 00 00 00 00 00  behind no segment, at the beginning,
//	00c0  01 00 00 00 00 00 00 00  1 goes, and this one comes
//	00c8  07 00 00 00 00 00 00 00  id 7
//	00d0  ef cd ab 89 67 45 23 01  its salt
//	00d8  01 00 00 00 00 00 00 00  log, not sealed
//	00e0  80 00 00 00 00 00 00 00  ends at 128
//	00e8  02 00 00 00 00 00 00 00  and at sequence number 2
//
// In a manifest of version 1 the body's size has 8 bytes and there is no salt, its
// checksum does not cover the version, and the same block is there twice, with
// nothing behind either. It is read, and not written any more.
package segment
