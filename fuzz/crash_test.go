package fuzz

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"hash/maphash"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/crashfs"
	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/internal/oracle"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv"
	"github.com/mmapkv/mmapkv/segment"
)

var (
	crashStates = flag.Int("crash.states", 12_000, "how many distinct crash states a crash test visits for each policy")
	crashSeed   = flag.Uint64("crash.seed", 0, "the seed of the crash tests; 0 draws one; the same seed visits the same states")
)

// TestCrashStates cuts the power, or kills the process, at every file call of random scripts,
// and opens what may be left. It cuts the power again in the middle of some recoveries, writes
// more, and cuts once more. The oracle judges each state.
func TestCrashStates(t *testing.T) { crashAll(t, func(*life) {}) }

// TestCompactionCrashStates is TestCrashStates with frequent compactions, and with writes
// during them.
func TestCompactionCrashStates(t *testing.T) {
	crashAll(t, func(l *life) { l.compacting = true })
}

func crashAll(t *testing.T, set func(*life)) {
	seed := *crashSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d; to replay: go test ./fuzz -run %s -crash.seed=%d -crash.states=%d", seed, t.Name(), seed, *crashStates)
	collectSeldom(t)
	for _, policy := range []fsync.Policy{fsync.Always, fsync.Every(200 * time.Millisecond), fsync.Never} {
		t.Run(policy.String(), func(t *testing.T) {
			var shards [crashShards]*census
			for n := range shards {
				shards[n] = &census{seen: map[uint64]bool{}}
				t.Run(fmt.Sprint(n), func(t *testing.T) {
					t.Parallel()
					crashShard(t, shards[n], policy, seed, uint64(n), set)
				})
			}
			var like life
			set(&like)
			t.Cleanup(func() { report(t, shards[:], like.compacting) })
		})
	}
}

// crashShards is the number of parallel parts into which the scripts of a policy are divided.
// Each keeps its own census, so that it does not depend on the others' speed.
const crashShards = 4

// crashShard runs every fourth script until it has visited a fourth of the states.
func crashShard(t *testing.T, c *census, policy fsync.Policy, seed, first uint64, set func(*life)) {
	c.enough = int64(*crashStates / sampleOneIn / crashShards)
	for script := first; c.states.Load() < c.enough && !t.Failed(); script += crashShards {
		life := newLife(t, c, policy, rand.New(rand.NewPCG(seed, script)))
		life.name = fmt.Sprintf("seed %d, script %d", seed, script)
		life.conditional = true
		set(life)
		life.run(10+int(script%20), true)
	}
}

// report sums up what the shards have visited.
func report(t *testing.T, shards []*census, compacting bool) {
	all := map[uint64]bool{}
	var nested, opens, compactions int64
	for _, c := range shards {
		maps.Copy(all, c.seen)
		nested, opens, compactions = nested+c.nested.Load(), opens+c.opens.Load(), compactions+c.compactions.Load()
	}
	t.Logf("%d distinct states, %d of them after a second cut, %d opens, %d compactions", len(all), nested, opens, compactions)
	if compacting && compactions == 0 {
		t.Error("nothing was compacted")
	}
}

// collectSeldom makes the garbage collector run less often during a test that makes much small
// garbage and keeps nothing. This saves a tenth of the test's time.
func collectSeldom(t *testing.T) {
	before := debug.SetGCPercent(200)
	t.Cleanup(func() { debug.SetGCPercent(before) })
}

// census counts the states, each once.
type census struct {
	mu                    sync.Mutex
	seen                  map[uint64]bool
	enough                int64 // with this many states, scripts are cut no more
	states, nested, opens atomic.Int64
	compactions           atomic.Int64 // that changed the manifest
}

// first reports whether a state, together with what a store may show of it, is new.
func (c *census) first(state uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen[state] {
		return false
	}
	c.seen[state] = true
	c.states.Add(1)
	return true
}

