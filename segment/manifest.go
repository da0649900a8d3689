package segment

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
)

const (
	manifestMagic = "MMKVMAN\x00"

	// A manifest is the same half twice: a full copy (a header and a body), and then room for
	// edits.
	blockHeaderSize = 32
	blockVersionAt  = 8
	blockSumAt      = 12
	blockSizeAt     = 16
	blockHalfAt     = 20
	blockSaltAt     = 24

	bodyHeaderSize  = 56
	bodyEditAt      = 0
	bodyNextIDAt    = 8
	bodyLastSeqAt   = 16
	bodyWatermarkAt = 24
	bodySealedSeqAt = 32
	bodyCleanAt     = 40
	bodyCountAt     = 48

	infoSize     = 40
	infoSaltAt   = 8
	infoKindAt   = 16
	infoSealedAt = 20
	infoOffsetAt = 24
	infoSeqAt    = 32

	// maxSegments bounds the number of listed files.
	maxSegments = 1 << 20

	// The size of a half is a multiple of halfUnit, so that a block or page that the disk loses
	// lies in one half.
	halfUnit = 4 << 10
	// minEditRoom is the least room for edits in a half, in bytes.
	minEditRoom = 2 << 10
)

const (
	// MaxFileSize bounds the size of a segment's file, in bytes: the last record begins at
	// MaxOffset at most, and is not much larger than the largest value.
	MaxFileSize = 1 << 33
	// MinManifestSize is the size of a manifest of a few segments, in bytes.
	MinManifestSize = 2 * halfUnit
	// MaxManifestSize bounds the size of a manifest, in bytes.
	MaxManifestSize = 2 * (2*(blockHeaderSize+bodyHeaderSize+maxSegments*infoSize) + minEditRoom + halfUnit)
)

// SegmentInfo is what the manifest says about one file.
type SegmentInfo struct {
	// ID, Salt and Kind are those of the file's header.
	ID   ID
	Salt uint64
	Kind Kind

	Sealed bool // the file is never written again
	// End is where the records end. It is valid if Sealed, and in the last file if the manifest is
	// Clean.
	End End
}

// Manifest is the only source of truth for which files count, and in which order.
type Manifest struct {
	Salt      uint64        // random per manifest file; part of the checksums of edits
	Edit      uint64        // counts the edits
	NextID    ID            // above every ID ever used
	LastSeq   uint64        // the highest sequence number known to have been assigned
	Watermark uint64        // the highest sequence number known to be on disk
	SealedSeq uint64        // the sequence number at the end of the last file ever sealed, even if that file is gone
	Clean     bool          // closed, and nothing written since
	Segments  []SegmentInfo // the files that count, oldest first
}

// Append appends the content of a new manifest file to dst: a full copy with room for edits, twice.
func (m *Manifest) Append(dst []byte) []byte {
	blockSize := m.blockSize()
	half := make([]byte, blockHeaderSize+bodyHeaderSize, halfSize(blockSize))
	header, body := half[:blockHeaderSize], half[blockHeaderSize:]
	binary.LittleEndian.PutUint64(body[bodyEditAt:], m.Edit)
	binary.LittleEndian.PutUint64(body[bodyNextIDAt:], uint64(m.NextID))
	binary.LittleEndian.PutUint64(body[bodyLastSeqAt:], m.LastSeq)
	binary.LittleEndian.PutUint64(body[bodyWatermarkAt:], m.Watermark)
	binary.LittleEndian.PutUint64(body[bodySealedSeqAt:], m.SealedSeq)
	binary.LittleEndian.PutUint64(body[bodyCleanAt:], bit(m.Clean))
	binary.LittleEndian.PutUint64(body[bodyCountAt:], uint64(len(m.Segments)))
	for _, info := range m.Segments {
		half = info.append(half)
	}
	copy(header, manifestMagic)
	binary.LittleEndian.PutUint32(header[blockVersionAt:], manifestVersion)
	binary.LittleEndian.PutUint32(header[blockSizeAt:], uint32(blockSize-blockHeaderSize))
	binary.LittleEndian.PutUint32(header[blockHalfAt:], uint32(cap(half)))
	binary.LittleEndian.PutUint64(header[blockSaltAt:], m.Salt)
	binary.LittleEndian.PutUint32(header[blockSumAt:], blockSum(header, half[blockHeaderSize:]))
	half = half[:cap(half)]
	return append(append(dst, half...), half...)
}

