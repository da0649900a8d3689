package fuzz

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/oracle"
	"github.com/mmapkv/mmapkv/mmapkv"
	"github.com/mmapkv/mmapkv/segment"
)

// TestAFileCutAnywhereIsOpenedAgain truncates an unsealed file at every offset. The next file
// shows that the first one was synced, although its own first record is damaged.
func TestAFileCutAnywhereIsOpenedAgain(t *testing.T) {
	l := newLife(t, &census{}, fsync.Always, rand.New(rand.NewPCG(1, 1)))
	var err error
	if l.store, err = l.open(l.disk); err != nil {
		l.fail("open: %v", err)
	}
	put := func(key string) {
		l.write([]oracle.Op{{Key: key, Value: strings.Repeat("v", 500)}}, l.writeOne)
	}
	for i := 0; len(l.store.Stats().Segments) < 2; i++ {
		put(fmt.Sprint("key", i))
	}
	put("last")
	segments := l.store.Stats().Segments
	name, next := path.Join(storeDir, segments[0].File), path.Join(storeDir, segments[1].File)
	content := l.disk.Bytes(name)
	for size := segment.HeaderSize; size <= bytes.LastIndexByte(content, 'v'); size++ {
		disk := l.disk.Kill()
		if err := disk.SetBytes(name, content[:size]); err != nil {
			t.Fatal(err)
		}
		disk.Flip(next, segment.HeaderSize, 1)
		l.ended = fmt.Sprintf(" with %s cut to %d bytes", name, size)
		report, err := verifyOn(t, disk)
		if err != nil || !slices.ContainsFunc(report.Damages, func(d mmapkv.Damage) bool { return d.File == path.Base(name) }) {
			l.fail("Verify reports only %v, %v", report.Damages, err)
		}
		for n := range 2 {
			store, err := l.open(disk)
			if err != nil {
				l.fail("open %d: %v", n, err)
			}
			damages := store.Stats().Recovery.Damages
			if !slices.ContainsFunc(damages, func(d mmapkv.CorruptError) bool { return d.File == path.Base(name) }) {
				l.fail("open %d reports only %v", n, damages)
			}
			if err := store.Close(); err != nil {
				l.fail("Close: %v", err)
			}
		}
	}
}
