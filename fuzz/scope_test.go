package fuzz

import (
	"context"
	"flag"
	"fmt"
	"hash/crc32"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/crashfs"
	"github.com/mmapkv/mmapkv/internal/oracle"
	"github.com/mmapkv/mmapkv/mmapkv"
)

var (
	scopeLength = flag.Int("scope.length", 2, "the small scope test runs all sequences of at most this many operations")
	scopeSample = flag.Int("scope.sample", 100, "how many sequences of one more operation the small scope test draws for each policy")
	scopeSeed   = flag.Uint64("scope.seed", 0, "the seed of the small scope test; 0 draws one")
	scopeOnly   = flag.String("scope.only", "", `the only sequence that the small scope test runs, such as "put a, rotate, compact"`)
)

const (
	// maxSubsets is how many subsets of the pending changes are enumerated at one call. If
	// there are more, as many again are drawn at random.
	maxSubsets = 512
	// tornVariants is how many states with torn writes, odd lengths and stale blocks are drawn
	// at one call, in addition to the subsets.
	tornVariants = 2
)

// TestSmallScope runs every sequence of a few operations on two keys, cuts the power at each of
// its file calls, and opens what is left: for every subset of the unsynced changes, across all
// files, and for some states with torn writes. So it also covers the rare cases that the seeds
// of TestCrashStates might miss.
func TestSmallScope(t *testing.T) {
	seed := *scopeSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d; to replay: go test ./fuzz -run %s -scope.seed=%d -scope.length=%d -scope.sample=%d", seed, t.Name(), seed, *scopeLength, *scopeSample)
	collectSeldom(t)
	for _, policy := range []fsync.Policy{fsync.Always, fsync.Every(200 * time.Millisecond), fsync.Never} {
		s := &scope{policy: policy, seed: seed, census: &census{seen: map[uint64]bool{}}}
		t.Run(policy.String(), func(t *testing.T) {
			s.all(t)
			t.Cleanup(func() {
				t.Logf("%d sequences, %d ends at %d calls, %d distinct states with what a store may show; at %d calls there were more than %d subsets: the first ones were taken, and as many drawn",
					s.sequences.Load(), s.ends.Load(), s.calls.Load(), s.census.states.Load(), s.exploded.Load(), maxSubsets)
			})
		})
	}
}

// scope is the test of one policy.
type scope struct {
	policy fsync.Policy
	seed   uint64
	census *census // of all sequences, since many reach the same states

	sequences, calls, ends atomic.Int64
	exploded               atomic.Int64 // calls with more than maxSubsets subsets
}

// scopeOp is one operation of a sequence.
type scopeOp struct {
	name string
	do   func(*life)
}

var scopeOps = []scopeOp{
	{"put a", func(l *life) { l.write([]oracle.Op{scopePut(l, "a")}, l.writeOne) }},
	{"put b", func(l *life) { l.write([]oracle.Op{scopePut(l, "b")}, l.writeOne) }},
	{"delete a", func(l *life) { l.write([]oracle.Op{{Key: "a", Delete: true}}, l.writeOne) }},
	{"delete b", func(l *life) { l.write([]oracle.Op{{Key: "b", Delete: true}}, l.writeOne) }},
	{"batch", func(l *life) { l.write([]oracle.Op{scopePut(l, "a"), scopePut(l, "b")}, l.writeBatch) }},
	{"sync", scopeSync},
	{"rotate", scopeRotate},
	{"compact", func(l *life) {
		if err := l.store.Compact(context.Background()); err != nil {
			l.fail("Compact: %v", err)
		}
	}},
	{"reopen", func(l *life) {
		if err := l.store.Close(); err != nil {
			l.fail("Close: %v", err)
		}
		l.oracle.Synced()
		var err error
		if l.store, err = l.open(l.disk); err != nil {
			l.fail("open after Close: %v", err)
		}
	}},
	// Here recovery is cut at every call too.
	{"kill", func(l *life) {
		cut := l.disk.OnCall
		l.disk = l.disk.Kill()
		l.disk.OnCall = cut
		var err error
		if l.store, err = l.open(l.disk); err != nil {
			l.fail("open after a kill: %v", err)
		}
		l.oracle.Synced()
	}},
}

// scopeSync syncs: by the background step if the policy has an interval, otherwise by Sync.
func scopeSync(l *life) {
	if l.policy != fsync.Always && l.policy != fsync.Never {
		l.now += 200
		l.stepAll("sync")
		return
	}
	if err := l.store.Sync(); err != nil {
		l.fail("Sync: %v", err)
	}
	l.oracle.Synced()
}

// scopePut puts a value that was never put before.
func scopePut(l *life, key string) oracle.Op {
	l.serial++
	return oracle.Op{Key: key, Value: fmt.Sprint(key, l.serial)}
}

// scopeRotate writes a batch that does not fit into a file that has records. Then the
// background steps seal the file before it and prepare the next. Three of the batch's records
// are dead at once, so there is something to compact.
func scopeRotate(l *life) {
	var ops []oracle.Op
	for range 4 {
		op := scopePut(l, "filler")
		op.Value += strings.Repeat("-", 900)
		ops = append(ops, op)
	}
	l.write(ops, l.writeBatch)
	l.stepAll("seal")
	l.stepAll("prepare")
}

// stepAll runs the steps with the given name.
func (l *life) stepAll(name string) {
	for _, step := range l.steps {
		if step.Name == name {
			l.step(step)
		}
	}
}

