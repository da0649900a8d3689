package fuzz

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/forgetful"
	"github.com/mmapkv/mmapkv/mmapkv"
)

// TestDamageIsLocalAndReported flips one bit at a time in a closed store. A key
// has its value or an error that wraps ErrCorrupt. It is never absent, unless
// Open has reported damage; and compaction changes nothing of that, but takes
// what is intact.
func TestDamageIsLocalAndReported(t *testing.T) {
	l := newLife(t, &census{}, fsync.Never, rand.New(rand.NewPCG(1, 1)))
	want := damageable(t, l)
	files := l.disk.Files()
	flips := 3000 / sampleOneIn
	damaged := 0
	for n := range flips {
		name := files[n%len(files)]
		content := l.disk.Bytes(name)
		if len(content) == 0 {
			continue
		}
		disk := l.disk.Clone()
		at := l.rng.Int64N(int64(len(content)))
		if !disk.Flip(name, at, 1<<l.rng.IntN(8)) {
			t.Fatalf("%s has no byte %d", name, at)
		}
		l.ended = fmt.Sprintf(" with byte %d of %s flipped", at, name)
		if l.damagedLife(disk, want) {
			damaged++
		}
	}
	if damaged < flips/10 {
		t.Errorf("of %d flips only %d did damage", flips, damaged)
	}
}

// damageable fills the disk with a closed store of many segments, some of them
// merged, and returns what it holds.
func damageable(t *testing.T, l *life) map[string]string {
	want := map[string]string{}
	store, err := l.open(l.disk)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 400 {
		key := fmt.Sprint("key", i%90)
		value := strings.Repeat(string(rune('a'+i%26)), l.rng.IntN(120)) + fmt.Sprint(i)
		want[key] = value
		if err := store.Put([]byte(key), []byte(value)); err != nil {
			t.Fatal(err)
		}
		if i == 200 {
			if err := store.Compact(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	return want
}

// damagedLife opens a damaged disk, compacts it and opens it again, and says
// whether the damage was noticed.
func (l *life) damagedLife(disk *forgetful.Disk, want map[string]string) (noticed bool) {
	store, err := l.open(disk)
	if err != nil {
		if !errors.Is(err, mmapkv.ErrCorrupt) && !errors.Is(err, mmapkv.ErrVersion) {
			l.fail("open: %v", err)
		}
		return true
	}
	before := l.readDamaged(store, want)
	err = store.Compact(context.Background())
	if err != nil && !errors.Is(err, mmapkv.ErrCorrupt) {
		l.fail("Compact: %v", err)
	}
	if after := l.readDamaged(store, want); !maps.Equal(before, after) {
		l.fail("before compaction it shows %v, and then %v", before, after)
	}
	for _, s := range store.Stats().Segments {
		if !s.Damaged && s.Sealed && s.DeadBytes > s.LiveBytes/16+64 {
			l.fail("%s is not damaged and keeps %d dead bytes of %d: %v %+v", s.File, s.DeadBytes, s.LiveBytes, err, store.Stats().Segments)
		}
	}
	if err := store.Close(); err != nil {
		l.fail("Close: %v", err)
	}
	if store, err = l.open(disk); err != nil {
		l.fail("open again: %v", err)
	}
	if again := l.readDamaged(store, want); !maps.Equal(before, again) {
		l.fail("first it shows %v, and opened again %v", before, again)
	}
	for _, shown := range before {
		noticed = noticed || shown == "damaged"
	}
	return noticed || err != nil
}

// readDamaged reads every key and says how that went.
func (l *life) readDamaged(store *mmapkv.Store, want map[string]string) map[string]string {
	shown := map[string]string{}
	for key, value := range want {
		got, err := store.Get([]byte(key))
		switch {
		case err == nil && string(got) == value:
			shown[key] = value
		case err == nil:
			l.fail("%s is %.30q and not %.30q", key, got, value)
		case errors.Is(err, mmapkv.ErrCorrupt):
			shown[key] = "damaged"
		case errors.Is(err, mmapkv.ErrNotFound) && len(store.Stats().Recovery.Damages) > 0:
			shown[key] = "lost"
		default:
			l.fail("Get(%s): %v, and Open has reported nothing", key, err)
		}
	}
	return shown
}

// TestDamagedHintsAreMadeAnew takes away or damages the hints of a store, whose
// segments tell all the same.
func TestDamagedHintsAreMadeAnew(t *testing.T) {
	l := newLife(t, &census{}, fsync.Never, rand.New(rand.NewPCG(2, 2)))
	want := damageable(t, l)
	for _, name := range l.disk.Files() {
		if !strings.HasSuffix(name, ".hint") {
			continue
		}
		content := bytes.Clone(l.disk.Bytes(name))
		for cut := 0; cut < len(content); cut += 1 + len(content)/20 {
			disk := l.disk.Clone()
			if err := disk.SetBytes(name, content[:cut]); err != nil {
				t.Fatal(err)
			}
			l.ended = fmt.Sprintf(" with %s cut to %d bytes", name, cut)
			store, err := l.open(disk)
			if err != nil {
				l.fail("open: %v", err)
			}
			if rebuilt := store.Stats().Recovery.HintsRebuilt; rebuilt != 1 {
				l.fail("%d hints were made anew", rebuilt)
			}
			for key, shown := range l.readDamaged(store, want) {
				if shown != want[key] {
					l.fail("%s is %s", key, shown)
				}
			}
		}
	}
}
