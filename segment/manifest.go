package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

const (
	manifestMagic = "MMKVMAN\x00"

	// The manifest is the same block twice: magic, version, checksum, size of the
	// body, body.
	blockHeaderSize = 32
	blockVersionAt  = 8
	blockSumAt      = 12
	blockSizeAt     = 16

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

	// maxSegments bounds how many files are listed.
	maxSegments = 1 << 20
)

const (
	// MaxFileSize bounds how long a segment's file is, in bytes: the last record
	// begins at MaxOffset at most, and takes not much more than the largest value.
	MaxFileSize = 1 << 33
	// MaxManifestSize bounds how long a manifest is, in bytes.
	MaxManifestSize = 2 * (blockHeaderSize + bodyHeaderSize + maxSegments*infoSize)
)

// SegmentInfo is what the manifest says of one file.
type SegmentInfo struct {
	ID     ID
	Salt   uint64
	Kind   Kind
	Sealed bool
	// End is where the records end; valid when Sealed, and of the last file when
	// the manifest is Clean.
	End End
}

// Manifest is the only source of truth for which files count, and in which order.
type Manifest struct {
	Edit      uint64 // counts the edits
	NextID    ID     // above every ID ever used
	LastSeq   uint64 // the highest sequence number ever given, as far as known
	Watermark uint64 // the highest that is known to be on disk
	SealedSeq uint64 // where the log was at the end of the last file ever sealed, even if that is gone
	Clean     bool   // closed, and nothing written since
	Segments  []SegmentInfo
}

// Append appends the encoded manifest to dst.
func (m *Manifest) Append(dst []byte) []byte {
	body := make([]byte, bodyHeaderSize, bodyHeaderSize+len(m.Segments)*infoSize)
	binary.LittleEndian.PutUint64(body[bodyEditAt:], m.Edit)
	binary.LittleEndian.PutUint64(body[bodyNextIDAt:], uint64(m.NextID))
	binary.LittleEndian.PutUint64(body[bodyLastSeqAt:], m.LastSeq)
	binary.LittleEndian.PutUint64(body[bodyWatermarkAt:], m.Watermark)
	binary.LittleEndian.PutUint64(body[bodySealedSeqAt:], m.SealedSeq)
	binary.LittleEndian.PutUint64(body[bodyCleanAt:], bit(m.Clean))
	binary.LittleEndian.PutUint64(body[bodyCountAt:], uint64(len(m.Segments)))
	for _, info := range m.Segments {
		var b [infoSize]byte
		binary.LittleEndian.PutUint64(b[:], uint64(info.ID))
		binary.LittleEndian.PutUint64(b[infoSaltAt:], info.Salt)
		binary.LittleEndian.PutUint32(b[infoKindAt:], uint32(info.Kind))
		binary.LittleEndian.PutUint32(b[infoSealedAt:], uint32(bit(info.Sealed)))
		binary.LittleEndian.PutUint64(b[infoOffsetAt:], uint64(info.End.Offset))
		binary.LittleEndian.PutUint64(b[infoSeqAt:], info.End.Seq)
		body = append(body, b[:]...)
	}
	header := make([]byte, blockHeaderSize)
	copy(header, manifestMagic)
	binary.LittleEndian.PutUint32(header[blockVersionAt:], formatVersion)
	binary.LittleEndian.PutUint64(header[blockSizeAt:], uint64(len(body)))
	binary.LittleEndian.PutUint32(header[blockSumAt:], blockSum(header, body))
	for range 2 {
		dst = append(append(dst, header...), body...)
	}
	return dst
}

