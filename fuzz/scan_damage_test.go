package fuzz

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"testing"
	"time"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/crashfs"
	"github.com/mmapkv/mmapkv/mmapkv"
	"github.com/mmapkv/mmapkv/segment"
)

var (
	tableStates = flag.Int("tables.states", 1_000, "how many stores TestRottenTablesCostNoKey damages")
	tableSeed   = flag.Uint64("tables.seed", 0, "the seed of TestRottenTablesCostNoKey; 0 draws one")
)

// TestRottenTablesCostNoKey damages or removes hints and partial hints of stores that crashed or
// were closed. Opened, a store shows all that it shows without that damage, also in order. If its
// tables and segments rot while it is open, a scan is right up to where it says ErrCorrupt.
func TestRottenTablesCostNoKey(t *testing.T) {
	seed := *tableSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d; to replay: go test ./fuzz -run '^%s$' -tables.seed=%d -tables.states=%d", seed, t.Name(), seed, *tableStates)
	collectSeldom(t)
	var counts tableCounts
	for script := uint64(0); counts.stores < *tableStates/sampleOneIn; script++ {
		policy := []fsync.Policy{fsync.Always, fsync.Every(200 * time.Millisecond), fsync.Never}[script%3]
		l := newLife(t, &census{}, policy, rand.New(rand.NewPCG(seed, script)))
		l.name, l.compacting = fmt.Sprintf("seed %d, script %d", seed, script), script%2 == 0
		l.run(40+l.rng.IntN(80), false)
		for _, end := range []struct {
			name string
			disk *crashfs.Disk
		}{
			{"killed", l.disk.Kill()},
			{"power cut", l.disk.PowerCut(chooser{l.rng})},
			{"closed", l.closed()},
		} {
			l.ended = ", " + end.name
			l.rotTables(end.disk, &counts)
		}
	}
	t.Logf("%+v", counts)
	// Partial hints are rare: a sample may have none.
	if counts.Tables == 0 || counts.Partials == 0 && sampleOneIn == 1 || counts.Corrupt == 0 || counts.Right == 0 {
		t.Error("one of these never happened")
	}
}

// tableCounts counts what happened.
type tableCounts struct {
	stores           int
	Tables, Partials int // damaged or removed
	Corrupt, Right   int // scans of stores that rotted while they were open
}

// closed returns the disk of the store, closed.
func (l *life) closed() *crashfs.Disk {
	if err := l.store.Close(); err != nil {
		l.fail("Close: %v", err)
	}
	return l.disk.Kill()
}

// rotTables damages copies of a disk, and compares what their stores show.
func (l *life) rotTables(disk *crashfs.Disk, counts *tableCounts) {
	l.disk = disk
	want := l.openReadOnly()
	ended := l.ended
	for n := range 4 {
		l.disk, l.ended = disk.Clone(), ended
		for _, name := range l.disk.Files() {
			if n > 0 && l.rng.IntN(2) == 0 {
				l.rotTable(name, counts)
			}
		}
		store, err := l.open(l.disk)
		if err != nil {
			l.fail("open: %v", err)
		}
		if shown := l.content(store); !maps.Equal(shown, want) {
			l.fail("it shows %v; without damage %v", shown, want)
		}
		l.rotWhileOpen(store, want, counts)
		counts.stores++
	}
}

// rotTable damages or removes a file if it is a hint or a partial one.
func (l *life) rotTable(name string, counts *tableCounts) {
	base := path.Base(name)
	switch _, kind, _ := segment.ParseFileName(base); kind {
	case segment.HintFile:
		counts.Tables++
	case segment.PartialFile:
		counts.Partials++
	default:
		return
	}
	content := l.disk.Bytes(name)
	at := l.rng.IntN(len(content) + 1)
	switch kind := l.rng.IntN(5); {
	case kind == 0 || at == len(content):
		removeFile(l.t, l.disk, base)
		l.ended += fmt.Sprintf(", %s removed", base)
		return
	case kind == 1:
		content = content[:at]
	case kind == 2:
		clear(content[at:])
	case kind == 3:
		content = append(content, content[at:]...)
	default:
		content[at] ^= 1 << l.rng.IntN(8)
	}
	l.ended += fmt.Sprintf(", %s damaged at %d", base, at)
	if err := l.disk.SetBytes(name, content); err != nil {
		l.t.Fatal(err)
	}
}

// rotWhileOpen flips bits of tables, and then of segments too, below an open store, and scans it.
func (l *life) rotWhileOpen(store *mmapkv.Store, want map[string]string, counts *tableCounts) {
	early, err := store.Iterator(mmapkv.ScanOptions{})
	if err != nil {
		l.fail("Iterator: %v", err)
	}
	defer early.Close()
	for n := range 6 {
		for _, name := range l.disk.Files() {
			_, kind, _ := segment.ParseFileName(path.Base(name))
			content := l.disk.Bytes(name)
			if kind != segment.HintFile && (n < 3 || kind != segment.SegmentFile) || l.rng.IntN(3) > 0 || len(content) == 0 {
				continue
			}
			at := l.rng.IntN(len(content))
			if l.disk.Flip(name, int64(at), 1<<l.rng.IntN(8)) {
				l.ended += fmt.Sprintf(", %s damaged at %d while open", path.Base(name), at)
			}
		}
		for i, o := range orders {
			got, err := scanned(store, o)
			if i%2 == 1 {
				got, err = iterated(store, o)
			}
			l.judgeRotten(orderError{o, got, ordered(want, o), err}, counts)
		}
	}
	var got []orderedPair
	for key, value := range early.Pairs() {
		got = append(got, orderedPair{string(key), string(value)})
	}
	l.judgeRotten(orderError{mmapkv.ScanOptions{}, got, ordered(want, mmapkv.ScanOptions{}), early.Err()}, counts)
	if err := store.Close(); err != nil && !errors.Is(err, mmapkv.ErrCorrupt) {
		l.fail("Close: %v", err)
	}
}

// judgeRotten accepts a scan that is right, and one that is right up to where it says ErrCorrupt.
func (l *life) judgeRotten(e orderError, counts *tableCounts) {
	l.t.Helper()
	switch {
	case e.err == nil && slices.Equal(e.got, e.want):
		counts.Right++
	case errors.Is(e.err, mmapkv.ErrCorrupt) && !e.wrong():
		counts.Corrupt++
	default:
		l.fail("%v", e)
	}
}
