package segment

import (
	"encoding/binary"
	"hash/crc32"
	"slices"
	"unsafe"

	"github.com/mmapkv/mmapkv/internal/prefetch"
)

// Encode returns the hint of a file whose records end at covers. It leaves out records that start
// at or after that offset.
func (b *HintBuilder) Encode(id ID, salt uint64, covers End, watermark uint64) []byte {
	sorted := b.sorted(covers.Offset)
	w := hintWriter{HintBuilder: b, salt: salt}
	parts, size := w.plan(sorted)
	w.out = make([]byte, hintHeaderSize, hintHeaderSize+size+len(b.damages)*damageSize+hintSumSize)
	prefetch.Pages(w.out)
	copy(w.out, hintMagic)
	binary.LittleEndian.PutUint32(w.out[hintVersionAt:], hintVersion)
	binary.LittleEndian.PutUint32(w.out[hintDamagesAt:], uint32(len(b.damages)))
	binary.LittleEndian.PutUint64(w.out[hintIDAt:], uint64(id))
	binary.LittleEndian.PutUint64(w.out[hintCoversAt:], uint64(covers.Offset))
	binary.LittleEndian.PutUint64(w.out[hintSeqAt:], covers.Seq)
	binary.LittleEndian.PutUint64(w.out[hintWatermarkAt:], watermark)
	binary.LittleEndian.PutUint64(w.out[hintCountAt:], uint64(len(sorted)))
	binary.LittleEndian.PutUint64(w.out[hintBaseAt:], b.lowest)
	binary.LittleEndian.PutUint32(w.out[hintPartsAt:], uint32(len(parts)))
	binary.LittleEndian.PutUint32(w.out[hintPrefixAt:], uint32(len(w.common)))
	w.bound = boundSum(w.out)
	for _, p := range parts {
		w.part(p, sorted)
	}
	binary.LittleEndian.PutUint64(w.out[hintKeyBytesAt:], uint64(w.keyBytes))
	return w.finish(id)
}

// hintWriter writes the parts of a hint.
type hintWriter struct {
	*HintBuilder
	out    []byte // the hint so far
	salt   uint64
	bound  uint32 // of the header
	common []byte // what all keys in the hint begin with

	directory []byte
	keyBytes  int
}

// partPlan says which entries a part has.
type partPlan struct {
	first, end int // among all entries
	prefix     int // bytes at the start of each of their keys that the part stores once
}

// plan divides the entries into parts, sets common, and returns a bound on the size in bytes of the
// parts and the directory.
func (w *hintWriter) plan(sorted []sortItem) (parts []partPlan, size int) {
	if len(sorted) == 0 {
		return nil, 0
	}
	w.common = commonPrefix(w.key(sorted[0]), w.key(sorted[len(sorted)-1]))
	size = len(w.common)
	for first := 0; first < len(sorted); {
		p := partPlan{first: first}
		raw := 0
		for p.end = first; p.end < min(first+partEntries, len(sorted)); p.end++ {
			one := sorted[p.end].size() + placeSize
			if p.end > first && raw+one > partBytes {
				break
			}
			raw += one
		}
		if ahead := p.end + partEntries - 1; ahead < len(sorted) { // the last one of the next part
			w.prefetch(sorted[ahead])
		}
		count := p.end - first
		if count > 1 {
			p.prefix = len(commonPrefix(w.key(sorted[first]), w.key(sorted[p.end-1])))
		}
		w.work(2 * lookCost)
		size += raw + p.prefix - p.prefix*count + Alignment + directorySize
		parts = append(parts, p)
		first = p.end
	}
	w.directory = make([]byte, 0, len(parts)*directorySize)
	return parts, size
}

// part writes one part, and its line in the directory.
func (w *hintWriter) part(p partPlan, sorted []sortItem) {
	start := len(w.out)
	firstKey := w.key(sorted[p.first])
	w.out = append(w.out, zeros[:placeSize*(p.end-p.first)]...)
	w.out = append(w.out, firstKey[:p.prefix]...)
	var keySize int
	for i, s := range sorted[p.first:p.end] {
		// The entries are scattered over the memory of the builder.
		if ahead := p.first + i + prefetch.Ahead; ahead < len(sorted) {
			w.prefetch(sorted[ahead])
		}
		binary.LittleEndian.PutUint16(w.out[start+placeSize*i:], uint16(len(w.out)-start))
		entry := w.entry(s)
		w.work(len(entry))
		w.out, keySize = appendShort(w.out, entry, p.prefix, w.lowest)
		w.keyBytes += keySize
	}
	w.out = append(w.out, zeros[:-len(w.out)&(Alignment-1)]...)
	fence := keyPrefix(firstKey[len(w.common):])
	w.directory = binary.BigEndian.AppendUint64(w.directory, fence)
	w.directory = binary.LittleEndian.AppendUint32(w.directory, uint32(p.first))
	w.directory = binary.LittleEndian.AppendUint32(w.directory, uint32(start/Alignment))
	w.directory = binary.LittleEndian.AppendUint32(w.directory, partSeal(w.bound, w.out[start:], int64(start), w.salt))
}

// finish writes what follows the parts, and returns the hint.
func (w *hintWriter) finish(id ID) []byte {
	end := len(w.out)
	out := append(w.out, w.directory...)
	out = append(out, w.common...)
	for _, d := range w.damages {
		out = binary.LittleEndian.AppendUint64(out, uint64(d.Offset))
		out = binary.LittleEndian.AppendUint64(out, uint64(d.Length))
	}
	sum := crc32.Checksum(out[:hintHeaderSize], castagnoli)
	for piece := range slices.Chunk(out[end:], pauseBytes) {
		w.work(len(piece))
		sum = crc32.Update(sum, castagnoli, piece)
	}
	return binary.LittleEndian.AppendUint64(out, uint64(hintSeal(sum, id, w.salt)))
}

func (b *HintBuilder) entry(s sortItem) []byte {
	at := s.place >> sizeBits
	return b.chunks[at/chunkSize][at%chunkSize:][:s.size()]
}

// prefetch fetches the first and the last cache line of an entry: all of a short one.
func (b *HintBuilder) prefetch(s sortItem) {
	entry := b.entry(s)
	prefetch.Line(unsafe.Pointer(&entry[0]))
	prefetch.Line(unsafe.Pointer(&entry[len(entry)-1]))
}

func (b *HintBuilder) key(s sortItem) []byte {
	key, _, _, _ := entryKey(b.entry(s))
	return key
}

func (b *HintBuilder) decode(s sortItem) (e HintEntry) {
	cutEntry(&e, b.entry(s), 0)
	return e
}
