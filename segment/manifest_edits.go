package segment

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

const (
	// An edit is a header, values, and a change to the list. The header proves that the edit
	// exists even if the rest cannot be read.
	editHeaderSize  = 24
	editChangeSumAt = 4
	editNumberAt    = 8
	editSizeAt      = 16
	editCleanAt     = 20

	editNextIDAt    = 24
	editLastSeqAt   = 32
	editWatermarkAt = 40
	editSealedSeqAt = 48
	editAfterAt     = 56
	editRemovedAt   = 64
	editZerosAt     = 68
	minEditSize     = 72 // the size of every edit is a multiple of Alignment
)

// EditLog is the room for edits after the full copy in a manifest's file. The zero value has no
// room.
type EditLog struct {
	salt     uint64
	end      int64 // in each half
	halfSize int64
}

// EditLog returns the room for the edits that follow m, in a file with the content from Append.
func (m *Manifest) EditLog() EditLog {
	return EditLog{m.Salt, int64(m.blockSize()), int64(halfSize(m.blockSize()))}
}

// Encode appends to dst the edit that turns one manifest into the next one. It appends nothing if
// there is no room for the edit. The caller writes the edit at both of the Places.
func (l *EditLog) Encode(dst []byte, from, to *Manifest) []byte {
	same, sameAtEnd := commonEnds(from.Segments, to.Segments)
	removed, added := len(from.Segments)-same-sameAtEnd, to.Segments[same:len(to.Segments)-sameAtEnd]
	size := int64(minEditSize + len(added)*infoSize)
	if size > l.halfSize-l.end {
		return dst
	}
	start := len(dst)
	dst = append(dst, make([]byte, minEditSize)...)
	b := dst[start:]
	binary.LittleEndian.PutUint64(b[editNumberAt:], to.Edit)
	binary.LittleEndian.PutUint32(b[editSizeAt:], uint32(size))
	binary.LittleEndian.PutUint32(b[editCleanAt:], uint32(bit(to.Clean)))
	binary.LittleEndian.PutUint64(b[editNextIDAt:], uint64(to.NextID))
	binary.LittleEndian.PutUint64(b[editLastSeqAt:], to.LastSeq)
	binary.LittleEndian.PutUint64(b[editWatermarkAt:], to.Watermark)
	binary.LittleEndian.PutUint64(b[editSealedSeqAt:], to.SealedSeq)
	if same > 0 {
		binary.LittleEndian.PutUint64(b[editAfterAt:], uint64(from.Segments[same-1].ID))
	}
	binary.LittleEndian.PutUint32(b[editRemovedAt:], uint32(removed))
	for _, info := range added {
		dst = info.append(dst)
	}
	b = dst[start:]
	binary.LittleEndian.PutUint32(b[editChangeSumAt:], changeSum(b, l.salt, l.end))
	binary.LittleEndian.PutUint32(b, editSum(b, l.salt, l.end))
	return dst
}

// Places are the offsets in the file, one in each half, at which to write the next edit.
func (l *EditLog) Places() [2]int64 { return [2]int64{l.end, l.halfSize + l.end} }

// Wrote records that an edit of size bytes was written: the next edit follows it.
func (l *EditLog) Wrote(size int) { l.end += int64(size) }

// commonEnds is how many segments two lists share at their start, and how many of the others they
// share at their end.
func commonEnds(a, b []SegmentInfo) (first, last int) {
	for first < min(len(a), len(b)) && a[first] == b[first] {
		first++
	}
	for last < min(len(a), len(b))-first && a[len(a)-1-last] == b[len(b)-1-last] {
		last++
	}
	return first, last
}

// editSum is the checksum of the header of an edit at an offset of its half.
func editSum(b []byte, salt uint64, offset int64) uint32 {
	return seal(crc32.Update(0, castagnoli, b[editChangeSumAt:editHeaderSize]), salt, offset, roleEdit)
}

// changeSum is the checksum of the edit after its header.
func changeSum(b []byte, salt uint64, offset int64) uint32 {
	return seal(crc32.Update(0, castagnoli, b[editHeaderSize:]), salt, offset, roleChange)
}

// parseEditHeader reports whether the header of an edit is at an offset of a half, and returns the
// number of the edit. It is cheap enough to try every offset.
func parseEditHeader(half []byte, salt uint64, offset int) (number uint64, ok bool) {
	if len(half)-offset < editHeaderSize {
		return 0, false
	}
	b := half[offset:][:editHeaderSize]
	sum := binary.LittleEndian.Uint32(b)
	return binary.LittleEndian.Uint64(b[editNumberAt:]), sum != 0 && sum == editSum(b, salt, int64(offset))
}

