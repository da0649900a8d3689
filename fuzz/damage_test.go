package fuzz

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/mmapkv"
)

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

// readDamaged reads every key and returns its value, "damaged" or "lost".
func (l *life) readDamaged(store *mmapkv.Store, want map[string]string) map[string]string {
	shown := map[string]string{}
	for key, value := range want {
		got, err := store.Get([]byte(key))
		switch {
		case err == nil && string(got) == value:
			shown[key] = value
		case err == nil:
			l.fail("%s is %.30q, want %.30q", key, got, value)
		case errors.Is(err, mmapkv.ErrCorrupt):
			shown[key] = "damaged"
		case errors.Is(err, mmapkv.ErrNotFound) && len(store.Stats().Recovery.Damages) > 0:
			shown[key] = "lost"
		default:
			l.fail("Get(%s): %v, but Open reported nothing", key, err)
		}
	}
	return shown
}

// TestDamagedHintsAreMadeAnew truncates the hints of a store, which Open rebuilds from the
// segments.
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
				l.fail("%d hints were rebuilt", rebuilt)
			}
			for key, shown := range l.readDamaged(store, want) {
				if shown != want[key] {
					l.fail("%s is %s", key, shown)
				}
			}
		}
	}
}
