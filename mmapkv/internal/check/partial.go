package check

import (
	"bytes"
	"errors"
	"io/fs"

	"github.com/mmapkv/mmapkv/segment"
)

// readPartials checks the partial hints of the unsealed files, and notes what they say was on disk. It
// is called before the size of any unsealed file is read, so all of that must be found there. A writer
// removes partial hints when it has sealed the file.
func (v *verifier) readPartials() error {
	if v.partialsRead {
		return nil
	}
	v.partialsRead, v.first = true, map[segment.ID]segment.Range{}
	names, err := v.dir.Names()
	if err != nil {
		return err
	}
	for _, name := range names {
		id, _, ok := segment.ParsePartialName(name)
		if !ok {
			continue
		}
		if i := v.manifest.IndexOf(id); i >= 0 && !v.endKnown(i) {
			if err := v.readPartial(name, v.manifest.Segments[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// readPartial checks one partial hint.
func (v *verifier) readPartial(name string, info segment.SegmentInfo) error {
	content, err := v.readFile(name, minHintRead)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	hint, err := segment.OpenPartial(bytes.NewReader(content), int64(len(content)), info.ID, info.Salt, nil)
	if err == nil {
		err = hint.Check()
	}
	if err != nil {
		if err := v.load(); err != nil {
			return err
		}
		if i := v.manifest.IndexOf(info.ID); i >= 0 && !v.endKnown(i) {
			v.damage(damagedHint(name, err))
		}
		return nil
	}
	v.hints++
	v.known = max(v.known, hint.To.Seq)
	if _, n, _ := segment.ParsePartialName(name); n == 0 {
		v.first[info.ID] = hint.Range
	}
	return nil
}