// all runs all sequences up to the length, with one subtest for each first operation, and a
// sample of longer ones.
func (s *scope) all(t *testing.T) {
	if *scopeOnly != "" {
		s.run(t, parseScope(t, *scopeOnly))
		return
	}
	s.run(t, nil)
	for _, first := range scopeOps {
		if *scopeLength > 0 {
			t.Run(first.name, func(t *testing.T) {
				t.Parallel()
				s.below(t, []scopeOp{first})
			})
		}
	}
	rng := rand.New(rand.NewPCG(s.seed, 1))
	var sample [][]scopeOp
	for range *scopeSample / sampleOneIn {
		var ops []scopeOp
		for range *scopeLength + 1 {
			ops = append(ops, scopeOps[rng.IntN(len(scopeOps))])
		}
		sample = append(sample, ops)
	}
	t.Run("sample", func(t *testing.T) {
		t.Parallel()
		for _, ops := range sample {
			s.run(t, ops)
		}
	})
}

// below runs a sequence, and all sequences that begin with it.
func (s *scope) below(t *testing.T, ops []scopeOp) {
	s.run(t, ops)
	if len(ops) < *scopeLength {
		for _, next := range scopeOps {
			s.below(t, append(slices.Clip(ops), next))
		}
	}
}

func parseScope(t *testing.T, list string) (ops []scopeOp) {
	for name := range strings.SplitSeq(list, ", ") {
		i := slices.IndexFunc(scopeOps, func(op scopeOp) bool { return op.name == name })
		if i < 0 {
			t.Fatalf("%q is not an operation", name)
		}
		ops = append(ops, scopeOps[i])
	}
	return ops
}

// run runs a sequence, and ends it at every call of its last operation. The earlier operations
// are the last ones of other sequences.
func (s *scope) run(t *testing.T, ops []scopeOp) {
	s.sequences.Add(1)
	var names []string
	for _, op := range ops {
		names = append(names, op.name)
	}
	// All sequences use the same salts, so that the census recognizes equal states.
	l := newLife(t, s.census, s.policy, rand.New(rand.NewPCG(1, 1)))
	l.name = fmt.Sprintf("%s, -scope.only=%q", s.policy, strings.Join(names, ", "))
	torn := rand.New(rand.NewPCG(s.seed, uint64(crc32.ChecksumIEEE([]byte(l.name)))))
	cut := func(n int, op crashfs.Op) { s.cut(l, fmt.Sprintf(", ended before call %d, %v", n, op), torn) }
	if len(ops) == 0 {
		l.disk.OnCall = cut
	}
	var err error
	if l.store, err = l.open(l.disk); err != nil {
		l.fail("open: %v", err)
	}
	for i, op := range ops {
		if i == len(ops)-1 {
			l.disk.OnCall = cut
		}
		op.do(l)
	}
	l.disk.OnCall = nil
	s.cut(l, ", ended after its last call", torn)
	l.compare(l.store, l.oracle.Current().Visible(l.now))
	if err := l.store.Close(); err != nil {
		l.fail("Close: %v", err)
	}
}

// cut ends the program here, in every way.
func (s *scope) cut(l *life, ended string, torn *rand.Rand) {
	s.calls.Add(1)
	s.examine(l, l.disk.Kill(), false, ended+", killed")
	subsets := 0
	for e := crashfs.Enumerate(maxSubsets); e.Next(); subsets++ {
		if subsets == maxSubsets {
			s.exploded.Add(1)
			s.draw(l, maxSubsets, ended+", a subset lost", torn, l.disk.PowerCutWhole)
			break
		}
		s.examine(l, l.disk.PowerCutWhole(e), true, fmt.Sprint(ended, ", subset ", subsets, " kept"))
	}
	s.draw(l, tornVariants, ended+", torn", torn, l.disk.PowerCut)
}

// draw ends the program n times in random ways.
func (s *scope) draw(l *life, n int, ended string, rng *rand.Rand, cut func(crashfs.Chooser) *crashfs.Disk) {
	for range n {
		s.examine(l, cut(chooser{rng}), true, ended)
	}
}

// examine opens what is left and lets the oracle judge it. Then it cuts the power, opens the
// store again and compacts it. What the store has shown once must stay.
func (s *scope) examine(l *life, disk *crashfs.Disk, powerLost bool, ended string) {
	s.ends.Add(1)
	if !s.census.first(expectation(disk, l.oracle, powerLost)) {
		return
	}
	after := &life{t: l.t, name: l.name, ended: ended, census: s.census, policy: s.policy, rng: rand.New(rand.NewPCG(2, 2)), disk: disk, now: l.now}
	store, shown := after.reopened()
	check := l.oracle.CheckKill
	if powerLost {
		check = l.oracle.CheckPowerLoss
	}
	if _, err := check(shown, l.now); err != nil {
		after.fail("%v", err)
	}
	after.checkDirectory(store, 0)

	after.disk = disk.PowerCut(crashfs.KeepNothing)
	after.ended += ", and the power cut once it was open"
	store, again := after.reopened()
	if !maps.Equal(shown, again) {
		after.fail("first it shows %v, then %v", shown, again)
	}
	after.checkDirectory(store, 0)
	if err := store.Compact(context.Background()); err != nil {
		after.fail("Compact: %v", err)
	}
	if compacted := after.content(store); !maps.Equal(shown, compacted) {
		after.fail("first it shows %v, when compacted %v", shown, compacted)
	}
}

// reopened opens the disk, and reads everything. Open must report no damage.
func (l *life) reopened() (*mmapkv.Store, map[string]string) {
	l.t.Helper()
	store, err := l.open(l.disk)
	if err != nil {
		l.fail("open: %v", err)
	}
	if damages := store.Stats().Recovery.Damages; len(damages) > 0 {
		l.fail("open reports damage: %v", damages)
	}
	return store, l.content(store)
}