// wholeEdit is the edit at an offset of a half, or nil if it is not whole.
func wholeEdit(half []byte, salt uint64, offset int) []byte {
	if _, ok := parseEditHeader(half, salt, offset); !ok {
		return nil
	}
	b := half[offset:]
	size := binary.LittleEndian.Uint32(b[editSizeAt:])
	if size < minEditSize || (size-minEditSize)%infoSize != 0 || uint64(size) > uint64(len(b)) {
		return nil
	}
	b = b[:size]
	if binary.LittleEndian.Uint32(b[editChangeSumAt:]) != changeSum(b, salt, int64(offset)) {
		return nil
	}
	return b
}

// segmentList is the list of segments while edits are applied to it. The cost of an edit is in
// proportion to what it changes, wherever that is in the list.
type segmentList struct {
	nodes []segmentNode // the first one is a sentinel before the list
	place map[ID]int32  // where each listed segment is in nodes
}

type segmentNode struct {
	info SegmentInfo
	next int32 // in nodes; 0 at the end of the list
}

func newSegmentList(segments []SegmentInfo) *segmentList {
	l := &segmentList{nodes: make([]segmentNode, 1, len(segments)+1), place: make(map[ID]int32, len(segments))}
	for i, info := range segments {
		l.nodes[i].next = int32(i + 1)
		l.nodes = append(l.nodes, segmentNode{info: info})
		l.place[info.ID] = int32(i + 1)
	}
	return l
}

// apply applies the change of a whole edit.
func (l *segmentList) apply(edit []byte) error {
	after := ID(binary.LittleEndian.Uint64(edit[editAfterAt:]))
	at, listed := int32(0), true
	if after != 0 {
		at, listed = l.place[after]
	}
	if !listed {
		return fmt.Errorf("%w: an edit follows segment %d, which is not listed", ErrManifest, after)
	}
	next := l.nodes[at].next
	for range binary.LittleEndian.Uint32(edit[editRemovedAt:]) {
		if next == 0 {
			return fmt.Errorf("%w: an edit removes more segments than there are", ErrManifest)
		}
		delete(l.place, l.nodes[next].info.ID)
		next = l.nodes[next].next
	}
	for b := edit[minEditSize:]; len(b) > 0; b = b[infoSize:] {
		info, err := parseInfo(b)
		if err != nil {
			return err
		}
		if _, listed := l.place[info.ID]; listed || info.ID == 0 {
			return fmt.Errorf("%w: segment %d has an invalid id or is listed twice", ErrManifest, info.ID)
		}
		added := int32(len(l.nodes))
		l.nodes = append(l.nodes, segmentNode{info: info})
		l.place[info.ID] = added
		l.nodes[at].next, at = added, added
	}
	l.nodes[at].next = next
	return nil
}

func (l *segmentList) segments() []SegmentInfo {
	if len(l.place) == 0 {
		return nil
	}
	list := make([]SegmentInfo, 0, len(l.place))
	for at := l.nodes[0].next; at != 0; at = l.nodes[at].next {
		list = append(list, l.nodes[at].info)
	}
	return list
}

// applyValues sets the values of an edit, that is everything except its change to the list.
func (m *Manifest) applyValues(edit []byte) error {
	if binary.LittleEndian.Uint32(edit[editCleanAt:]) > 1 {
		return fmt.Errorf("%w: an edit's clean flag is neither 0 nor 1", ErrManifest)
	}
	if binary.LittleEndian.Uint32(edit[editZerosAt:]) != 0 {
		return fmt.Errorf("%w: an edit's reserved bytes are not zero", ErrManifest)
	}
	m.Edit = binary.LittleEndian.Uint64(edit[editNumberAt:])
	m.NextID = ID(binary.LittleEndian.Uint64(edit[editNextIDAt:]))
	m.LastSeq = binary.LittleEndian.Uint64(edit[editLastSeqAt:])
	m.Watermark = binary.LittleEndian.Uint64(edit[editWatermarkAt:])
	m.SealedSeq = binary.LittleEndian.Uint64(edit[editSealedSeqAt:])
	m.Clean = binary.LittleEndian.Uint32(edit[editCleanAt:]) == 1
	return nil
}
