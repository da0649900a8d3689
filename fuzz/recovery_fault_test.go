package fuzz

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/crashfs"
	"github.com/mmapkv/mmapkv/internal/errorfs"
	"github.com/mmapkv/mmapkv/internal/oracle"
	"github.com/mmapkv/mmapkv/mmapkv"
)

// Reads fail only with EIO.
var recoveryFaults = []errorfs.Rule{
	{Err: syscall.EIO}, {Err: syscall.ENOSPC, Match: noRead}, {Err: syscall.ENOSPC, Short: true},
	{Err: syscall.EMFILE, Match: noRead, Through: true},
}

func noRead(op errorfs.Op) bool { return op.Kind != errorfs.Read }

// TestEveryCallOfRecoveryFails fails each file call of an Open after a kill or a power cut,
// once or from then on. Open returns the error, or shows what it would show without the fault.
// The next Open shows that in any case.
func TestEveryCallOfRecoveryFails(t *testing.T) {
	runs := 0
	for seed := range uint64(3) {
		for _, policy := range []fsync.Policy{fsync.Always, fsync.Every(time.Second), fsync.Never} {
			r := newFaultRun(t, policy)
			r.rng = rand.New(rand.NewPCG(seed, 3))
			r.live(60)
			for what, disk := range map[string]*crashfs.Disk{
				"kill": r.disk.Kill(), "power cut": r.disk.PowerCut(chooser{r.rng}), "damage": r.damaged(),
			} {
				r.name = fmt.Sprintf("seed %d, %v, %s", seed, policy, what)
				runs += r.failEachCall(disk)
			}
		}
	}
	t.Logf("%d recoveries with a fault", runs)
}

// live opens the store and uses it, so that it has unsealed files.
func (r *faultRun) live(actions int) {
	var err error
	if r.store, err = r.open(r.disk); err != nil {
		r.fail("open: %v", err)
	}
	for range actions {
		op := r.randomOp()
		op.Expiry = 0
		r.write([]oracle.Op{op}, r.writeOne)
		if r.rng.IntN(8) == 0 {
			r.step(r.steps[r.rng.IntN(len(r.steps))])
		}
	}
}

// damaged returns the disk with a flipped bit in each file.
func (r *faultRun) damaged() *crashfs.Disk {
	disk := r.disk.Kill()
	for _, name := range disk.Files() {
		disk.Flip(name, 64+int64(r.rng.IntN(400)), 1)
	}
	return disk
}

// failEachCall opens clones of the disk with one fault each, and returns how many.
func (r *faultRun) failEachCall(disk *crashfs.Disk) (runs int) {
	clean := errorfs.New(disk.Clone())
	store, err := r.open(clean)
	if err != nil {
		return 0 // damage that Open refuses
	}
	calls := clean.Count()
	want, damages := r.shown(store), len(store.Stats().Recovery.Damages)
	for n := 1 + r.rng.IntN(*faultStep); n <= calls; n += *faultStep * sampleOneIn {
		for _, rule := range recoveryFaults {
			rule.Nth, rule.Forever = n, r.rng.IntN(2) == 0
			r.ended = fmt.Sprintf(", call %d fails with %v, short %v, forever %v", n, rule.Err, rule.Short, rule.Forever)
			r.openWithFault(disk.Clone(), rule, want, damages)
			runs++
		}
	}
	return runs
}

// shown returns the value of each key that can be read, and closes the store.
func (r *faultRun) shown(store interface {
	Get([]byte) ([]byte, error)
	Close() error
}) map[string]string {
	shown := map[string]string{}
	for k := range 4 * 3 {
		key := fmt.Sprint("kk"[:k/4], string(rune('a'+k%4)))
		if value, err := store.Get([]byte(key)); err == nil {
			shown[key] = string(value)
		}
	}
	_ = store.Close()
	return shown
}

// refuses checks a store that cannot load a file: each read finds what it must, or returns an error that
// does not say that the key has no value. It closes the store.
func (r *faultRun) refuses(store *mmapkv.Store, want map[string]string) {
	for k := range 4 * 3 {
		key := fmt.Sprint("kk"[:k/4], string(rune('a'+k%4)))
		value, err := store.Get([]byte(key))
		wanted, there := want[key]
		if err == nil && (!there || string(value) != wanted) || errors.Is(err, mmapkv.ErrNotFound) && there {
			r.fail("a store that cannot load shows %q as %.20q, %v; want %.20q, %v", key, value, err, wanted, there)
		}
	}
	_ = store.Close()
}

// openWithFault opens the disk with the rule in force, and then without it.
func (r *faultRun) openWithFault(disk *crashfs.Disk, rule errorfs.Rule, want map[string]string, damages int) {
	f := errorfs.New(disk)
	f.Fail(rule)
	store, err := r.open(f)
	var errno syscall.Errno
	switch {
	case err == nil && store.Stats().Loading:
		r.refuses(store, want)
	case err == nil:
		if got := r.shown(store); !maps.Equal(got, want) {
			r.fail("Open shows %d keys, want %d", len(got), len(want))
		}
	case !errors.As(err, &errno) && !(rule.Err == syscall.EIO && errors.Is(err, mmapkv.ErrCorrupt)):
		r.fail("Open: %v", err)
	}
	f.Heal()
	if store, err = r.open(f); err != nil {
		r.fail("the next Open: %v", err)
	}
	if got := len(store.Stats().Recovery.Damages); damages > 0 && got == 0 {
		r.fail("the next Open reports no damage, but there was some before")
	}
	if got := r.shown(store); !maps.Equal(got, want) {
		r.fail("the next Open shows %d keys, want %d", len(got), len(want))
	}
}
