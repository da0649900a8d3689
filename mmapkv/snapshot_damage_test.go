package mmapkv

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSnapshotOfADamagedStore flips bits of segments and hints while a snapshot is open. Keys have been
// overwritten, deleted and inserted since, some before the damage and some after, and files may have
// been compacted. Every read of the snapshot has what there was, or returns ErrCorrupt: never another
// version, and never "not found".
func TestSnapshotOfADamagedStore(t *testing.T) {
	d := newDamaged(t, byHand())
	rng := rand.New(rand.NewPCG(5, 6))
	rounds, corrupt, right := 100, 0, 0
	if testing.Short() {
		rounds = 40
	}
	for round := range rounds {
		dir := copyDir(t, d.dir)
		s := open(t, dir, byHand())
		n := snapshot(t, s)
		what := ""
		act := []func(){
			func() {
				for range 1 + round%3 {
					path, at := anyWrittenByte(t, rng, dir)
					flipOnDisk(t, path, at)
					what += fmt.Sprintf(", %s at %d", filepath.Base(path), at)
				}
			},
			func() {
				for i, p := range d.pairs {
					switch i % 4 {
					case round % 4:
						put(t, s, p.key, "a later value")
					case (round + 1) % 4:
						if err := s.Delete([]byte(p.key)); err != nil {
							t.Fatal(err)
						}
					}
					put(t, s, "new "+p.key, "later")
				}
				what += ", writes"
			},
			func() {
				if err := s.Compact(context.Background()); err != nil && !errors.Is(err, ErrCorrupt) {
					t.Fatal(err)
				}
				what += ", a compaction"
			},
		}
		if round%2 == 0 {
			act = act[:2]
		}
		rng.Shuffle(len(act), func(i, j int) { act[i], act[j] = act[j], act[i] })
		for _, one := range act {
			one()
			if rng.IntN(3) > 0 {
				continue
			}
			bad := d.checkSnapshot(t, n, what)
			corrupt += bad
		}
		bad := d.checkSnapshot(t, n, what)
		corrupt, right = corrupt+bad, right+len(d.pairs)-bad
		n.Close()
		_ = s.Close() // may say that a file is damaged
		if t.Failed() {
			return
		}
	}
	if corrupt < rounds/2 || right < rounds*len(d.pairs)/2 {
		t.Errorf("%d reads are right, and %d see damage", right, corrupt)
	}
}

// anyWrittenByte draws a byte of a store's segments and hints, while the store is open: some of them are
// only just made, or replaced.
func anyWrittenByte(t *testing.T, rng *rand.Rand, dir string) (path string, at int64) {
	t.Helper()
	for {
		names, err := filepath.Glob(filepath.Join(dir, "*.[sh]*"))
		if err != nil {
			t.Fatal(err)
		}
		path = names[rng.IntN(len(names))]
		info, err := os.Stat(path)
		if err == nil && info.Size() > 0 && !strings.HasSuffix(path, ".tmp") {
			return path, rng.Int64N(info.Size())
		}
	}
}

// checkSnapshot reads all keys, and some that are absent, and returns how many reads ended with damage.
func (d *damaged) checkSnapshot(t *testing.T, n *Snapshot, what string) (corrupt int) {
	t.Helper()
	for i, p := range d.pairs {
		got, err := n.Get([]byte(p.key))
		switch {
		case errors.Is(err, ErrCorrupt):
			corrupt++
		case err != nil || string(got) != p.value:
			t.Errorf("%s: %s is %.20q, %v; want %.20q", strings.TrimPrefix(what, ", "), p.key, got, err, p.value)
		}
		size, err := n.Size([]byte(p.key))
		if err == nil && size != int64(len(p.value)) || err != nil && !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: the size of %s is %d, %v", what, p.key, size, err)
		}
		if i%10 > 0 {
			continue
		}
		if has, err := n.Has([]byte("new " + p.key)); has || err != nil && !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: new %s: %v, %v", what, p.key, has, err)
		}
	}
	return corrupt
}

// A damaged copy in the index does not matter if the snapshot's own record is whole, and a damaged record
// of the snapshot is damage, whatever newer ones there are.
func TestSnapshotOfADamagedRecord(t *testing.T) {
	d := newDamaged(t, byHand())
	p := d.pairs[20]
	for _, overwritten := range []bool{false, true} {
		for _, deleted := range []bool{false, true} {
			file, offset, size := d.find(t, []byte(p.key))
			dir := copyDir(t, d.dir)
			flipOnDisk(t, filepath.Join(dir, file), offset+size-20) // in the value
			s := open(t, dir, byHand())
			n := snapshot(t, s)
			if overwritten {
				put(t, s, p.key, "whole")
			}
			if deleted {
				if err := s.Delete([]byte(p.key)); err != nil {
					t.Fatal(err)
				}
			}
			for read, err := range readsOf(n, []byte(p.key)) {
				switch read {
				case "Has", "Size", "TTL", "Iterator": // do not read the value
					if err != nil {
						t.Errorf("%s: %v", read, err)
					}
				default:
					if !errors.Is(err, ErrCorrupt) {
						t.Errorf("overwritten %v, deleted %v: %s: %v", overwritten, deleted, read, err)
					}
				}
			}
			closeStore(t, s)
		}
	}
}
