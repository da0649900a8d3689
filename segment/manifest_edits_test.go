package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// history is a manifest's file with edits, and the manifest before and after each edit.
type history struct {
	file   []byte
	log    EditLog
	states []*Manifest
	ends   []int64 // where the edit that makes the next state begins in each half
}

// newHistory makes the given number of edits. It cycles through the kinds that a store makes.
func newHistory(edits int) *history {
	m := &Manifest{Salt: 0x1234567890abcdef, Edit: 10, NextID: 1}
	h := &history{file: m.Append(nil), log: m.EditLog(), states: []*Manifest{m}}
	h.ends = append(h.ends, h.log.end)
	for i := range edits {
		h.edit(nextState(h.last(), i))
	}
	return h
}

func (h *history) last() *Manifest { return h.states[len(h.states)-1] }

func (h *history) edit(to *Manifest) {
	withEdits(h.file, &h.log, h.last(), to)
	h.states, h.ends = append(h.states, to), append(h.ends, h.log.end)
}

// nextState is the manifest after an edit of the given kind, as a store makes it.
func nextState(from *Manifest, kind int) *Manifest {
	m := *from
	m.Edit++
	m.LastSeq += 5
	m.Watermark = m.LastSeq - 3
	m.Segments = slices.Clone(m.Segments)
	enlist := func() {
		m.Segments = append(m.Segments, SegmentInfo{ID: m.NextID, Salt: uint64(m.NextID) * 77, Kind: Log})
		m.NextID++
	}
	sealOldest := func() {
		for i := range m.Segments {
			if !m.Segments[i].Sealed {
				m.Segments[i].Sealed, m.Segments[i].End = true, End{Offset: 128, Seq: m.LastSeq}
				m.SealedSeq = m.LastSeq
				return
			}
		}
	}
	switch kind % 8 {
	case 0, 2, 4:
		enlist()
	case 1, 3, 5:
		sealOldest()
	case 6: // a merged segment replaces two
		merged := SegmentInfo{ID: m.NextID, Salt: 9, Kind: Merged, Sealed: true, End: End{Offset: 64, Seq: 1}}
		m.NextID++
		m.Segments = slices.Replace(m.Segments, 0, 2, merged)
	case 7: // the oldest segment is removed
		m.Segments = slices.Delete(m.Segments, 0, 1)
	}
	if len(m.Segments) == 0 {
		m.Segments = nil
	}
	return &m
}

func TestEditsAreReadAsWritten(t *testing.T) {
	h := newHistory(0)
	for i := range 30 {
		h.edit(nextState(h.last(), i))
		m, state, err := InspectManifest(h.file)
		if err != nil || !reflect.DeepEqual(m, h.last()) || !reflect.DeepEqual(state, ManifestState{Edits: i + 1}) {
			t.Fatalf("%+v, %+v, %v, want %+v", m, state, err, h.last())
		}
	}
}

// Any list can follow any other.
func TestAnyEditIsReadAsWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		from, to := drawManifest(t), drawManifest(t)
		to.Salt, to.Edit = from.Salt, from.Edit+1
		log := from.EditLog()
		file := withEdits(from.Append(nil), &log, from, to)
		if got, err := ParseManifest(file); err != nil || !reflect.DeepEqual(got, to) {
			t.Fatalf("%+v, %v, want %+v", got, err, to)
		}
	})
}

func TestEditWithoutRoomIsNotEncoded(t *testing.T) {
	h := newHistory(0)
	for i := 0; ; i++ {
		to := nextState(h.last(), i)
		edit := h.log.Encode([]byte("before"), h.last(), to)
		if string(edit) == "before" {
			if i < 30 {
				t.Errorf("there is room for only %d edits", i)
			}
			break
		}
		if h.log.end+int64(len(edit)-len("before")) > halfUnit {
			t.Fatal("an edit reaches into the other half")
		}
		h.edit(to)
	}
	if m, err := ParseManifest(h.file); err != nil || !reflect.DeepEqual(m, h.last()) {
		t.Errorf("%+v, %v", m, err)
	}
	var none EditLog
	if edit := none.Encode(nil, h.last(), h.last()); edit != nil {
		t.Error("the zero EditLog has room")
	}
}

// An edit costs no more in a manifest of many segments than in a manifest of a few.
func TestEditsCostWhatTheyChange(t *testing.T) {
	for _, segments := range []int{10, 1000, 10_000} {
		m := &Manifest{NextID: ID(segments) + 1, LastSeq: 1 << 40}
		for i := range segments {
			m.Segments = append(m.Segments, SegmentInfo{ID: ID(i + 1), Kind: Log, Sealed: true, End: End{Offset: 64}})
		}
		log := m.EditLog()
		written, edits := len(m.Append(nil)), 0
		for ; ; edits++ {
			next := *m
			next.Edit++
			next.Segments = slices.Clone(m.Segments)
			next.Segments[edits%segments].End.Seq += uint64(edits) + 1
			edit := log.Encode(nil, m, &next)
			if len(edit) == 0 {
				break
			}
			written += 2 * len(edit)
			log.Wrote(len(edit))
			m = &next
		}
		if each := written / edits; each > 1000 {
			t.Errorf("%d segments: %d bytes per edit, %d edits", segments, each, edits)
		}
	}
}

