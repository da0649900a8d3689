package compact

import (
	"bytes"
	"cmp"
	"errors"
	"slices"

	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/mmapkv/internal/failure"
	"github.com/mmapkv/mmapkv/mmapkv/internal/hints"
	"github.com/mmapkv/mmapkv/mmapkv/internal/sweep"
	"github.com/mmapkv/mmapkv/segment"
)

// FindShadows finds the run's shadows, and which of them an older file needs. It is exported for
// tests.
func (rw *rewrite) FindShadows() error {
	now := rw.compactor.Now().UnixMilli()
	var all []*shadow
	for i, f := range rw.Run {
		if !f.MayShadow.Load() {
			continue
		}
		found, err := rw.shadowsOf(i, f, now)
		if err != nil {
			return unreadable(f, f.DataStart, err)
		}
		all = append(all, found...)
		if err := rw.pacer.Work(f.HintBytes.Load()); err != nil {
			return err
		}
	}
	rw.Shadows = make(map[place]*shadow, len(all))
	for _, one := range all {
		rw.Shadows[one.at] = one
	}
	slices.SortFunc(all, func(x, y *shadow) int {
		return cmp.Or(bytes.Compare(x.Key, y.Key), cmp.Compare(y.seq, x.seq))
	})
	// For each key the newest shadow suffices.
	all = slices.CompactFunc(all, func(x, y *shadow) bool { return bytes.Equal(x.Key, y.Key) })
	for i := len(rw.older) - 1; i >= 0 && len(all) > 0; i-- {
		var err error
		if all, err = rw.markNeeded(all, rw.older[i]); err != nil {
			return err
		}
	}
	return nil
}

// shadowsOf returns the shadows of the i-th file of the run.
func (rw *rewrite) shadowsOf(i int, f *catalog.File, now int64) (found []*shadow, err error) {
	c := rw.compactor
	err = rw.compactor.hints.With(f, rw.pacer.Pause, func(hint *hints.Hint) error {
		found = nil
		for e, err := range hint.Entries() {
			if err != nil {
				return err
			}
			if e.Flags&(segment.Tombstone|segment.Expires) == 0 {
				continue
			}
			fp, here := c.Hasher.Fingerprint(e.Key), index.MakeLocation(f.Slot, e.Offset, e.Size)
			if e.Flags&segment.Expires != 0 && e.Expiry <= now {
				c.sweeper.Expire(f, &sweep.Record{Fp: fp, Location: here, Size: e.Size, KeySize: len(e.Key)})
			}
			if c.catalog.Files.Keys.Get(fp) != index.NoLocation {
				continue
			}
			// The key was deleted, or swept, or had expired when the store was opened, whatever
			// the clock says now.
			found = append(found, &shadow{Key: bytes.Clone(e.Key), seq: e.Seq, at: place{i, e.Offset}})
		}
		return nil
	})
	return found, err
}

// markNeeded marks the shadows that the older file needs, and returns the others. Both lists are
// sorted by key. A file with damaged ranges may hold any key, so it needs all of them.
func (rw *rewrite) markNeeded(shadows []*shadow, f *catalog.File) (rest []*shadow, err error) {
	damaged := false
	err = rw.compactor.hints.With(f, rw.pacer.Pause, func(hint *hints.Hint) error {
		rest, damaged = nil, len(hint.Damages()) > 0
		left := shadows
		for e, err := range hint.Entries() {
			if err != nil {
				return err
			}
			for len(left) > 0 && bytes.Compare(left[0].Key, e.Key) < 0 {
				rest, left = append(rest, left[0]), left[1:]
			}
			if len(left) == 0 {
				break
			}
			if bytes.Equal(left[0].Key, e.Key) {
				left[0].By = f.ID
				left = left[1:]
			}
		}
		rest = append(rest, left...)
		return nil
	})
	if errors.Is(err, failure.ErrFailed) {
		return nil, err
	}
	if err != nil || damaged {
		for _, one := range shadows {
			one.By = f.ID
		}
		return nil, nil
	}
	return rest, rw.pacer.Work(f.HintBytes.Load())
}
