package main

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/mmapkv/mmapkv/segment"
)

func (d *dumper) dumpHint() error {
	id, _, ok := segment.ParseFileName(filepath.Base(d.path))
	if !ok {
		return fmt.Errorf("%w: the name of %s does not say which segment the hint belongs to", errUsage, d.path)
	}
	salt, covered, err := d.segmentOf(id)
	if err != nil {
		return err
	}
	content, err := d.content(max(segment.MaxHintSize(covered), minHintLimit))
	if err != nil {
		return err
	}
	hint, err := segment.OpenTableIn(content, id, salt, nil)
	if errors.Is(err, segment.ErrVersion) && segment.IsOlderHint(content, id, salt) {
		return d.print(part{What: "hint", File: segment.FileName(id), Size: d.size, Note: err.Error() + "; the next open makes it anew"})
	}
	if err != nil {
		d.damaged(0, err)
		return nil
	}
	parts := "1 part"
	if n := hint.Parts(); n != 1 {
		parts = fmt.Sprintf("%d parts", n)
	}
	note := fmt.Sprintf("%d keys in %s, covers the first %d bytes, up to #%d, synced up to #%d",
		hint.Len(), parts, hint.Covers.Offset, hint.Covers.Seq, hint.Watermark)
	if err := d.print(part{What: "hint", File: segment.FileName(id), Size: d.size, Note: note}); err != nil {
		return err
	}
	return d.printEntries(hint)
}

// dumpPartial prints a partial hint.
func (d *dumper) dumpPartial() error {
	id, _, ok := segment.ParsePartialName(filepath.Base(d.path))
	if !ok {
		return fmt.Errorf("%w: the name of %s does not say which segment the partial hint belongs to", errUsage, d.path)
	}
	salt, _, err := d.segmentOf(id)
	if err != nil {
		return err
	}
	hint, err := segment.OpenPartial(d.file, d.size, id, salt, nil)
	if err != nil {
		d.damaged(0, err)
		return nil
	}
	note := fmt.Sprintf("%d keys, covers the bytes from %d to %d, #%d to #%d", hint.Len(), hint.From.Offset, hint.To.Offset, hint.From.Seq+1, hint.To.Seq)
	if err := d.print(part{What: "partial hint", File: segment.FileName(id), Size: d.size, Note: note}); err != nil {
		return err
	}
	return d.printEntries(hint.Table)
}

// printEntries prints what a hint has.
func (d *dumper) printEntries(hint *segment.Table) error {
	for e, err := range hint.Entries() {
		if err != nil {
			if err := d.badPart(err); err != nil {
				return err
			}
			continue
		}
		p := part{What: "value", Offset: e.Offset, Size: e.Size, Seq: e.Seq, Expires: e.Expiry}
		if e.Flags&segment.Tombstone != 0 {
			p.What = "tombstone"
		}
		d.setKey(&p, e.Key)
		if err := d.print(p); err != nil {
			return err
		}
	}
	for _, bad := range hint.Damages() {
		if err := d.print(part{What: "unreadable", Offset: bad.Offset, Size: bad.Length, Note: "in the segment"}); err != nil {
			return err
		}
	}
	return nil
}

// badPart reports a part of a hint that does not validate.
func (d *dumper) badPart(err error) error {
	p := part{What: "unreadable", Note: "a part of the hint"}
	if bad := (*segment.HintError)(nil); errors.As(err, &bad) {
		p.Offset = bad.Place
	}
	d.damaged(p.Offset, err)
	return d.print(p)
}