// wantNewest checks that a damaged file yields the newest manifest, or an error.
func (h *history) wantNewest(t *testing.T, data []byte, mustBeRead bool, what string, args ...any) {
	t.Helper()
	m, err := ParseManifest(data)
	switch {
	case err == nil && !reflect.DeepEqual(m, h.last()):
		t.Fatalf(what+": edit %d of %d is taken for the last", append(args, m.Edit, h.last().Edit)...)
	case err != nil && mustBeRead:
		t.Fatalf(what+": %v", append(args, err)...)
	case err != nil && !errors.Is(err, ErrManifest) && !errors.Is(err, ErrVersion):
		t.Fatalf(what+": %v", append(args, err)...)
	}
}

// One flipped bit never loses the last edits.
func TestManifestWithEveryBitFlipped(t *testing.T) {
	h := newHistory(9)
	for bit := range 8 * len(h.file) {
		h.file[bit/8] ^= 1 << (bit % 8)
		h.wantNewest(t, h.file, true, "bit %d", bit)
		h.file[bit/8] ^= 1 << (bit % 8)
	}
}

func TestManifestTruncatedAnywhere(t *testing.T) {
	h := newHistory(9)
	for n := range h.file {
		h.wantNewest(t, h.file[:n], false, "%d bytes", n)
	}
	for _, more := range []int{1, halfUnit, len(h.file)} {
		h.wantNewest(t, append(slices.Clone(h.file), make([]byte, more)...), false, "%d bytes more", more)
	}
}

// Inserting or removing bytes moves everything after them.
func TestManifestWithBytesMoved(t *testing.T) {
	h := newHistory(30)
	for _, size := range []int{1, 8, 512, 1536, halfUnit} {
		for at := 0; at+size <= len(h.file); at += 64 {
			h.wantNewest(t, slices.Concat(h.file[:at+size], h.file[at:]), false, "%d bytes at %d twice", size, at)
			h.wantNewest(t, slices.Delete(slices.Clone(h.file), at, at+size), false, "%d bytes at %d gone", size, at)
		}
	}
}

// A lost block of any size, replaced by zeros, ones or bytes from elsewhere in the other half, leaves
// the newest manifest readable.
func TestManifestWithEveryBlockLost(t *testing.T) {
	h := newHistory(30)
	for _, size := range []int{8, 64, 512, halfUnit} {
		for at := 0; at < len(h.file); at += size {
			for _, filling := range [][]byte{make([]byte, size), bytes.Repeat([]byte{0xff}, size), h.file[(at+size+len(h.file)/2)%len(h.file):][:size]} {
				data := slices.Clone(h.file)
				copy(data[at:], filling)
				h.wantNewest(t, data, true, "%d bytes at %d", size, at)
			}
		}
	}
}

// A manifest of many blocks loses any one of them.
func TestLargeManifestWithEveryBlockLost(t *testing.T) {
	m := &Manifest{Salt: 3, NextID: 1}
	for range 300 {
		m.Segments = append(m.Segments, SegmentInfo{ID: m.NextID, Kind: Log, Sealed: true, End: End{Offset: 64}})
		m.NextID++
	}
	h := &history{file: m.Append(nil), log: m.EditLog(), states: []*Manifest{m}, ends: []int64{int64(m.blockSize())}}
	for i := range 100 {
		h.edit(nextState(h.last(), i))
	}
	for at := 0; at < len(h.file); at += halfUnit {
		data := slices.Clone(h.file)
		clear(data[at:][:halfUnit])
		h.wantNewest(t, data, true, "the block at %d", at)
	}
}

// An edit that another edit follows was acknowledged. If neither half has it, the manifest is
// rejected.
func TestMissingEditIsDamage(t *testing.T) {
	h := newHistory(9)
	for i, at := range h.ends[:8] {
		for _, size := range []int64{8, 64, h.ends[i+1] - at} {
			data := slices.Clone(h.file)
			clear(data[at:][:size])
			clear(data[halfUnit+at:][:size])
			if _, err := ParseManifest(data); !errors.Is(err, ErrManifest) {
				t.Errorf("edit %d, %d bytes: %v", i, size, err)
			}
		}
	}
}

