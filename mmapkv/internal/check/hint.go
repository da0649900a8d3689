package check

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/mmapkv/mmapkv/segment"
)

// minHintRead is how many bytes of a hint are read in any case. A hint may be longer than
// the size of its segment allows, if the segment was cut.
const minHintRead = 256 << 20

// readHint reads the hint of a file, of which size bytes are there. It returns nil if
// there is no hint to compare with.
func (v *verifier) readHint(info segment.SegmentInfo, size int64) (*segment.Hint, error) {
	name := segment.HintName(info.ID)
	content, err := v.readFile(name, max(segment.MaxHintSize(size), minHintRead))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, v.remarkHint(info, "it is missing; the next open makes it anew")
	}
	if err != nil {
		return nil, err
	}
	v.hints++
	hint, err := segment.ParseHint(content, info.ID, info.Salt)
	if err != nil {
		v.damage(Damage{Kind: DamagedHint, File: name, Reason: err.Error()})
		return nil, nil
	}
	if hint.Covers != info.End {
		return nil, v.remarkHint(info, fmt.Sprintf("it is of an earlier time, when the segment ended at %d; the next open makes it anew", hint.Covers.Offset))
	}
	return hint, nil
}

// remarkHint remarks on the hint of a file, if the manifest still lists that file.
func (v *verifier) remarkHint(info segment.SegmentInfo, what string) error {
	if err := v.load(); err != nil {
		return err
	}
	if v.lists(info) {
		v.remark(segment.HintName(info.ID), what)
	}
	return nil
}