// life is one run of a script on one disk.
type life struct {
	t      *testing.T
	name   string
	census *census
	policy fsync.Policy
	rng    *rand.Rand
	disk   *crashfs.Disk
	oracle *oracle.Oracle
	store  *mmapkv.Store
	steps  []inject.Step
	now    int64 // Unix milliseconds
	serial int   // numbers the values of some tests
	ended  string

	// tune, if not nil, changes how stores are opened.
	tune func(*mmapkv.Options, *inject.Seams)

	readOnly   bool // how open opens
	compacting bool // compactions happen often
	quiet      bool // nothing is written during compactions
	held       bool // the index is loaded in steps, and not by Open

	conditional bool // every other single change is conditional
	turn        int  // counts them

	unscanned bool        // nothing is scanned: the reads would be calls
	mayFail   func() bool // if not nil, whether a scan may fail, since a file call has failed
}

func newLife(t *testing.T, c *census, policy fsync.Policy, rng *rand.Rand) *life {
	return &life{t: t, census: c, policy: policy, rng: rng, disk: crashfs.New(), oracle: oracle.New(nil), now: 1_000_000}
}

func (l *life) fail(format string, args ...any) {
	l.t.Helper()
	l.t.Fatalf("%s%s: %s", l.name, l.ended, fmt.Sprintf(format, args...))
}

// openReadOnly returns what a read-only store shows of the disk, an empty map if there is no
// store yet. The store must not change the disk.
func (l *life) openReadOnly() map[string]string {
	hook, calls := l.disk.OnCall, l.disk.Calls()
	l.disk.OnCall = nil
	defer func() { l.disk.OnCall = hook }()
	l.readOnly = true
	defer func() { l.readOnly = false }()
	store, err := l.open(l.disk)
	if errors.Is(err, fs.ErrNotExist) {
		return map[string]string{}
	}
	if err != nil {
		l.fail("open read-only: %v", err)
	}
	shown := l.content(store)
	if err := store.Close(); err != nil {
		l.fail("close read-only: %v", err)
	}
	if l.disk.Calls() != calls {
		l.fail("a read-only store changed the disk")
	}
	return shown
}

// open opens the store of a disk. The life controls the randomness and the background work of
// the store.
func (l *life) open(disk vfs.FS) (*mmapkv.Store, error) {
	l.census.opens.Add(1)
	o := &mmapkv.Options{SegmentSize: 4 << 10, Sync: l.policy, ReadOnly: l.readOnly}
	o.Compaction.Disabled = !l.compacting
	o.Compaction.GarbageRatio = 0.05
	seams := &inject.Seams{
		FS:        disk,
		Now:       func() time.Time { return time.UnixMilli(l.now) },
		Random:    l.rng.Uint64,
		PageSlots: 8,
		PartStep:  200,
		Manual:    true,
		OnOpen:    func(steps []inject.Step) { l.steps = steps },
		Between:   l.between,
		Hold:      l.held,
	}
	if l.tune != nil {
		l.tune(o, seams)
	}
	inject.Into(o, seams)
	return mmapkv.Open("/store", o)
}

// run opens the store and performs n random actions. When cutting, it ends the life at every
// file call on the way.
func (l *life) run(n int, cutting bool) {
	if cutting {
		l.disk.OnCall = func(int, crashfs.Op) { l.endHere() }
	}
	var err error
	if l.store, err = l.open(l.disk); err != nil {
		l.fail("open: %v", err)
	}
	for range n {
		l.act()
		if l.rng.IntN(8) == 0 {
			l.compare(l.store, l.oracle.Current().Visible(l.now))
		}
	}
	l.disk.OnCall = nil
}

// between writes and reads during a compaction, as other goroutines would. The compaction must
// be invisible to them.
func (l *life) between(phase string) {
	if phase == "edited" {
		l.census.compactions.Add(1)
	}
	if !l.compacting || l.quiet {
		return
	}
	for l.rng.IntN(3) == 0 {
		l.write([]oracle.Op{l.randomOp()}, l.writeOne)
	}
	if l.rng.IntN(8) == 0 {
		l.compare(l.store, l.oracle.Current().Visible(l.now))
	}
}

