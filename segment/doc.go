// Package segment defines the on-disk format: how records, segment files, hints and
// manifests are laid out, written, and read back from a disk that may have torn, lost,
// reordered or changed any of them.
//
// It does not decide which files count, which record of a key is the newest, or when to
// sync. That is policy, and its callers decide it.
//
// # What must hold
//
//   - All numbers are little-endian. Everything starts at a multiple of 8, except inside
//     a hint.
//   - A length read from disk is compared with the remaining bytes, by subtraction, before
//     it is used. No unchecked length sizes an allocation, so reading a damaged or hostile
//     file takes memory and time in proportion to the file.
//   - The version is checked before any field that follows it. A newer version is
//     [ErrVersion], whatever else the file holds.
//   - Whatever validates was written by this package for this place. Zeros, blocks of ones,
//     leftovers of another file and bytes that a user stored do not validate.
//   - A record's header checksum covers the header, the key and the stored checksum of the
//     value. So damage to a value leaves the key known.
//   - [Decode], [Record.ValueOK] and a reused [Draft] do not allocate.
//
// # Checksums
//
// A checksum is a sealed CRC-32C: the CRC is xored with 32 bits that a non-linear mixer
// derives from the file's salt, the offset and the checksum's role; a result of 0 becomes 1
// (see seal in checksum.go). A stored 0 is never valid, because the CRC of nothing is 0 and
// a lost write leaves zeros. The salt, the offset and the role tell apart what a CRC alone
// cannot:
//
//   - the salt, 64 random bits per file, rejects a block that an older or another store left
//     on the disk. It also rejects a record that someone who knows this format hides inside a
//     value, hoping that a scan will find it after some damage;
//   - the offset rejects a record that was written, copied or read elsewhere in its file;
//   - the role rejects a value that is the image of a header, or a record taken for a hint.
//
// Only the leader of a group commit knows the offset of a write. The seal is applied last, so
// the expensive part, the CRC of the value, is computed earlier, outside every lock. A hint is
// sealed with its segment's salt and id, and so belongs to that file only. The full copy in a
// manifest is sealed without a salt, because the salts are stored in it; the edits that follow
// are sealed with the salt of their file.
//
// None of this protects against someone who can write to the files.
//
// # A segment file
//
// A header, then records without gaps between them. Bytes after the last record,
// preallocated zeros or what a crash left, have no meaning. The header, [Header], is 64 bytes
// followed by the ids of the files that this one replaced:
//
//	       0       1       2       3       4       5       6       7
//	   +-------+-------+-------+-------+-------+-------+-------+-------+
//	 0 |  M       M       K       V       S       E       G       0    |
//	 8 |         version, 1            |          header's size        |
//	16 |                              id                               |
//	24 |                             salt                              |
//	32 |  kind: 1 log, 2 merged        |  number of replaced files     |
//	40 |                             zeros                             |
//	48 |                             zeros                             |
//	56 |            zeros              |  checksum                     |
//	64 |  ids of the replaced files, 8 bytes each ...                  |
//	   +---------------------------------------------------------------+
//
// The checksum covers every byte of the header except its own four; it is sealed with offset
// 0. File 9, a merged file that replaced file 3, begins like this:
//
//	0000  4d 4d 4b 56 53 45 47 00  "MMKVSEG", 0
//	0008  01 00 00 00 48 00 00 00  version 1, 72 bytes
//	0010  09 00 00 00 00 00 00 00  id 9
//	0018  ef cd ab 89 67 45 23 01  salt 0x0123456789abcdef
//	0020  02 00 00 00 01 00 00 00  merged, replaces 1 file
//	0028  00 00 00 00 00 00 00 00
//	0030  00 00 00 00 00 00 00 00
//	0038  00 00 00 00 38 3e 58 3a  checksum
//	0040  03 00 00 00 00 00 00 00  replaces file 3
//
// # A record
//
// A header of 24 bytes, the extensions that its flags announce, the key, the value, and
// padding up to the next multiple of 8:
//
//	       0       1       2       3       4       5       6       7
//	   +-------+-------+-------+-------+-------+-------+-------+-------+
//	 0 |  checksum of the header       |  checksum of the value        |
//	 8 |                       sequence number                         |
//	16 |        value's size           |  key's size   | flags |   0   |
//	   +---------------------------------------------------------------+
//	   |  expiry, Unix milliseconds, signed              if Expires    |
//	   |  watermark                                     if HasWatermark|
//	   |  end of the previous file: offset               if HasPrevious|
//	   |                              sequence number                  |
//	   +---------------------------------------------------------------+
//	   |  key, value, padding ...                                      |
//	   +---------------------------------------------------------------+
//
// The header's checksum covers bytes 4 to 24, the extensions and the key. Both checksums are
// sealed with the offset of the record. The padding is written as zeros and belongs to the
// record, but no checksum covers it. The flags are bits:
//
//	 1  Tombstone     the key has no value from this record on; the value's size is 0
//	 2  Expires       the key has no value once the expiry has passed
//	 4  BatchGoesOn   the next record belongs to the same batch
//	 8  HasWatermark  all records up to the watermark were on disk before this one
//	16  HasPrevious   in a file's first record: where the previous file of the log ended
//
// A record with any other flag, or with sequence number 0, does not validate. In a file of
// kind log the sequence numbers have no gaps. Record number 1, of "key" and "value", at
// offset 64 of a file with the salt above:
//
//	0000  8a 9a 72 a4 b4 84 82 9c  checksums of header and value
//	0008  01 00 00 00 00 00 00 00  sequence number 1
//	0010  05 00 00 00 03 00 00 00  value of 5 bytes, key of 3, no flags
//	0018  6b 65 79 76 61 6c 75 65  "key", "value", no padding needed
//
// # A hint
//
// A hint lists the newest record of each key of one file, sorted by key, so that opening a
// store need not read the records, and so that keys can be visited in order. It is a table that
// is read where it lies, and in part, see [Table]. It has a header, the entries in parts of at
// most 32, a directory of the parts, and the damaged ranges. What must hold:
//
//   - No entry is decoded before the checksum of its part was checked. That checksum ties the
//     part to its place, to the segment's salt and id, and to how much of the segment the hint
//     covers. So a part that validates is what was written there.
//   - Opening a hint checks everything but the parts, and reads nothing else. One part that is
//     damaged says nothing about the others.
//   - Decoding goes on to check what it reads, in case a checksum was forged, or mapped memory
//     changed after its checksum was checked. Then reading ends with an error, or finds a wrong
//     entry, but it never reads beyond the part.
//   - A part that is longer than 4 KiB has only one entry. So whatever the keys, finding one takes
//     little memory.
//   - An entry is found without reading others: its part has the place of each of its entries,
//     and the directory has the first entry, the place and the beginning of the first key of each
//     part.
//
// The file:
//
//	       0       1       2       3       4       5       6       7
//	   +-------+-------+-------+-------+-------+-------+-------+-------+
//	 0 |  M       M       K       V       H       N       T       0    |
//	 8 |         version, 3            |   number of damaged ranges    |
//	16 |                       id of the segment                       |
//	24 |   end of its records when the hint was written: offset        |
//	32 |                                        sequence number        |
//	40 |         watermark: all up to it was on disk by then           |
//	48 |                      number of entries                        |
//	56 |                 size of all keys together                     |
//	64 |      base: no entry has a lower sequence number               |
//	72 |       number of parts         |  size of the common prefix    |
//	   +---------------------------------------------------------------+
//	   |  parts:         place of each entry in the part, 2 bytes each |
//	   |                 prefix of the part's keys                     |
//	   |                 entries                                       |
//	   |                 zeros up to a multiple of 8                   |
//	   +---------------------------------------------------------------+
//	   |  directory,     fence: 8 bytes of the part's first key        |
//	   |  for each part: number of its first entry, 4 bytes            |
//	   |                 place of the part in this file / 8, 4 bytes   |
//	   |                 checksum of the part                          |
//	   +---------------------------------------------------------------+
//	   |  common prefix: what all keys begin with                      |
//	   +---------------------------------------------------------------+
//	   |  damaged        offset in the segment                         |
//	   |  ranges:        length                                        |
//	   +---------------------------------------------------------------+
//	   |       checksum                |             zeros             |
//	   +---------------------------------------------------------------+
//
// There is one entry per key, so entries are compact: their numbers are unsigned varints as in
// Go's encoding/binary, in as few bytes as possible. An entry:
//
//	size of the rest of the key * 4 + flags
//	rest of the key, after the prefix of the part
//	offset of the record in its segment / 8
//	size of the record / 8
//	sequence number - base
//	expiry, 8 bytes                                      if Expires
//
// Of the flags, a hint keeps only Tombstone and Expires. The prefix of a part is what all its
// keys begin with; a part with one entry has none. It begins where the places end, and ends where
// the first place points. A fence is taken from the key after the common prefix of the whole
// hint, with zeros where the key ends. So the fences sort like the keys, except that several may
// be equal: they lead a search to a part in memory, and hardly ever to more than one.
//
// The checksum of a part covers the bytes 8 to 48 of the header and then the part. It is sealed
// with the salt of the segment and the place of the part. The checksum at the end covers the
// header and everything from the directory on. It is sealed with the salt and the id.
//
// A damaged range was once written and synced, and can no longer be read. A hint whose end
// differs from the one in the manifest is ignored. The hint of segment 7, which holds the record
// above and then 32 damaged bytes:
//
//	0000  4d 4d 4b 56 48 4e 54 00  "MMKVHNT", 0
//	0008  03 00 00 00 01 00 00 00  version 3, 1 damaged range
//	0010  07 00 00 00 00 00 00 00  segment 7
//	0018  80 00 00 00 00 00 00 00  its records ended at 128
//	0020  02 00 00 00 00 00 00 00  and at sequence number 2
//	0028  01 00 00 00 00 00 00 00  watermark 1
//	0030  01 00 00 00 00 00 00 00  1 entry
//	0038  03 00 00 00 00 00 00 00  3 bytes of keys
//	0040  01 00 00 00 00 00 00 00  no sequence number below 1
//	0048  01 00 00 00 03 00 00 00  1 part, all keys share 3 bytes
//	0050  02 00                    the entry is at 2 of the part, no prefix
//	0052  0c 6b 65 79              3 bytes of key, no flags, "key"
//	0056  08                       the record is at 64
//	0057  04                       and has 32 bytes
//	0058  00                       and sequence number 1
//	0059  00 00 00 00 00 00 00     padding
//	0060  00 00 00 00 00 00 00 00  fence: no key goes on after the common prefix
//	0068  00 00 00 00 0a 00 00 00  from entry 0 on, at 80 of this file
//	0070  91 aa 1a 9c              checksum of the part
//	0074  6b 65 79                 common prefix "key"
//	0077  60 00 00 00 00 00 00 00  damaged range at 96
//	007f  20 00 00 00 00 00 00 00  of 32 bytes
//	0087  4a 59 4e bb 00 00 00 00  checksum
//
// Hints of the versions 1 and 2 are no longer read. Like a damaged hint, one of them costs time:
// it is made anew from the records.
//
// # A partial hint
//
// A partial hint lists the newest record of each key in a range of a segment that is still being
// written, so that after a crash these records need not be read. Partial hint 2 of segment 7 is the
// file 0000000000000007.part2. What must hold:
//
//   - The records of the range follow each other without gaps, all of them were on disk before the
//     partial hint was written, and the range ends where a commit ends. So a partial hint also is a
//     watermark: a segment that is shorter is damaged. The range is used only if its last record is
//     there.
//   - The first one begins where the segment's records begin, and each of the others where the one
//     before it ends. One that does not is not used, nor are those after it.
//   - It belongs to the segment with its salt and id, and its table to its header. Nothing takes the
//     table for a hint.
//
// The file is a header and a table, which has the form of a hint without damaged ranges. The table
// says where the range ends:
//
//	       0       1       2       3       4       5       6       7
//	   +-------+-------+-------+-------+-------+-------+-------+-------+
//	 0 |  M       M       K       V       P       R       T       0    |
//	 8 |         version, 1            |  checksum                     |
//	16 |                       id of the segment                       |
//	24 |  where the range begins:      offset                          |
//	32 |                               sequence number before it       |
//	40 |  end of the previous file, if the range begins with a record  |
//	48 |  that names it: offset, sequence number                       |
//	56 |  where the last record begins                                 |
//	   +---------------------------------------------------------------+
//	64 |  table ...                                                    |
//	   +---------------------------------------------------------------+
//
// The checksum covers the header except its own four bytes, and then the last 8 bytes of the file,
// which have the checksum of the table. It is sealed with the salt and the id. The table is sealed
// with another salt: the segment's, xored with the role of a partial hint and with the beginning of
// the range times 0x9e3779b97f4a7c15. The header of partial hint 0 of segment 7, for the record above:
//
//	0000  4d 4d 4b 56 50 52 54 00  "MMKVPRT", 0
//	0008  01 00 00 00 dd 8b d1 d3  version 1, checksum
//	0010  07 00 00 00 00 00 00 00  segment 7
//	0018  40 00 00 00 00 00 00 00  from offset 64
//	0020  00 00 00 00 00 00 00 00  after sequence number 0
//	0028  00 00 00 00 00 00 00 00  no end of a previous file
//	0030  00 00 00 00 00 00 00 00
//	0038  40 00 00 00 00 00 00 00  the last record is at 64
//
// # The manifest
//
// A manifest file consists of two equal halves, each a multiple of 4096 bytes. A half starts
// with a full copy: a header of 32 bytes and a body of 56 bytes plus 40 for each segment. Edits
// follow, each of which turns the previous manifest into the next one, and then zeros, which
// are room for more edits:
//
// The file:
//
//	       0       1       2       3       4       5       6       7
//	   +-------+-------+-------+-------+-------+-------+-------+-------+
//	 0 |  M       M       K       V       M       A       N       0    |
//	 8 |         version, 2            |  checksum                     |
//	16 |  size of the body             |  size of the half             |
//	24 |                      salt of the file                         |
//	   +---------------------------------------------------------------+
//	32 |                        number of edits                        |
//	40 |                      lowest unused id                         |
//	48 |      highest sequence number known to have been assigned      |
//	56 |                           watermark                           |
//	64 |    sequence number at the end of the last file ever sealed    |
//	72 |              1 after a clean close, otherwise 0               |
//	80 |                       number of segments                      |
//	   +---------------------------------------------------------------+
//	   |  segments, oldest first:  id                                  |
//	   |                           salt                                |
//	   |            kind               |     1 if sealed, otherwise 0  |
//	   |           end of its records:    offset                       |
//	   |                                  sequence number              |
//	   +---------------------------------------------------------------+
//	   |  edits ...                                                    |
//	   +---------------------------------------------------------------+
//	   |  zeros ...                                                    |
//	   +---------------------------------------------------------------+
//
// The checksum covers the version and everything after the checksum, up to the edits. The end
// of a segment is known if the segment is sealed; after a clean close, every end is known. An
// edit:
//
//	       0       1       2       3       4       5       6       7
//	   +-------+-------+-------+-------+-------+-------+-------+-------+
//	 0 |  checksum of bytes 4 to 24    |  checksum of the rest         |
//	 8 |                      number of the edit                       |
//	16 |  size of the edit             |  1 after a clean close        |
//	24 |                      lowest unused id                         |
//	32 |                   highest sequence number                     |
//	40 |                          watermark                            |
//	48 |             sequence number of the last sealed end            |
//	56 |  id of the segment just before the change; 0: the start       |
//	64 |  number of segments removed   |             zeros             |
//	   +---------------------------------------------------------------+
//	   |  segments inserted in their place, as in the body ...         |
//	   +---------------------------------------------------------------+
//
// The checksums are sealed with the salt of the file and the offset in the half. So bytes that
// were on the disk before, such as another manifest's edits, do not validate here. Sealing a
// segment removes it from the list and inserts it again in the same place.
//
// A new full copy is a new file, which takes the old one's name once it is on disk. An edit is
// written into room that its file has had from the start, first in the first half and then in
// the second. It counts once both halves are synced. The length of the file never changes, and:
//
//   - A crash can tear only the last edit, in one half or in both, because each edit is synced
//     before the next one starts. An edit that is whole in one half counts. An edit that is
//     whole in neither was never acknowledged, and does not count.
//   - Damage to one half, of whatever size, loses nothing: the reader takes the copy and the
//     edits from the other half.
//   - If both halves have lost an edit that is not the last one, a later edit has a higher
//     number. The reader looks for the header of such an edit at every multiple of 8. If it
//     finds one, the manifest is damaged: the reader never takes it for an older manifest.
//   - A file of any other length is damaged: edits were cut off or moved.
//   - The reader does not see damage that removes only the last edit from both halves. The
//     other files reveal it: files that the edit listed have higher sequence numbers than the
//     manifest knows, files that it removed are missing, and files that it sealed are recovered.
//   - Open does not append to the manifest that it finds, because it cannot know how much of
//     the last edit is on disk: its first change is a full copy. If a write fails, it may have
//     left an edit behind. That edit is overwritten, or its file is replaced, before the failure
//     is reported to anyone.
//
// A half has as much room for edits as its full copy takes, and at least 2048 bytes. So an edit
// costs what it changes, and its share of the full copies costs no more than that.
//
// In this example a store had one empty segment, and was closed cleanly when that segment held
// the records of the hint above. Both halves hold these bytes, and zeros after them:
//
//	0000  4d 4d 4b 56 4d 41 4e 00  "MMKVMAN", 0
//	0008  02 00 00 00 4a bb b7 74  version 2, checksum
//	0010  60 00 00 00 00 10 00 00  body of 96 bytes, half of 4096
//	0018  10 32 54 76 98 ba dc fe  salt 0xfedcba9876543210
//	0020  02 00 00 00 00 00 00 00  2 edits
//	0028  08 00 00 00 00 00 00 00  the next id is 8
//	0030  01 00 00 00 00 00 00 00  last sequence number 1
//	0038  00 00 00 00 00 00 00 00  watermark 0
//	0040  01 00 00 00 00 00 00 00  the last sealed file ended at 1, and is gone
//	0048  00 00 00 00 00 00 00 00  not clean
//	0050  01 00 00 00 00 00 00 00  1 segment
//	0058  07 00 00 00 00 00 00 00  id 7
//	0060  ef cd ab 89 67 45 23 01  its salt
//	0068  01 00 00 00 00 00 00 00  log, not sealed
//	0070  00 00 00 00 00 00 00 00  its end is unknown
//	0078  00 00 00 00 00 00 00 00
//	0080  19 e9 ab b5 bc 91 5a df  checksums of the edit
//	0088  03 00 00 00 00 00 00 00  edit 3
//	0090  70 00 00 00 01 00 00 00  112 bytes, clean
//	0098  08 00 00 00 00 00 00 00  the next id is 8
//	00a0  02 00 00 00 00 00 00 00  last sequence number 2
//	00a8  01 00 00 00 00 00 00 00  watermark 1
//	00b0  01 00 00 00 00 00 00 00  sealed up to 1
//	00b8  00 00 00 00 00 00 00 00  at the start of the list
//	00c0  01 00 00 00 00 00 00 00  remove 1 segment and insert this one:
//	00c8  07 00 00 00 00 00 00 00  id 7
//	00d0  ef cd ab 89 67 45 23 01  its salt
//	00d8  01 00 00 00 00 00 00 00  log, not sealed
//	00e0  80 00 00 00 00 00 00 00  ends at 128
//	00e8  02 00 00 00 00 00 00 00  and at sequence number 2
//
// In a manifest of version 1 the body's size takes 8 bytes, there is no salt, and the checksum
// does not cover the version. The file is the same full copy twice, with nothing after either.
// This version is still read, but no longer written.
package segment
