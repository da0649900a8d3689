package mmapkv

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/mmapkv/internal/residency"
	"github.com/mmapkv/mmapkv/segment"
	"golang.org/x/sys/unix"
)

// The kernel starts writing the log to disk before anybody needs it durable.
func TestLogIsWrittenOutAhead(t *testing.T) {
	o := byHand()
	o.SegmentSize, o.Sync = 64<<20, fsync.Never
	inject.Into(o, &inject.Seams{Manual: true})
	dir := t.TempDir()
	s := open(t, dir, o)
	fill(t, s, 0, 5000, 1000)
	f := s.log.Tail.File
	same, err := os.Open(filepath.Join(dir, segment.FileName(f.ID)))
	if err != nil {
		t.Fatal(err)
	}
	defer same.Close()
	dirty := func() (pages uint64) {
		t.Helper()
		var stat unix.Cachestat_t
		if err := unix.Cachestat(uint(same.Fd()), &unix.CachestatRange{Len: 4 << 20}, &stat, 0); err != nil {
			return 0 // an older kernel
		}
		return stat.Dirty
	}
	before := dirty()
	if before == 0 {
		return // files in memory
	}
	steps := 0
	for residency.PrefaultNext(f, false) {
		steps++
	}
	if after := dirty(); steps < 4 || after > before/4 {
		t.Errorf("%d steps; %d of %d pages have yet to be written", steps, after, before)
	}
}
