package fuzz

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/crashfs"
	"github.com/mmapkv/mmapkv/mmapkv"
	"github.com/mmapkv/mmapkv/segment"
)

var (
	yesterdayRuns = flag.Int("yesterday.runs", 300, "how many stores get each of their older manifests back")
	yesterdaySeed = flag.Uint64("yesterday.seed", 0, "the seed of TestOlderManifests; 0 draws one")
)

const manifestPath = "/store/" + segment.ManifestName

// TestOlderManifests puts back every manifest that a store ever had, alone and with all other
// files of its time. Open either shows the newest values, or refuses and changes nothing, and
// Salvage finds the newest values. If all files were put back, nothing newer may be left, and
// Open may show the store as it was.
func TestOlderManifests(t *testing.T) {
	seed := *yesterdaySeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	y := &yesterdays{}
	runs := max(*yesterdayRuns/sampleOneIn, 20)
	for run := range uint64(runs) {
		policy := []fsync.Policy{fsync.Always, fsync.Every(200 * time.Millisecond), fsync.Never}[run%3]
		l := newLife(t, &census{}, policy, rand.New(rand.NewPCG(seed, run)))
		l.name = fmt.Sprintf("run %d; to repeat: go test ./fuzz -run TestOlderManifests -yesterday.seed=%d -yesterday.runs=%d", run, seed, run+1)
		l.compacting = l.rng.IntN(2) == 0
		l.run(5, false)
		if l.rng.IntN(2) == 0 { // recovery is part of the store's life
			l.disk = l.disk.Kill()
		} else if err := l.store.Close(); err != nil {
			l.fail("Close: %v", err)
		}
		old := l.liveThrough()
		for _, then := range old[:len(old)-1] {
			y.putBack(l, then)
		}
	}
	t.Logf("seed %d: %d manifests refused, %d accepted, %d salvaged; with all files %d refused", seed, y.refused, y.accepted, y.salvaged, y.allRefused)
	if y.refused == 0 || y.accepted == 0 || y.salvaged == 0 || y.allRefused == 0 {
		t.Error("something never happened")
	}
}

// liveThrough continues the life, and returns the disk as it was under each manifest.
func (l *life) liveThrough() (old []*crashfs.Disk) {
	var last []byte
	look := func(int, crashfs.Op) {
		if now := l.disk.Bytes(manifestPath); !bytes.Equal(now, last) {
			last = now
			old = append(old, l.disk.Kill())
		}
	}
	l.disk.OnCall = look
	var err error
	if l.store, err = l.open(l.disk); err != nil {
		l.fail("open: %v", err)
	}
	for range 5 + l.rng.IntN(40) {
		l.act()
	}
	if l.rng.IntN(2) == 0 {
		if err := l.store.Close(); err != nil {
			l.fail("Close: %v", err)
		}
	}
	look(0, crashfs.Op{})
	l.disk.OnCall = nil
	return old
}

// yesterdays counts the outcomes of putting older files back.
type yesterdays struct{ refused, accepted, salvaged, allRefused int }

func (y *yesterdays) putBack(l *life, then *crashfs.Disk) {
	want := l.oracle.Current().Visible(l.now)
	one := l.disk.Kill()
	setBytes(l, one, manifestPath, then)
	shown, err := l.openUnchanged(one)
	switch {
	case err == nil && maps.Equal(shown, want):
		y.accepted++
	case err == nil && l.isFromARecovery(then):
	case err == nil:
		l.fail("with an older manifest it shows %v, want %v", shown, want)
	default:
		y.refused++
		if strings.Contains(err.Error(), "it is older than other files") {
			y.salvage(l, one, want)
		}
	}

	all := l.disk.Kill()
	for _, name := range then.Files() {
		setBytes(l, all, name, then)
	}
	if shown, err = l.openUnchanged(all); err != nil {
		y.allRefused++
		return
	}
	was, err := l.openUnchanged(then.Kill())
	if err != nil {
		l.fail("open: %v", err)
	}
	if !maps.Equal(shown, want) && !maps.Equal(shown, was) {
		l.fail("with all older files it shows %v, want the newest %v or the older %v", shown, want, was)
	}
}

// isFromARecovery reports whether the last recovery committed this manifest before it copied,
// and nothing was written since. Putting that manifest back looks like a power cut in the
// middle of the recovery.
func (l *life) isFromARecovery(then *crashfs.Disk) bool {
	m, err := segment.ParseManifest(then.Bytes(manifestPath))
	if err != nil {
		l.fail("%v", err)
	}
	now, err := segment.ParseManifest(l.disk.Bytes(manifestPath))
	if err != nil {
		l.fail("%v", err)
	}
	return m.NextID > now.NextID && m.LastSeq == now.LastSeq
}

// salvage checks that Salvage finds the newest values.
func (y *yesterdays) salvage(l *life, disk *crashfs.Disk, want map[string]string) {
	store, report, err := l.salvage(disk, mmapkv.SalvageOptions{})
	if err != nil {
		l.fail("Salvage: %v", err)
	}
	if shown := l.content(store); !maps.Equal(shown, want) {
		l.fail("Salvage finds %v, want %v: %+v", shown, want, report)
	}
	y.salvaged++
}

func setBytes(l *life, disk *crashfs.Disk, name string, from *crashfs.Disk) {
	if err := disk.SetBytes(name, from.Bytes(name)); err != nil {
		l.fail("%s: %v", name, err)
	}
}

// openUnchanged returns what a store shows, or damage as an error. If Open refuses, it must
// change nothing, and Verify must find damage.
func (l *life) openUnchanged(disk *crashfs.Disk) (map[string]string, error) {
	report, err := verifyOn(l.t, disk)
	if err != nil {
		l.fail("Verify: %v", err)
	}
	calls := disk.Calls()
	store, err := l.open(disk)
	if err == nil {
		if damages := store.Stats().Recovery.Damages; len(damages) > 0 {
			return nil, &damages[0]
		}
		return l.content(store), nil
	}
	if !errors.Is(err, mmapkv.ErrCorrupt) || disk.Calls() != calls {
		l.fail("open, after %d changes: %v", disk.Calls()-calls, err)
	}
	if len(report.Damages) == 0 {
		l.fail("Verify finds nothing, but Open: %v", err)
	}
	return nil, err
}