// act performs one random action and tells the oracle.
func (l *life) act() {
	if l.compacting && l.rng.IntN(6) == 0 {
		if err := l.store.Compact(context.Background()); err != nil {
			l.fail("Compact: %v", err)
		}
		l.checkDirectory(l.store, 1) // a long value may have displaced a prepared file
	}
	switch p := l.rng.IntN(100); {
	case p < 50:
		l.write([]oracle.Op{l.randomOp()}, l.writeOne)
	case p < 65:
		var ops []oracle.Op
		for range 2 + l.rng.IntN(4) {
			ops = append(ops, l.randomOp())
		}
		l.write(ops, l.writeBatch)
	case p < 75:
		if err := l.store.Sync(); err != nil {
			l.fail("Sync: %v", err)
		}
		l.oracle.Synced()
	case p < 90:
		step := l.steps[l.rng.IntN(len(l.steps))]
		if step.Name == "sync" {
			l.now += 200 // so that the sync is due
		}
		l.step(step)
	case p < 95:
		l.now += int64(l.rng.IntN(300))
	default:
		if err := l.store.Close(); err != nil {
			l.fail("Close: %v", err)
		}
		l.oracle.Synced()
		var err error
		if l.store, err = l.open(l.disk); err != nil {
			l.fail("open after Close: %v", err)
		}
	}
}

func (l *life) step(s inject.Step) {
	did, err := s.Run()
	if err != nil {
		l.fail("step %s: %v", s.Name, err)
	}
	if did && s.Name == "sync" {
		l.oracle.Synced()
	}
}

func (l *life) write(ops []oracle.Op, do func([]oracle.Op) error) {
	l.oracle.Begin(ops)
	if err := do(ops); err != nil {
		l.fail("a write: %v", err)
	}
	l.oracle.Acknowledge()
	if l.policy == fsync.Always {
		l.oracle.Synced()
	}
}

// writeOne makes a single change.
func (l *life) writeOne(ops []oracle.Op) error {
	op := ops[0]
	if l.turn++; l.turn%2 == 0 && l.conditional {
		return l.writeIf(op)
	}
	switch {
	case op.Delete:
		return l.store.Delete([]byte(op.Key))
	case op.Expiry != 0:
		return l.store.PutWithTTL([]byte(op.Key), []byte(op.Value), time.Duration(op.Expiry-l.now)*time.Millisecond)
	}
	return l.store.Put([]byte(op.Key), []byte(op.Value))
}

func (l *life) writeBatch(ops []oracle.Op) error {
	if l.turn++; l.turn%2 == 0 && l.conditional {
		return l.writeTx(ops)
	}
	var b mmapkv.Batch
	for _, op := range ops {
		switch {
		case op.Delete:
			b.Delete([]byte(op.Key))
		case op.Expiry != 0:
			b.PutWithTTL([]byte(op.Key), []byte(op.Value), time.Duration(op.Expiry-l.now)*time.Millisecond)
		default:
			b.Put([]byte(op.Key), []byte(op.Value))
		}
	}
	return l.store.Write(&b)
}

func (l *life) randomOp() oracle.Op {
	op := oracle.Op{Key: strings.Repeat("k", l.rng.IntN(3)) + string(rune('a'+l.rng.IntN(4)))}
	switch p := l.rng.IntN(20); {
	case p < 4:
		op.Delete = true
		return op
	case p < 6, l.compacting && p < 12:
		op.Expiry = l.now + 1 + int64(l.rng.IntN(400))
	}
	size := l.rng.IntN(60)
	switch l.rng.IntN(12) {
	case 0:
		size = 600 + l.rng.IntN(900)
	case 1:
		if l.rng.IntN(3) == 0 {
			size = 5000 // has a file of its own
		}
	}
	op.Value = string(slices.Repeat([]byte{byte('A' + l.rng.IntN(26))}, size)) + fmt.Sprint(l.rng.Uint32())
	return op
}

// endHere ends the life at this call in several ways, and continues with what is left on copies
// of the disk.
func (l *life) endHere() {
	if l.census.states.Load() >= l.census.enough {
		return
	}
	killed := l.disk.Kill()
	l.examine(killed, false, " killed at call "+fmt.Sprint(l.disk.Calls()), 0)
	for _, c := range []crashfs.Chooser{crashfs.KeepNothing, crashfs.KeepAll, chooser{l.rng}, chooser{l.rng}} {
		l.examine(l.disk.PowerCut(c), true, " power cut at call "+fmt.Sprint(l.disk.Calls()), 0)
	}
}

