package segment

import (
	"errors"
	"fmt"
)

// ManifestState says how a manifest is kept in its file.
type ManifestState struct {
	Edits int // the number of edits after the full copy
	// Once means that the last edit is whole in one half only. Its second copy is damaged, or a
	// crash came before it. The edit counts in either case.
	Once bool
	// Damages are the places that can be read in one half only.
	Damages []ManifestDamage
}

// ManifestDamage is damage that does no harm yet.
type ManifestDamage struct {
	Offset int64  // in the file
	Size   int64  // of the damage, in bytes
	Reason string // what is wrong
}

// InspectManifest decodes a manifest like ParseManifest, and also says how it is stored.
func InspectManifest(data []byte) (*Manifest, ManifestState, error) {
	r, err := newManifestReader(data)
	if err != nil {
		return nil, ManifestState{}, err
	}
	if r.version > firstManifestVersion {
		err = r.replay()
	}
	if err != nil {
		return nil, ManifestState{}, err
	}
	return &r.manifest, r.state, nil
}

// manifestReader reads a file in which at least one full copy is whole.
type manifestReader struct {
	block
	halves [2][]byte // in version 1 the second may be shorter than the first
	begin  [2]int64  // their offsets in the file
	state  ManifestState
}

func newManifestReader(data []byte) (*manifestReader, error) {
	first, err := parseBlock(data)
	if err != nil {
		return newSecondReader(data, err)
	}
	if first.version > firstManifestVersion && len(data) != 2*first.half {
		// Edits may have been cut off, or moved to where they do not validate.
		return nil, fmt.Errorf("%w: it has %d bytes instead of %d", ErrManifest, len(data), 2*first.half)
	}
	r := &manifestReader{block: first, begin: [2]int64{0, int64(first.half)}}
	r.halves = [2][]byte{data[:first.half], data[first.half:min(2*first.half, len(data))]}
	if more := len(data) - 2*first.half; more > 0 {
		r.damaged(2*int64(first.half), int64(more), "it continues past its end")
	}
	r.compare(0, 0, r.size)
	return r, nil
}

// newSecondReader reads a file whose first copy cannot be read.
func newSecondReader(data []byte, err error) (*manifestReader, error) {
	middle := len(data) / 2
	second, otherErr := parseBlock(data[middle:])
	switch {
	case errors.Is(otherErr, ErrVersion):
		return nil, otherErr
	case otherErr != nil:
		return nil, err
	case second.version > firstManifestVersion && (second.half != middle || len(data)%2 != 0):
		return nil, fmt.Errorf("%w: one half is damaged, and the other is in the wrong place", ErrManifest)
	}
	r := &manifestReader{block: second, halves: [2][]byte{data[:middle], data[middle:]}, begin: [2]int64{0, int64(middle)}}
	r.compare(1, 0, r.size)
	return r, nil
}

// compare notes where the other half differs from the good one.
func (r *manifestReader) compare(good, from, to int) {
	bad := 1 - good
	want, got := r.halves[good][from:to], r.halves[bad][min(from, len(r.halves[bad])):min(to, len(r.halves[bad]))]
	for i, b := range want {
		if i >= len(got) || got[i] != b {
			r.damaged(r.begin[bad]+int64(from+i), int64(to-from-i), "the two copies differ")
			return
		}
	}
}

func (r *manifestReader) damaged(offset, size int64, reason string) {
	r.state.Damages = append(r.state.Damages, ManifestDamage{offset, size, reason})
}

// replay applies the edits. They have no gaps: an edit that is whole in neither half was the last
// one, and torn, unless another edit follows it.
func (r *manifestReader) replay() error {
	m := &r.manifest
	var list *segmentList
	once, from, at := -1, 0, r.size // once: the only half that has the edit before at, or -1
	for {
		edit, good, both := r.editAt(at)
		if edit == nil {
			break
		}
		if once >= 0 {
			r.compare(once, from, at) // it was not the last one
		}
		if list == nil {
			list = newSegmentList(m.Segments)
		}
		if err := list.apply(edit); err != nil {
			return err
		}
		if err := m.applyValues(edit); err != nil {
			return err
		}
		if once = -1; !both {
			once = good
		}
		r.state.Edits++
		from, at = at, at+len(edit)
	}
	r.state.Once = once >= 0
	if err := r.checkNoEditsFrom(at); err != nil || list == nil {
		return err
	}
	m.Segments = list.segments()
	return m.check()
}

// editAt is the next edit if it is whole in one of the halves, or nil. It also returns that half,
// and whether the edit is whole in both.
func (r *manifestReader) editAt(at int) (edit []byte, good int, both bool) {
	for i, half := range r.halves {
		number, ok := parseEditHeader(half, r.manifest.Salt, at)
		if !ok || number != r.manifest.Edit+1 {
			continue
		}
		switch whole := wholeEdit(half, r.manifest.Salt, at); {
		case whole == nil:
		case edit == nil:
			edit, good = whole, i
		default:
			both = true
		}
	}
	return edit, good, both
}

// checkNoEditsFrom looks for edits from the end of the readable edits on. Right at that end there may
// be a torn edit of which only the header was written. Any other edit proves that some are missing.
func (r *manifestReader) checkNoEditsFrom(end int) error {
	for i, half := range r.halves {
		for at := end; at < len(half); at += Alignment {
			number, ok := parseEditHeader(half, r.manifest.Salt, at)
			if ok && (at > end || number != r.manifest.Edit+1) {
				return fmt.Errorf("%w: edit %d cannot be read, but edit %d follows at %d", ErrManifest, r.manifest.Edit+1, number, r.begin[i]+int64(at))
			}
		}
	}
	return nil
}
