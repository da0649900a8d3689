package fuzz

import (
	"context"
	"errors"
	"flag"
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

var faults = []errorfs.Rule{
	{Err: syscall.EIO}, {Err: syscall.ENOSPC}, {Err: syscall.EDQUOT}, {Err: syscall.EMFILE},
	{Err: syscall.ENOMEM}, {Err: syscall.EFBIG}, {Err: syscall.ENOSPC, Short: true},
}

var faultStep = flag.Int("fault.step", 9, "TestEveryCallFails makes one call in this many fail")

// TestEveryCallFails fails each file call of a script with each fault, once or from then on,
// and continues. Nothing hangs, nothing acknowledged is lost, nothing refused is seen, and
// after the fault the store works again.
func TestEveryCallFails(t *testing.T) {
	for _, policy := range []fsync.Policy{fsync.Always, fsync.Every(time.Second), fsync.Never} {
		calls := newFaultRun(t, policy).run(errorfs.Rule{})
		if calls < 250 {
			t.Fatalf("the script makes only %d calls", calls)
		}
		for _, fault := range faults {
			t.Run(fmt.Sprint(policy, " ", fault.Err, " short ", fault.Short), func(t *testing.T) {
				t.Parallel()
				runs := 0
				defer func() { t.Logf("%d runs with a fault in one of %d calls", runs, calls) }()
				for n := 1 + rand.IntN(*faultStep); n <= calls; n += *faultStep * sampleOneIn {
					for _, forever := range []bool{false, true} {
						rule := fault
						rule.Nth, rule.Forever = n, forever
						newFaultRun(t, policy).run(rule)
						runs++
					}
				}
			})
		}
	}
}

// faultRun is one run of the script.
type faultRun struct {
	life
	faulty *errorfs.Disk
	failed bool // the store has returned ErrFailed
	once   bool // only one call fails
}

func newFaultRun(t *testing.T, policy fsync.Policy) *faultRun {
	r := &faultRun{life: *newLife(t, &census{}, policy, rand.New(rand.NewPCG(7, 7)))}
	r.faulty = errorfs.New(r.disk)
	r.compacting, r.quiet = true, true
	r.mayFail = func() bool { return r.faulty.Fired() > 0 }
	return r
}

// run runs the script with the rule in force, unless the rule has no error, and returns the
// number of calls.
func (r *faultRun) run(rule errorfs.Rule) (calls int) {
	r.name = fmt.Sprintf("%v, call %d fails with %v, short %v, forever %v", r.policy, rule.Nth, rule.Err, rule.Short, rule.Forever)
	if r.once = !rule.Forever; rule.Err != nil {
		r.faulty.Fail(rule)
	}
	for range 3 {
		if r.session(40); r.failed {
			break
		}
	}
	calls = r.faulty.Count()
	r.faulty.Heal()
	r.afterwards()
	return calls
}

// session is one open, some actions, and a close.
func (r *faultRun) session(actions int) {
	store, err := r.open(r.faulty)
	if err != nil {
		return // nothing was shown, and nothing may be lost
	}
	if err := store.Ready(context.Background()); err != nil {
		_ = store.Close() // a hint cannot be read, nor the records to rebuild it
		return
	}
	if len(store.Stats().Recovery.Damages) > 0 {
		r.fail("open reports damage: %v", store.Stats().Recovery.Damages)
	}
	r.store = store
	for range actions {
		r.actFaulty()
	}
	r.compare(store, r.oracle.Current().Visible(r.now))
	if err := store.Close(); err == nil {
		r.oracle.Synced()
	}
}

// actFaulty performs one random action, which may fail.
func (r *faultRun) actFaulty() {
	if !r.unscanned && r.rng.IntN(16) == 0 {
		r.tryScan()
	}
	switch p := r.rng.IntN(20); {
	case p < 13:
		op := r.randomOp()
		op.Expiry = 0
		r.tryWrite([]oracle.Op{op}, r.writeOne)
	case p < 16:
		ops := []oracle.Op{r.randomOp(), r.randomOp(), r.randomOp()}
		for i := range ops {
			ops[i].Expiry = 0
		}
		r.tryWrite(ops, r.writeBatch)
	case p < 17:
		if err := r.store.Sync(); err == nil {
			r.oracle.Synced()
		} else {
			r.wantFailure(err)
		}
	case p < 18:
		if err := r.store.Compact(context.Background()); errors.Is(err, mmapkv.ErrCorrupt) {
			r.fail("Compact: %v", err)
		}
	default:
		// A later turn tries a failed step again.
		_, _ = r.steps[r.rng.IntN(len(r.steps))].Run()
	}
}

// tryScan scans. A scan in which a call fails is right or fails, and the next one is right.
func (r *faultRun) tryScan() {
	want := r.oracle.Current().Visible(r.now)
	err := wantOrder(r.store, want)
	if err == nil {
		return
	}
	r.failedScan(err)
	if again := wantOrder(r.store, want); r.once && again != nil {
		r.fail("a scan failed with %v, and then with %v", err, again)
	}
}

// tryWrite writes and tells the oracle the outcome.
func (r *faultRun) tryWrite(ops []oracle.Op, write func([]oracle.Op) error) {
	if r.failed {
		if err := write(ops); err == nil && !onlyDeletes(ops) {
			r.fail("a write after the store had failed returned nil")
		}
		return
	}
	r.oracle.Begin(ops)
	switch err := write(ops); {
	case err == nil:
		r.oracle.Acknowledge()
		if r.policy == fsync.Always {
			r.oracle.Synced()
		}
	case errors.Is(err, mmapkv.ErrFailed):
		r.wantFailure(err)
	default:
		r.oracle.Refuse()
	}
}

// onlyDeletes reports whether all ops are deletes. Deleting a missing key writes nothing and
// returns nil, even in a failed store.
func onlyDeletes(ops []oracle.Op) bool {
	for _, op := range ops {
		if !op.Delete {
			return false
		}
	}
	return true
}

// wantFailure checks that the store has stopped writing, says why, and still
// reads.
func (r *faultRun) wantFailure(err error) {
	r.failed = true
	var errno syscall.Errno
	if !errors.Is(err, mmapkv.ErrFailed) || !errors.As(err, &errno) {
		r.fail("the error is %v", err)
	}
	if err := r.store.Put([]byte("after"), nil); !errors.Is(err, mmapkv.ErrFailed) {
		r.fail("a write after the failure: %v", err)
	}
	if r.store.Stats().Err == nil {
		r.fail("Stats does not report the failure")
	}
	r.compare(r.store, r.oracle.Current().Visible(r.now))
}

// afterwards opens the store without faults, after a kill and after power cuts, and writes to
// it.
func (r *faultRun) afterwards() {
	for _, end := range []struct {
		name string
		disk *crashfs.Disk
	}{
		{"kill", r.disk.Kill()},
		{"power cut", r.disk.PowerCut(chooser{r.rng})},
		{"hard power cut", r.disk.PowerCut(crashfs.KeepNothing)},
	} {
		name, disk := end.name, end.disk
		store, err := r.open(errorfs.New(disk))
		if err != nil {
			r.fail("open after a %s: %v", name, err)
		}
		if damages := store.Stats().Recovery.Damages; len(damages) > 0 {
			r.fail("open after a %s reports damage: %v", name, damages)
		}
		after := r.life
		after.disk, after.mayFail = disk, nil
		shown := after.content(store)
		check := r.oracle.CheckPowerLoss
		if name == "kill" {
			check = r.oracle.CheckKill
		}
		if _, err := check(shown, r.now); err != nil {
			r.fail("%v", err)
		}
		want := maps.Clone(shown)
		for i := range 20 {
			key := fmt.Sprint("new", i)
			if err := store.Put([]byte(key), []byte(key)); err != nil {
				r.fail("a write after a %s: %v", name, err)
			}
			want[key] = key
		}
		after.compare(store, want)
		if err := store.Close(); err != nil {
			r.fail("close after a %s: %v", name, err)
		}
	}
}

// TestDiskFull fills a disk. The store refuses what does not fit and keeps what it has. Delete
// works, and writes work again once there is space.
func TestDiskFull(t *testing.T) {
	for capacity := int64(50 << 10); capacity < 90<<10; capacity += 293 {
		newFaultRun(t, fsync.Always).fillDisk(capacity)
	}
}

// fillDisk is TestDiskFull on a disk of the given capacity in bytes.
func (r *faultRun) fillDisk(capacity int64) {
	r.name = fmt.Sprint("capacity ", capacity)
	r.disk.SetCapacity(capacity)
	var err error
	if r.store, err = r.open(r.faulty); err != nil {
		r.fail("open: %v", err)
	}
	full := 0
	for i := 0; full < 3; i++ {
		key, value := fmt.Sprint("key", i), fmt.Sprintf("%0*d", 200+i%300, i)
		r.oracle.Begin([]oracle.Op{{Key: key, Value: value}})
		if err := r.store.Put([]byte(key), []byte(value)); err == nil {
			r.oracle.Acknowledge()
			continue
		} else if !errors.Is(err, syscall.ENOSPC) || errors.Is(err, mmapkv.ErrFailed) {
			r.fail("on a full disk: %v", err)
		}
		r.oracle.Refuse()
		full++
	}
	r.compare(r.store, r.oracle.Current().Visible(r.now))
	for i := range 20 {
		key := fmt.Sprint("key", i)
		r.oracle.Begin([]oracle.Op{{Key: key, Delete: true}})
		if err := r.store.Delete([]byte(key)); err != nil {
			r.fail("Delete on a full disk: %v", err)
		}
		r.oracle.Acknowledge()
	}
	r.compare(r.store, r.oracle.Current().Visible(r.now))
	r.oracle.Synced()
	if err := r.store.Compact(context.Background()); err != nil && (!errors.Is(err, syscall.ENOSPC) || errors.Is(err, mmapkv.ErrFailed)) {
		r.fail("Compact on a full disk: %v", err)
	}
	r.compare(r.store, r.oracle.Current().Visible(r.now))
	r.afterFull()
}

// afterFull opens the store of the full disk after a power cut, then adds space and writes.
func (r *faultRun) afterFull() {
	killed := r.life
	killed.mayFail = nil
	killed.disk = r.disk.PowerCut(chooser{r.rng})
	killed.disk.SetCapacity(1 << 30)
	store, err := killed.open(killed.disk)
	if err != nil {
		r.fail("open with space: %v", err)
	}
	if _, err := r.oracle.CheckPowerLoss(killed.content(store), r.now); err != nil {
		r.fail("%v", err)
	}
	r.disk.SetCapacity(1 << 30)
	for i := range 30 {
		if err := r.store.Put(fmt.Append(nil, "room", i), make([]byte, 300)); err != nil {
			r.fail("Put once there is space: %v", err)
		}
	}
	if err := r.store.Compact(context.Background()); err != nil {
		r.fail("Compact once there is space: %v", err)
	}
	if err := r.store.Close(); err != nil {
		r.fail("Close: %v", err)
	}
}
