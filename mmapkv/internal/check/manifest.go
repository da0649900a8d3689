package check

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv/internal/failure"
	"github.com/mmapkv/mmapkv/mmapkv/internal/listing"
	"github.com/mmapkv/mmapkv/mmapkv/internal/patient"
	"github.com/mmapkv/mmapkv/segment"
)

// load reads the manifest anew, and reports what is damaged in it the first time.
func (v *verifier) load() error {
	m, state, err := v.readManifest()
	if errors.Is(err, fs.ErrNotExist) {
		return v.withoutManifest(err)
	}
	if errors.Is(err, segment.ErrVersion) {
		return fmt.Errorf("%w: %s: %w", failure.ErrVersion, segment.ManifestName, err)
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

// readManifest reads the manifest. A writer may be appending to it, so the first and the
// last bytes that were read may be of different times. If the manifest seems damaged,
// readManifest reads it again until it gets the same bytes twice.
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

// withoutManifest says what it means that there is no manifest.
func (v *verifier) withoutManifest(err error) error {
	names, namesErr := v.dir.Names()
	if namesErr != nil {
		return namesErr
	}
	if reason := listing.WhyNoManifest(names); reason != "" {
		v.damage(Damage{Kind: DamagedManifest, File: segment.ManifestName, Reason: reason})
		return nil
	}
	return fmt.Errorf("mmapkv: there is no store: %w", err)
}

// readFile reads a small file, of at most max bytes. Zeros stand for what the disk
// refuses to read.
func (v *verifier) readFile(name string, max int64) (content []byte, err error) {
	f, err := v.dir.OpenReadOnly(name)
	if err != nil {
		return nil, err
	}
	return v.content(f, max)
}

// content reads the first max bytes of a file like readFile, and closes the file.
func (v *verifier) content(f vfs.File, max int64) (content []byte, err error) {
	defer func() { err = errors.Join(err, f.Close()) }()
	r := patient.Reader{File: f, Before: v.pacer.Work}
	return r.Content(max)
}