// blockSize is the size of a full copy.
func (m *Manifest) blockSize() int {
	return blockHeaderSize + bodyHeaderSize + len(m.Segments)*infoSize
}

// halfSize is the size of a half with such a copy. Its room for edits is at least as large as the
// copy, so the occasional new copy adds little to the cost of each edit.
func halfSize(blockSize int) int {
	size := blockSize + max(blockSize, minEditRoom)
	return (size + halfUnit - 1) &^ (halfUnit - 1)
}

func bit(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

func (i SegmentInfo) append(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, uint64(i.ID))
	dst = binary.LittleEndian.AppendUint64(dst, i.Salt)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(i.Kind))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(bit(i.Sealed)))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(i.End.Offset))
	return binary.LittleEndian.AppendUint64(dst, i.End.Seq)
}

func parseInfo(b []byte) (SegmentInfo, error) {
	if binary.LittleEndian.Uint32(b[infoSealedAt:]) > 1 {
		return SegmentInfo{}, fmt.Errorf("%w: a segment's sealed flag is neither 0 nor 1", ErrManifest)
	}
	return SegmentInfo{
		ID:     ID(binary.LittleEndian.Uint64(b)),
		Salt:   binary.LittleEndian.Uint64(b[infoSaltAt:]),
		Kind:   Kind(binary.LittleEndian.Uint32(b[infoKindAt:])),
		Sealed: binary.LittleEndian.Uint32(b[infoSealedAt:]) == 1,
		End:    End{int64(binary.LittleEndian.Uint64(b[infoOffsetAt:])), binary.LittleEndian.Uint64(b[infoSeqAt:])},
	}, nil
}

// blockSum covers the header after the checksum, and the body. It also covers the version, except
// in a manifest of the first version.
func blockSum(header, body []byte) uint32 {
	var sum uint32
	if binary.LittleEndian.Uint32(header[blockVersionAt:]) > 1 {
		sum = crc32.Update(sum, castagnoli, header[blockVersionAt:blockSumAt])
	}
	sum = crc32.Update(sum, castagnoli, header[blockSizeAt:blockHeaderSize])
	return seal(crc32.Update(sum, castagnoli, body), 0, 0, roleBody)
}

// ParseManifest decodes a manifest. Damage to only one of its halves does no harm.
func ParseManifest(data []byte) (*Manifest, error) {
	m, _, err := InspectManifest(data)
	return m, err
}

// block is a full copy of a manifest as read from a file.
type block struct {
	manifest Manifest
	size     int // where the edits begin
	half     int // the size of one of the two halves
	version  uint32
}

func parseBlock(data []byte) (block, error) {
	if len(data) < blockHeaderSize+bodyHeaderSize {
		return block{}, fmt.Errorf("%w: %d bytes are too few", ErrManifest, len(data))
	}
	if string(data[:len(manifestMagic)]) != manifestMagic {
		return block{}, fmt.Errorf("%w: it does not begin like a manifest", ErrManifest)
	}
	version := binary.LittleEndian.Uint32(data[blockVersionAt:])
	if version != firstManifestVersion {
		if err := checkVersion(version, manifestVersion); err != nil {
			return block{}, err
		}
	}
	header, rest := data[:blockHeaderSize], data[blockHeaderSize:]
	var salt uint64
	size, half := binary.LittleEndian.Uint64(header[blockSizeAt:]), uint64(0)
	if version > firstManifestVersion {
		size, half = uint64(binary.LittleEndian.Uint32(header[blockSizeAt:])), uint64(binary.LittleEndian.Uint32(header[blockHalfAt:]))
		salt = binary.LittleEndian.Uint64(header[blockSaltAt:])
	}
	if size < bodyHeaderSize || size > uint64(len(rest)) {
		return block{}, fmt.Errorf("%w: its size is invalid", ErrManifest)
	}
	if version == firstManifestVersion {
		half = blockHeaderSize + size
	}
	body := rest[:size]
	if binary.LittleEndian.Uint32(header[blockSumAt:]) != blockSum(header, body) {
		return block{}, fmt.Errorf("%w: %w", ErrManifest, ErrChecksum)
	}
	if half < blockHeaderSize+size || half > MaxManifestSize || version > firstManifestVersion && half%halfUnit != 0 {
		return block{}, fmt.Errorf("%w: its size is invalid", ErrManifest)
	}
	m, err := parseBody(body)
	m.Salt = salt
	return block{m, blockHeaderSize + len(body), int(half), version}, err
}

