package catalog

import (
	"testing"

	"github.com/mmapkv/mmapkv/internal/invariant"
	"github.com/mmapkv/mmapkv/segment"
)

func TestEditsKeepTheOrderOfTheFiles(t *testing.T) {
	file := func(id segment.ID, sealed bool, reached uint64) segment.SegmentInfo {
		return segment.SegmentInfo{ID: id, Kind: segment.Log, Sealed: sealed, End: segment.End{Offset: 64, Seq: reached}}
	}
	manifest := func(files ...segment.SegmentInfo) *segment.Manifest {
		return &segment.Manifest{NextID: 10, LastSeq: 30, Watermark: 20, SealedSeq: 10, Segments: files}
	}
	one, two, last := file(1, true, 5), file(2, true, 10), file(3, false, 0)
	before := manifest(one, two, last)
	for name, c := range map[string]struct {
		before, next *segment.Manifest
		wrong        bool
	}{
		"no change":                      {before, manifest(one, two, last), false},
		"a new file":                     {before, manifest(one, two, last, file(4, false, 0)), false},
		"a file is sealed":               {before, manifest(one, two, file(3, true, 12)), false},
		"a run is replaced":              {before, manifest(file(4, true, 10), last), false},
		"a run goes":                     {before, manifest(last), false},
		"a run is replaced at the end":   {before, manifest(two, last, file(4, true, 5)), true},
		"a run is replaced too early":    {before, manifest(file(4, true, 10), one, last), true},
		"two files change places":        {before, manifest(two, one, last), true},
		"a sealed file ends elsewhere":   {before, manifest(one, file(2, true, 11), last), true},
		"a sealed file is opened":        {before, manifest(one, file(2, false, 0), last), true},
		"a number that nobody got":       {before, manifest(one, two, last, file(10, true, 20)), true},
		"numbers go back":                {before, &segment.Manifest{NextID: 10, LastSeq: 29, Watermark: 20, SealedSeq: 10}, true},
		"a disk whose files are jumbled": {manifest(two, one), manifest(two, one, last), false},
	} {
		var panicked any
		func() {
			defer func() { panicked = recover() }()
			checkEdit(c.before, c.next)
		}()
		if noticed := panicked != nil; noticed != (c.wrong && invariant.Enabled) {
			t.Errorf("%s: %v", name, panicked)
		}
	}
}
