//go:build linux

package realdisk

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mmapkv/mmapkv/internal/oracle"
	"github.com/mmapkv/mmapkv/segment"
)

var (
	syscallStep = flag.Int("syscall.step", 0, "TestSystemCalls tampers with one in this many calls; 0: with one call of each kind, on two stores")
	syscallSeed = flag.Uint64("syscall.seed", 0, "the seed of what the writers write; 0 draws one")
)

// tampering is what strace does to a call.
type tampering struct {
	call  string
	how   string        // in strace's syntax
	errno syscall.Errno // that the writer may see
	stops bool          // the store must fail, and write no more
}

var tamperings = slices.Concat(
	tamper("pwrite64 fdatasync fsync renameat", "error=EIO", syscall.EIO, true),
	tamper("fallocate openat unlinkat ftruncate", "error=EIO", syscall.EIO, false),
	tamper("fdatasync fsync renameat", "error=ENOSPC", syscall.ENOSPC, true),
	tamper("pwrite64 fallocate openat ftruncate", "error=ENOSPC", syscall.ENOSPC, false),
	tamper("pwrite64 fdatasync fsync renameat fallocate openat unlinkat ftruncate", "signal=KILL", 0, false),
	tamper("pwrite64 fdatasync fsync renameat", "delay_enter=10000", 0, false),
	tamper("pwrite64 fdatasync fsync renameat", "delay_exit=10000", 0, false),
)

func tamper(calls, how string, errno syscall.Errno, stops bool) (each []tampering) {
	for _, call := range strings.Fields(calls) {
		each = append(each, tampering{call, how, errno, stops})
	}
	return each
}

// TestSystemCalls lets strace tamper with the nth call of a kind that a writer makes on the
// files of its store, beginning with the recovery of a store that was not closed. Afterwards
// acknowledged writes are there, writes in doubt are there whole or not at all, and refused
// writes are not there.
func TestSystemCalls(t *testing.T) {
	if !alone(t) {
		return
	}
	if _, err := exec.LookPath("strace"); err != nil {
		lacks(t, fmt.Sprint("strace: ", err))
	}
	seed := *syscallSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d; to repeat: go test ./fuzz/realdisk -run %s -syscall.seed=%d -syscall.step=%d", seed, t.Name(), seed, *syscallStep)
	began := time.Now()
	c := &tamperer{t: t, seed: seed, done: map[string]int{}}
	stores := []tampered{{"always", true}, {"1ms", false}, {"never", true}, {"always", false}, {"1ms", true}, {"never", false}}
	if *syscallStep == 0 {
		stores = stores[:2]
	}
	for _, s := range stores {
		c.sweep(s)
	}
	t.Logf("%d runs in %.1f s; tampered with %v; %d stores stopped, %d writes were refused", c.runs, time.Since(began).Seconds(), c.done, c.stopped, c.refused)
	for _, tampering := range tamperings {
		if c.done[tampering.call] == 0 {
			t.Errorf("no %s was tampered with", tampering.call)
		}
	}
}

// tampered is a kind of store.
type tampered struct {
	policy string
	byHand bool // without goroutines, so that one thread makes all calls
}

func (s tampered) String() string { return fmt.Sprintf("%s, by hand %v", s.policy, s.byHand) }

// tamperer runs the writers and counts what happened to them.
type tamperer struct {
	t    *testing.T
	seed uint64
	now  string // the current run, for errors

	runs, stopped, refused int
	done                   map[string]int // calls tampered with
}

// preparedActions is the number of actions that make the store with which each run begins.
const preparedActions = 30

// sweep runs a writer with one tampering after the other.
func (c *tamperer) sweep(s tampered) {
	c.now = s.String()
	origin := c.t.TempDir()
	c.prepare(filepath.Join(origin, "store"), s.policy)
	calls := c.count(c.run(origin, s, tampering{}))
	number := 0
	for _, tampering := range tamperings {
		total := calls[tampering.call]
		step := *syscallStep
		if step == 0 {
			step = total + 1
		}
		number++
		for n := 1 + (number*7+len(s.policy))%min(step, max(total, 1)); n <= total; n += step {
			c.tamper(origin, s, tampering, n)
		}
	}
}

func (c *tamperer) fail(format string, args ...any) {
	c.t.Helper()
	c.t.Fatalf("%s: %s", c.now, fmt.Sprintf(format, args...))
}

// prepare writes a store without closing it.
func (c *tamperer) prepare(dir, policy string) {
	o := &order{Dir: dir, Seed: c.seed, Policy: policy, ByHand: true, Sessions: 1, Actions: preparedActions, Abrupt: true}
	child, reader := o.start(c.t)
	defer reader.Close()
	if err := child.Wait(); err != nil {
		c.fail("preparing: %v\n%s", err, child.Stderr)
	}
}

// outcome is the result of a run.
type outcome struct {
	order order
	told  []byte
	log   []byte // of strace
	err   error  // how the writer ended
	text  string // what it wrote to stderr
}