// chooser decides at random what survives a power cut.
type chooser struct{ *rand.Rand }

func (c chooser) Intn(n int) int { return c.IntN(n) }

var hashSeed = maphash.MakeSeed()

// expectation returns a hash of a disk and of what a store may show of it.
func expectation(disk *crashfs.Disk, o *oracle.Oracle, powerLost bool) uint64 {
	return maphash.Comparable(hashSeed, [2]uint64{disk.Hash(), o.Expectation(powerLost)})
}

// maxDepth is how often a recovery is cut at most.
const maxDepth = 2

// nestedOneIn says how often a recovery is cut: at one in this many of its calls.
const nestedOneIn = 40

// examine opens what is left and lets the oracle judge it. It cuts some of the recoveries
// halfway, and then uses the store for a while.
func (l *life) examine(disk *crashfs.Disk, powerLost bool, ended string, depth int) {
	if !l.census.first(expectation(disk, l.oracle, powerLost)) {
		return
	}
	if depth > 0 {
		l.census.nested.Add(1)
	}
	after := &life{t: l.t, name: l.name, ended: l.ended + ended, census: l.census, policy: l.policy, rng: l.rng, oracle: l.oracle, now: l.now, disk: disk, compacting: l.compacting, held: l.held, tune: l.tune}
	after.unscanned = l.unscanned
	if depth < maxDepth {
		disk.OnCall = func(n int, _ crashfs.Op) {
			if l.rng.IntN(nestedOneIn) != 0 {
				return
			}
			// The store has shown nothing yet, so the same contents are legal again.
			again := fmt.Sprint(", its recovery at call ", n)
			after.examine(disk.PowerCut(chooser{l.rng}), true, again+" by power", depth+1)
			if l.rng.IntN(4) == 0 {
				after.examine(disk.Kill(), powerLost, again+" by kill", depth+1)
			}
		}
	}
	readOnly := after.openReadOnly()
	store, err := after.open(disk)
	disk.OnCall = nil
	if err != nil {
		after.fail("open: %v", err)
	}
	if damages := store.Stats().Recovery.Damages; len(damages) > 0 {
		after.fail("open reports damage: %v", damages)
	}
	shown := after.content(store)
	if !maps.Equal(readOnly, shown) {
		after.fail("read-only it shows %v, then %v", readOnly, shown)
	}
	check := l.oracle.CheckKill
	if powerLost {
		check = l.oracle.CheckPowerLoss
	}
	state, err := check(shown, l.now)
	if err != nil {
		after.fail("%v", err)
	}
	after.checkDirectory(store, 0)
	if depth == 0 {
		after.store = store
		after.liveOn(state)
	}
}

// liveOn writes to a recovered store, with background steps in between, and cuts the power
// again. What the store has shown, and what it acknowledges now, must not be lost.
func (l *life) liveOn(state oracle.State) {
	l.oracle = oracle.New(state)
	for range 1 + l.rng.IntN(4) {
		l.act()
	}
	l.ended += ", written on"
	l.examine(l.disk.Kill(), false, ", killed", maxDepth)
	l.examine(l.disk.PowerCut(chooser{l.rng}), true, ", power cut", maxDepth)
	l.examine(l.disk.PowerCut(crashfs.KeepNothing), true, ", power cut", maxDepth)
}

// content returns everything that a store shows. All ways to read must agree, scans too.
func (l *life) content(store *mmapkv.Store) map[string]string {
	if l.held && store.Stats().Loading && l.rng.IntN(3) != 0 {
		return l.pointReads(store)
	}
	shown := map[string]string{}
	err := store.Range(func(key, value []byte) error {
		if _, again := shown[string(key)]; again {
			return fmt.Errorf("%q is shown twice", key)
		}
		shown[string(key)] = string(value)
		return nil
	})
	if err != nil {
		l.fail("Range: %v", err)
	}
	l.compare(store, shown)
	return shown
}

