package check

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/mmapkv/mmapkv/internal/errno"
	"github.com/mmapkv/mmapkv/segment"
)

// minHintRead is how many bytes of a hint are read in any case. A hint may be longer than
// the size of its segment allows, if the segment was cut.
const minHintRead = 256 << 20

// readHint reads the hint of a file, of which size bytes are there. It returns nil if
// there is no hint to compare with.
func (v *verifier) readHint(info segment.SegmentInfo, size int64) (*segment.Table, error) {
	name := segment.HintName(info.ID)
	f, err := v.dir.OpenReadOnly(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, v.remarkHint(info, "it is missing; the next open makes it anew")
	case errno.Scarce(err) || errors.Is(err, fs.ErrPermission): // this says nothing about the hint
		return nil, err
	case err != nil:
		v.damage(damagedHint(name, err))
		return nil, nil
	}
	content, err := v.content(f, max(segment.MaxHintSize(size), minHintRead))
	if err != nil {
		return nil, err
	}
	v.hints++
	hint, err := segment.OpenTableIn(content, info.ID, info.Salt, nil)
	if err == nil {
		err = hint.Check()
	}
	if errors.Is(err, segment.ErrVersion) && segment.IsOlderHint(content, info.ID, info.Salt) {
		return nil, v.remarkHint(info, err.Error()+"; the next open makes it anew")
	}
	if err != nil {
		v.damage(damagedHint(name, err))
		return nil, nil
	}
	if hint.Covers != info.End {
		return nil, v.remarkHint(info, otherEnd(hint.Covers, info.End)+"; the next open makes it anew")
	}
	return hint, nil
}

// otherEnd says what a hint covers of a segment that ends elsewhere.
func otherEnd(covers, end segment.End) string {
	if covers.Offset < end.Offset && covers.Seq <= end.Seq {
		return fmt.Sprintf("it is of an earlier time, when the segment ended at %d", covers.Offset)
	}
	return fmt.Sprintf("it covers %d bytes up to record %d, and the segment ends at %d with record %d", covers.Offset, covers.Seq, end.Offset, end.Seq)
}

// damagedHint reports a hint, and where in it the first damaged part begins, if it is only a part.
func damagedHint(name string, err error) Damage {
	d := Damage{Kind: DamagedHint, File: name, Reason: err.Error()}
	if part := (*segment.HintError)(nil); errors.As(err, &part) {
		d.Offset = part.Place
	}
	return d
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
