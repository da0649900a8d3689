package mmapkv

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/mmapkv/mmapkv/segment"
)

// load reads the manifest. Damage of it is told once.
func (v *verifier) load() error {
	m, state, err := v.readManifest()
	if errors.Is(err, fs.ErrNotExist) {
		return v.withoutManifest(err)
	}
	if errors.Is(err, segment.ErrVersion) {
		return fmt.Errorf("%w: %s: %w", ErrVersion, segment.ManifestName, err)
	}
	if errors.Is(err, segment.ErrManifest) {
		v.damage(Damage{Kind: DamagedManifest, File: segment.ManifestName, Reason: err.Error()})
		return nil
	}
	if err != nil {
		return err
	}
	if !v.loaded {
		if state.Once {
			v.remark(segment.ManifestName, "its last edit is there once only, since a crash came before its second copy, or that is damaged")
		}
		for _, d := range state.Damages {
			v.damage(Damage{Kind: DamagedCopy, File: segment.ManifestName, Offset: d.Offset, Reason: d.Reason})
		}
	}
	if !v.loaded || m.Edit != v.manifest.Edit {
		v.changed = v.loaded
		v.manifest, v.loaded, v.from = *m, true, 0
		v.count()
	}
	return nil
}

// readManifest reads the manifest. A writer may be appending to it meanwhile: then
// what was read first and what was read last may be of different times. So what
// seems damaged is read again, until it is the same twice.
func (v *verifier) readManifest() (m *segment.Manifest, state segment.ManifestState, err error) {
	var before []byte
	for {
		content, err := v.readFile(segment.ManifestName, segment.MaxManifestSize)
		if err != nil {
			return nil, state, err
		}
		m, state, err = segment.InspectManifest(content)
		if err == nil && len(state.Damages) == 0 && !state.Once || before != nil && string(before) == string(content) {
			return m, state, err
		}
		before = content
		if err := v.pacer.Cancelled(); err != nil {
			return nil, state, err
		}
	}
}