// A crash while the last edit is written leaves the manifest before it or the one after it, whatever
// part of the two copies was written.
func TestTornEditCountsOrNot(t *testing.T) {
	before, after := newHistory(7), newHistory(8)
	start, end := before.ends[7], after.ends[8]
	rng := rand.New(rand.NewPCG(1, 2))
	var seen [2]int
	for range 20_000 {
		data := slices.Clone(before.file)
		for _, half := range []int64{0, halfUnit} {
			for at := start; at < end; at += 8 {
				if rng.IntN(8) > 0 {
					copy(data[half+at:][:8], after.file[half+at:])
				}
			}
		}
		m, state, err := InspectManifest(data)
		switch {
		case err != nil || len(state.Damages) > 0:
			t.Fatalf("%+v, %v", state, err)
		case reflect.DeepEqual(m, before.last()):
			seen[0]++
		case reflect.DeepEqual(m, after.last()):
			seen[1]++
		default:
			t.Fatalf("%+v", m)
		}
	}
	if seen[0] == 0 || seen[1] == 0 {
		t.Errorf("%d without the edit and %d with it", seen[0], seen[1])
	}
	// One whole copy counts, and is reported.
	for _, half := range []int64{0, halfUnit} {
		data := slices.Clone(before.file)
		copy(data[half+start:], after.file[half+start:][:end-start])
		if m, state, err := InspectManifest(data); err != nil || !reflect.DeepEqual(m, after.last()) || !state.Once {
			t.Errorf("%+v, %+v, %v", m, state, err)
		}
	}
}

// Edits that another manifest's file left on the disk do not count, and neither do edits at another
// offset.
func TestStaleEditsDoNotCount(t *testing.T) {
	stale := newHistory(9)
	m := *stale.states[0]
	m.Salt++
	file := m.Append(nil)
	for _, half := range []int64{0, halfUnit} {
		copy(file[half:][:halfUnit][m.blockSize():], stale.file[m.blockSize():halfUnit])
	}
	if got, state, err := InspectManifest(file); err != nil || !reflect.DeepEqual(got, &m) || state.Edits != 0 {
		t.Errorf("%+v, %+v, %v", got, state, err)
	}
	file = stale.states[0].Append(nil)
	for _, half := range []int64{0, halfUnit} {
		copy(file[half+stale.ends[0]+8:], stale.file[stale.ends[0]:][:stale.ends[1]-stale.ends[0]])
	}
	if _, state, err := InspectManifest(file); err != nil || state.Edits != 0 {
		t.Errorf("moved: %+v, %v", state, err)
	}
}

// resealedEdit is a manifest whose only edit has a changed field and valid checksums.
func resealedEdit(change func(edit []byte)) []byte {
	h := newHistory(1)
	at := h.ends[0]
	edit := h.file[at:h.ends[1]]
	change(edit)
	binary.LittleEndian.PutUint32(edit[editChangeSumAt:], changeSum(edit, h.last().Salt, at))
	binary.LittleEndian.PutUint32(edit, editSum(edit, h.last().Salt, at))
	copy(h.file[halfUnit+at:], edit)
	return h.file
}

func TestManifestRefusesEditsThatNoStoreWrites(t *testing.T) {
	const info = minEditSize
	for name, change := range map[string]func([]byte){
		"number":      func(b []byte) { b[editNumberAt]++ },
		"clean":       func(b []byte) { b[editCleanAt] = 2 },
		"zeros":       func(b []byte) { b[editZerosAt] = 1 },
		"after":       func(b []byte) { b[editAfterAt] = 7 },
		"removed":     func(b []byte) { b[editRemovedAt] = 1 },
		"all removed": func(b []byte) { binary.LittleEndian.PutUint32(b[editRemovedAt:], 0xffffffff) },
		"next id":     func(b []byte) { b[editNextIDAt] = 1 },
		"watermark":   func(b []byte) { b[editWatermarkAt] = 0xff },
		"sealed seq":  func(b []byte) { b[editSealedSeqAt] = 0xff },
		"last":        func(b []byte) { b[editLastSeqAt+7] = 0xff },
		"id 0":        func(b []byte) { b[info] = 0 },
		"kind":        func(b []byte) { b[info+infoKindAt] = 3 },
		"sealed":      func(b []byte) { b[info+infoSealedAt] = 2 },
		"no end":      func(b []byte) { b[info+infoSealedAt] = 1 },
	} {
		if m, err := ParseManifest(resealedEdit(change)); !errors.Is(err, ErrManifest) {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
	}
	if _, err := ParseManifest(resealedEdit(func([]byte) {})); err != nil {
		t.Errorf("nothing changed: %v", err)
	}
	// An edit with a wrong size counts as torn.
	for _, size := range []byte{8, minEditSize + 8, 0xf8} {
		if _, state, err := InspectManifest(resealedEdit(func(b []byte) { b[editSizeAt] = size })); err != nil || state.Edits != 0 {
			t.Errorf("size %d: %+v, %v", size, state, err)
		}
	}
}

// A manifest that lists a segment twice is rejected.
func TestEditThatListsASegmentAgain(t *testing.T) {
	h := newHistory(2)
	to := *h.last()
	to.Edit++
	to.Segments = append(slices.Clone(to.Segments), to.Segments[0])
	h.edit(&to)
	if _, err := ParseManifest(h.file); !errors.Is(err, ErrManifest) {
		t.Error(err)
	}
}