func bit(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// blockSum covers the header behind the checksum, and the body.
func blockSum(header, body []byte) uint32 {
	sum := crc32.Update(0, castagnoli, header[blockSizeAt:blockHeaderSize])
	return seal(crc32.Update(sum, castagnoli, body), 0, 0, roleBody)
}

// ParseManifest decodes a manifest. One good block of the two will do.
func ParseManifest(data []byte) (*Manifest, error) {
	m, err := parseBlock(data)
	if err == nil {
		return m, nil
	}
	m, otherErr := parseBlock(data[len(data)/2:])
	if otherErr == nil {
		return m, nil
	}
	if errors.Is(otherErr, ErrVersion) {
		return nil, otherErr
	}
	return nil, err
}

func parseBlock(data []byte) (*Manifest, error) {
	if len(data) < blockHeaderSize+bodyHeaderSize {
		return nil, fmt.Errorf("%w: %d bytes are too few", ErrManifest, len(data))
	}
	if string(data[:len(manifestMagic)]) != manifestMagic {
		return nil, fmt.Errorf("%w: it does not begin like one", ErrManifest)
	}
	if err := checkVersion(binary.LittleEndian.Uint32(data[blockVersionAt:]), formatVersion); err != nil {
		return nil, err
	}
	header, rest := data[:blockHeaderSize], data[blockHeaderSize:]
	size := binary.LittleEndian.Uint64(header[blockSizeAt:])
	if size < bodyHeaderSize || size > uint64(len(rest)) {
		return nil, fmt.Errorf("%w: its size makes no sense", ErrManifest)
	}
	body := rest[:size]
	if binary.LittleEndian.Uint32(header[blockSumAt:]) != blockSum(header, body) {
		return nil, fmt.Errorf("%w: %w", ErrManifest, ErrChecksum)
	}
	m := &Manifest{
		Edit:      binary.LittleEndian.Uint64(body[bodyEditAt:]),
		NextID:    ID(binary.LittleEndian.Uint64(body[bodyNextIDAt:])),
		LastSeq:   binary.LittleEndian.Uint64(body[bodyLastSeqAt:]),
		Watermark: binary.LittleEndian.Uint64(body[bodyWatermarkAt:]),
		SealedSeq: binary.LittleEndian.Uint64(body[bodySealedSeqAt:]),
		Clean:     binary.LittleEndian.Uint64(body[bodyCleanAt:]) == 1,
	}
	infos := body[bodyHeaderSize:]
	if binary.LittleEndian.Uint64(body[bodyCountAt:]) != uint64(len(infos)/infoSize) || len(infos)%infoSize != 0 {
		return nil, fmt.Errorf("%w: its size makes no sense", ErrManifest)
	}
	if binary.LittleEndian.Uint64(body[bodyCleanAt:]) > 1 {
		return nil, fmt.Errorf("%w: it is neither clean nor not", ErrManifest)
	}
	for b := infos; len(b) > 0; b = b[infoSize:] {
		if binary.LittleEndian.Uint32(b[infoSealedAt:]) > 1 {
			return nil, fmt.Errorf("%w: a segment is neither sealed nor not", ErrManifest)
		}
		m.Segments = append(m.Segments, SegmentInfo{
			ID:     ID(binary.LittleEndian.Uint64(b)),
			Salt:   binary.LittleEndian.Uint64(b[infoSaltAt:]),
			Kind:   Kind(binary.LittleEndian.Uint32(b[infoKindAt:])),
			Sealed: binary.LittleEndian.Uint32(b[infoSealedAt:]) == 1,
			End:    End{int64(binary.LittleEndian.Uint64(b[infoOffsetAt:])), binary.LittleEndian.Uint64(b[infoSeqAt:])},
		})
	}
	if err := m.check(); err != nil {
		return nil, err
	}
	return m, nil
}

// MaxNextID leaves more ids than a store can ever use: a manifest with a higher one is
// refused.
const MaxNextID = 1 << 62

// check refuses what no store writes, whatever the checksum says.
func (m *Manifest) check() error {
	if m.NextID == 0 || m.NextID > MaxNextID {
		return fmt.Errorf("%w: it has used up all ids", ErrManifest)
	}
	if m.LastSeq > MaxSeq || m.Watermark > m.LastSeq || m.SealedSeq > m.LastSeq {
		return fmt.Errorf("%w: it has numbers that nobody has given", ErrManifest)
	}
	seen := make(map[ID]bool, len(m.Segments))
	for i, info := range m.Segments {
		known := info.Sealed || m.Clean && i == len(m.Segments)-1
		switch {
		case info.ID == 0 || seen[info.ID] || info.ID >= m.NextID:
			return fmt.Errorf("%w: segment %d is listed wrongly", ErrManifest, info.ID)
		case info.Kind != Log && info.Kind != Merged:
			return fmt.Errorf("%w: segment %d is of an unknown kind", ErrManifest, info.ID)
		case known && (info.End.Offset < HeaderSize || info.End.Offset > MaxFileSize || info.End.Offset%Alignment != 0):
			return fmt.Errorf("%w: segment %d ends at %d", ErrManifest, info.ID, info.End.Offset)
		case known && info.End.Seq > m.LastSeq:
			return fmt.Errorf("%w: segment %d ends at number %d of %d", ErrManifest, info.ID, info.End.Seq, m.LastSeq)
		case !info.Sealed && info.Kind != Log:
			return fmt.Errorf("%w: segment %d was merged and is not sealed", ErrManifest, info.ID)
		case info.Sealed && i > 0 && !m.Segments[i-1].Sealed:
			return fmt.Errorf("%w: segment %d is sealed behind one that is not", ErrManifest, info.ID)
		case m.Clean && !known:
			return fmt.Errorf("%w: segment %d is unsealed after a clean close", ErrManifest, info.ID)
		}
		seen[info.ID] = true
	}
	return nil
}