func parseBody(body []byte) (Manifest, error) {
	m := Manifest{
		Edit:      binary.LittleEndian.Uint64(body[bodyEditAt:]),
		NextID:    ID(binary.LittleEndian.Uint64(body[bodyNextIDAt:])),
		LastSeq:   binary.LittleEndian.Uint64(body[bodyLastSeqAt:]),
		Watermark: binary.LittleEndian.Uint64(body[bodyWatermarkAt:]),
		SealedSeq: binary.LittleEndian.Uint64(body[bodySealedSeqAt:]),
		Clean:     binary.LittleEndian.Uint64(body[bodyCleanAt:]) == 1,
	}
	infos := body[bodyHeaderSize:]
	if binary.LittleEndian.Uint64(body[bodyCountAt:]) != uint64(len(infos)/infoSize) || len(infos)%infoSize != 0 {
		return Manifest{}, fmt.Errorf("%w: its size is invalid", ErrManifest)
	}
	if binary.LittleEndian.Uint64(body[bodyCleanAt:]) > 1 {
		return Manifest{}, fmt.Errorf("%w: its clean flag is neither 0 nor 1", ErrManifest)
	}
	for b := infos; len(b) > 0; b = b[infoSize:] {
		info, err := parseInfo(b)
		if err != nil {
			return Manifest{}, err
		}
		m.Segments = append(m.Segments, info)
	}
	return m, m.check()
}

// MaxNextID is more ids than a store can ever use. A manifest with a higher NextID is rejected.
const MaxNextID = 1 << 62

// check rejects what no store writes, whatever the checksum says.
func (m *Manifest) check() error {
	if m.NextID == 0 || m.NextID > MaxNextID {
		return fmt.Errorf("%w: its next id is out of range", ErrManifest)
	}
	if m.LastSeq > MaxSeq || m.Watermark > m.LastSeq || m.SealedSeq > m.LastSeq {
		return fmt.Errorf("%w: its sequence numbers are out of range", ErrManifest)
	}
	seen := make(map[ID]bool, len(m.Segments))
	for i, info := range m.Segments {
		known := info.Sealed || m.Clean && i == len(m.Segments)-1
		switch {
		case info.ID == 0 || seen[info.ID] || info.ID >= m.NextID:
			return fmt.Errorf("%w: segment %d has an invalid id or is listed twice", ErrManifest, info.ID)
		case info.Kind != Log && info.Kind != Merged:
			return fmt.Errorf("%w: segment %d is of an unknown kind", ErrManifest, info.ID)
		case known && (info.End.Offset < HeaderSize || info.End.Offset > MaxFileSize || info.End.Offset%Alignment != 0):
			return fmt.Errorf("%w: segment %d ends at %d", ErrManifest, info.ID, info.End.Offset)
		case known && info.End.Seq > m.LastSeq:
			return fmt.Errorf("%w: segment %d ends at sequence number %d, above %d", ErrManifest, info.ID, info.End.Seq, m.LastSeq)
		case !info.Sealed && info.Kind != Log:
			return fmt.Errorf("%w: merged segment %d is not sealed", ErrManifest, info.ID)
		case info.Sealed && i > 0 && !m.Segments[i-1].Sealed:
			return fmt.Errorf("%w: sealed segment %d follows an unsealed one", ErrManifest, info.ID)
		case m.Clean && !known:
			return fmt.Errorf("%w: unsealed segment %d is not the last one after a clean close", ErrManifest, info.ID)
		}
		seen[info.ID] = true
	}
	return nil
}

// IndexOf returns where the manifest lists a segment, -1 if it does not.
func (m *Manifest) IndexOf(id ID) int {
	return slices.IndexFunc(m.Segments, func(i SegmentInfo) bool { return i.ID == id })
}

// Delist takes a segment off the list, if it is there.
func (m *Manifest) Delist(id ID) {
	m.Segments = slices.DeleteFunc(m.Segments, func(i SegmentInfo) bool { return i.ID == id })
}