// compare checks that reads find exactly the wanted content.
func (l *life) compare(store *mmapkv.Store, want map[string]string) {
	l.t.Helper()
	if l.held && store.Stats().Loading {
		if shown := l.pointReads(store); !maps.Equal(shown, want) {
			l.fail("while it loads, the store shows %v; want %v", shown, want)
		}
		return
	}
	keys := map[string]bool{}
	for key := range store.Keys() {
		keys[string(key)] = true
		got, err := store.Get(key)
		if value, ok := want[string(key)]; !ok || err != nil || string(got) != value {
			l.fail("Get(%q) = %.30q, %v; want %.30q, present %v", key, got, err, value, ok)
		}
	}
	if len(keys) != len(want) {
		l.fail("Keys yields %d keys of %d", len(keys), len(want))
	}
	for _, key := range []string{"a", "ka", "kkd", "never"} {
		_, there := want[key]
		if has, err := store.Has([]byte(key)); err != nil || has != there {
			l.fail("Has(%q) = %v, %v", key, has, err)
		}
		if _, err := store.Get([]byte(key)); there != (err == nil) || !there && !errors.Is(err, mmapkv.ErrNotFound) {
			l.fail("Get(%q): %v", key, err)
		}
	}
	if !l.unscanned {
		l.scan(store, want)
	}
}

// scan checks that scans and iterators show exactly the wanted content.
func (l *life) scan(store *mmapkv.Store, want map[string]string) {
	l.t.Helper()
	if err := wantOrder(store, want); err != nil {
		l.failedScan(err)
	}
}

// failedScan judges what a scan has returned. What the disk refuses to read is damage too.
func (l *life) failedScan(err error) {
	l.t.Helper()
	var scan orderError
	if l.mayFail == nil || !l.mayFail() || errors.Is(err, errWrongOrder) || errors.As(err, &scan) && (scan.err == nil || scan.wrong()) {
		l.fail("%v", err)
	}
}

// checkDirectory checks that a store has left no orphans, except at most the given number of
// segments.
func (l *life) checkDirectory(store *mmapkv.Store, segments int) {
	listed := map[string]bool{}
	for _, s := range store.Stats().Segments {
		listed[s.File] = true
	}
	dir, err := l.disk.OpenDir("/store")
	if err != nil {
		l.fail("%v", err)
	}
	defer dir.Close()
	names, err := dir.Names()
	if err != nil {
		l.fail("%v", err)
	}
	for _, name := range names {
		id, kind, ours := segment.ParseFileName(name)
		switch {
		case !ours || kind == segment.TemporaryFile:
			l.fail("%s is left over", name)
		case kind == segment.SegmentFile && !listed[name] && segments > 0:
			segments--
		case (kind == segment.SegmentFile || kind == segment.HintFile || kind == segment.PartialFile) && !listed[segment.FileName(id)]:
			l.fail("%s is left over beside %v", name, slices.Sorted(maps.Keys(listed)))
		}
	}
}

// TestSameSeedSameCalls checks that a store has no randomness except what a test injects.
func TestSameSeedSameCalls(t *testing.T) {
	sum := func(seed uint64) (uint64, int) {
		l := newLife(t, &census{seen: map[uint64]bool{}}, fsync.Every(time.Second), rand.New(rand.NewPCG(seed, 1)))
		l.run(300, false)
		log := l.disk.Log()
		return log[len(log)-1].Sum, len(log)
	}
	for seed := range uint64(20) {
		first, calls := sum(seed)
		if again, _ := sum(seed); again != first {
			t.Fatalf("seed %d makes different calls", seed)
		}
		if calls < 100 {
			t.Errorf("seed %d makes only %d calls", seed, calls)
		}
	}
	one, _ := sum(1)
	if other, _ := sum(2); other == one {
		t.Error("different seeds make the same calls")
	}
}

func TestMain(m *testing.M) {
	// Nested recoveries allocate from ever more call stacks. The profile keeps a record for
	// each, and every garbage collection walks all of them.
	runtime.MemProfileRate = 0
	flag.Parse()
	os.Exit(m.Run())
}