// run lets strace run a writer on a copy of the store.
func (c *tamperer) run(origin string, s tampered, t tampering, options ...string) *outcome {
	dir, err := os.MkdirTemp("", "tampered")
	if err != nil {
		c.t.Fatal(err)
	}
	if err := os.CopyFS(dir, os.DirFS(origin)); err != nil {
		c.t.Fatal(err)
	}
	log := filepath.Join(dir, "log")
	_, hour := prepared(c.seed, preparedActions)
	r := &outcome{order: order{
		Dir: filepath.Join(dir, "store"), Seed: c.seed, Number: 1, Hour: hour, Policy: s.policy, ByHand: s.byHand,
		Sessions: 2, Actions: 25, Errno: t.errno, Prepared: preparedActions,
	}}
	by := []string{"strace", "-f", "-qq", "-o", log, "-e", "signal=none", "-e", "trace=" + cmp.Or(t.call, tracedCalls())}
	by = append(append(by, options...), filesOf(r.order.Dir)...)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	child, reader := r.order.start(c.t, by...)
	defer reader.Close()
	if r.told, err = io.ReadAll(reader); err != nil {
		c.t.Fatal(err)
	}
	r.err, r.text = child.Wait(), child.Stderr.(*bytes.Buffer).String()
	if r.log, err = os.ReadFile(log); err != nil {
		c.t.Fatal(err)
	}
	c.runs++
	return r
}

func tracedCalls() string {
	var calls []string
	for _, t := range tamperings {
		calls = append(calls, t.call)
	}
	slices.Sort(calls)
	return strings.Join(slices.Compact(calls), ",")
}

// filesOf restricts strace to the files of a store.
func filesOf(dir string) (options []string) {
	names := []string{".", "LOCK", "MANIFEST", "MANIFEST.tmp", "RESERVE", "SPARE0", "SPARE1"}
	for id := range segment.ID(100) {
		names = append(names, segment.FileName(id), segment.HintName(id), segment.HintName(id)+".tmp")
	}
	for _, name := range names {
		options = append(options, "-P", filepath.Join(dir, name))
	}
	return options
}

var loggedCall = regexp.MustCompile(`(?m)^(\d+) +(\w+)\(`)

// count returns how many calls of each kind the busiest thread made.
func (c *tamperer) count(r *outcome) map[string]int {
	if r.err != nil {
		c.fail("without tampering: %v\n%s", r.err, r.text)
	}
	threads := map[[2]string]int{}
	busiest := map[string]int{}
	for _, call := range loggedCall.FindAllSubmatch(r.log, -1) {
		key := [2]string{string(call[1]), string(call[2])}
		threads[key]++
		busiest[key[1]] = max(busiest[key[1]], threads[key])
	}
	return busiest
}

// tamper lets strace tamper with the nth call, and checks what is left.
func (c *tamperer) tamper(origin string, s tampered, t tampering, n int) {
	c.now = fmt.Sprintf("%v, %s of %s %d", s, t.how, t.call, n)
	r := c.run(origin, s, t, "-e", fmt.Sprintf("inject=%s:%s:when=%d", t.call, t.how, n))
	defer os.RemoveAll(filepath.Dir(r.order.Dir))
	killed := r.err != nil && r.err.Error() == "signal: killed"
	if r.err != nil && !(killed && t.how == "signal=KILL") {
		c.fail("%v\n%s", r.err, r.text)
	}
	done := killed || bytes.Contains(r.log, []byte("(INJECTED)")) || bytes.Contains(r.log, []byte("(DELAYED)"))
	if done {
		c.done[t.call]++
	}
	stopped, refused := bytes.Count(r.told, []byte{failed}), bytes.Count(r.told, []byte{refused})
	switch {
	case stopped > 0 && t.errno == syscall.ENOSPC && !t.stops:
		c.fail("a full disk stopped the store")
	case stopped+refused == 0 && t.stops && done:
		c.fail("the writer did not report %v", t.errno)
	}
	c.stopped += stopped
	c.refused += refused
	c.check(r)
}

// check opens what a run left, lets the oracle judge it, and writes to it.
func (c *tamperer) check(r *outcome) {
	c.t.Helper()
	state, _ := prepared(c.seed, preparedActions)
	known := oracle.New(state)
	hour, err := r.order.follow(known, r.told)
	if err != nil {
		c.fail("%v", err)
	}
	_, options := r.order.script()
	p, err := openProgram(r.order.Dir, options, hour, false)
	if err != nil {
		c.fail("Open: %v", err)
	}
	defer p.Close()
	if damages := p.Stats().Recovery.Damages; len(damages) > 0 {
		c.fail("Open reports damage: %v", damages)
	}
	shown, err := p.content()
	if err != nil {
		c.fail("%v", err)
	}
	if _, err = known.CheckKill(shown, hour*hourMillis); err != nil {
		c.fail("%v", err)
	}
	for i := range 40 {
		if err := p.Put(fmt.Append(nil, "key ", i), make([]byte, 300)); err != nil {
			c.fail("Put after the run: %v", err)
		}
	}
	if err := p.Close(); err != nil {
		c.fail("Close: %v", err)
	}
}
