package fuzz

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/crashfs"
	"github.com/mmapkv/mmapkv/internal/errorfs"
	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/internal/transcript"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv"
)

// callScripts make the calls. Other tests judge whether the store does the right thing; here
// only the calls matter.
var callScripts = []struct {
	name  string
	seeds int
	run   func(*caller)
}{
	{"crash", 200, (*caller).crash},
	{"fault", 50, (*caller).fault},
	{"full", 20, (*caller).full},
	{"damage", 100, (*caller).damage},
}

// caller runs the script of one seed.
type caller struct {
	t     *testing.T
	seed  uint64
	calls *transcript.Transcript
	large bool // segments are large, so that they grow in steps
}

func (c *caller) random(stream uint64) *rand.Rand { return rand.New(rand.NewPCG(c.seed, stream)) }

func (c *caller) policy() fsync.Policy {
	return []fsync.Policy{fsync.Always, fsync.Every(200 * time.Millisecond), fsync.Never}[c.seed%3]
}

// tune makes a store's calls go to the transcript, and removes its remaining randomness.
func (c *caller) tune(o *mmapkv.Options, seams *inject.Seams) {
	c.calls.Note("open, read-only %v", o.ReadOnly)
	seams.FS = c.calls.Of(seams.FS)
	seams.Hash = steadyHash
	if c.seed%4 == 0 {
		o.ScrubBytesPerSecond = 1 << 20
	}
	if c.large {
		o.SegmentSize = 1 << 20
	}
}

// steadyHash is the same in every process, unlike the store's own hash.
func steadyHash(key []byte) (hash uint64, check uint32) {
	sum := sha256.Sum256(key)
	return binary.LittleEndian.Uint64(sum[:]), binary.LittleEndian.Uint32(sum[8:])
}

func (c *caller) life(stream uint64) *life {
	l := newLife(c.t, &census{seen: map[uint64]bool{}, enough: math.MaxInt64}, c.policy(), c.random(stream))
	l.name = fmt.Sprint("seed ", c.seed)
	l.compacting = c.seed%2 == 0
	l.tune, l.unscanned = c.tune, true
	return l
}

// callsPerEnd says how often a script of the crash simulator ends, in several ways: at one in
// this many of its calls that change the disk.
const callsPerEnd = 100

// crash runs a script of the crash simulator with occasional power cuts and kills, also during
// recovery.
func (c *caller) crash() {
	c.large = c.seed%5 == 3
	l := c.life(1)
	l.disk.OnCall = func(int, crashfs.Op) {
		if l.rng.IntN(callsPerEnd) == 0 {
			l.endHere()
		}
	}
	l.run(15+int(c.seed%20), false)
	if err := l.store.Close(); err != nil {
		l.fail("Close: %v", err)
	}
}

// fault runs a script of the fault bench, without a fault and then with one.
func (c *caller) fault() {
	run := func(rule errorfs.Rule) (calls []errorfs.Op) {
		r := newFaultRun(c.t, c.policy())
		r.rng, r.tune, r.unscanned = c.random(2), c.tune, true
		r.run(rule)
		return r.faulty.Calls()
	}
	rule := faults[c.seed%uint64(len(faults))]
	matching := run(errorfs.Rule{})
	if rule.Short { // only writes count
		matching = slices.DeleteFunc(matching, func(op errorfs.Op) bool { return op.Kind != errorfs.Write })
	}
	rng := c.random(3)
	rule.Nth, rule.Forever = 1+rng.IntN(len(matching)), rng.IntN(3) == 0
	c.calls.Note("call %d fails with %v, short %v, forever %v", rule.Nth, rule.Err, rule.Short, rule.Forever)
	run(rule)
}

// full fills a disk. On another disk it deletes until tombstones fit only where compaction
// frees space.
func (c *caller) full() {
	r := newFaultRun(c.t, fsync.Always)
	r.rng, r.tune, r.unscanned = c.random(4), c.tune, true
	r.fillDisk(50<<10 + int64(c.seed)*1999)

	l := c.life(5)
	l.quiet = true
	l.disk.SetCapacity(80<<10 + int64(c.seed)*499)
	store, err := l.open(l.disk)
	if err != nil {
		l.fail("open: %v", err)
	}
	key := func(i int) []byte { return fmt.Append(nil, "key", i) }
	for i := range 600 {
		c.result(store.Put(key(i), key(i)))
	}
	for i := range 300 {
		c.result(store.Put(key(i%40), make([]byte, 100+i)))
	}
	for i := range 600 {
		c.result(store.Delete(key(i)))
	}
	c.result(store.Close())
}

// damage damages a store, then verifies, opens, reads, compacts and salvages it. Other tests
// judge the outcome, so this script only records errors.
func (c *caller) damage() {
	c.large = c.seed%5 == 3
	disk := c.damaged()
	c.calls.Note("Verify")
	c.report(verifyOn(c.t, c.calls.Of(disk.Clone())))
	unreadable := errorfs.New(disk.Clone())
	unreadable.Fail(c.unreadable())
	c.report(verifyOn(c.t, c.calls.Of(unreadable)))
	l := c.life(6)
	l.quiet = true
	if store, err := l.open(disk.Clone()); err == nil {
		c.result(store.Range(func(_, _ []byte) error { return nil }))
		c.report(store.Verify(context.Background()))
		for _, step := range l.steps {
			_, err := step.Run()
			c.result(err)
		}
		c.result(store.Compact(context.Background()))
		c.result(store.Close())
	}
	c.calls.Note("Salvage")
	unreadable.Heal()
	unreadable.Fail(c.unreadable())
	for _, disk := range []vfs.FS{disk, unreadable} {
		report, err := c.salvage(disk, l.rng)
		c.calls.Note("%d keys, %d records, complete %v", report.Keys, report.Records, report.Complete())
		c.result(err)
	}
}

// damaged returns the disk of a store that was closed, killed, or lost its power, with one to
// three places damaged. Sometimes the hints, the manifest or another file are missing.
func (c *caller) damaged() *crashfs.Disk {
	l := c.life(7)
	l.quiet = true
	l.run(40+l.rng.IntN(40), false)
	switch l.rng.IntN(4) {
	case 0:
		if err := l.store.Close(); err != nil {
			l.fail("Close: %v", err)
		}
	case 1:
		l.disk = l.disk.PowerCut(chooser{l.rng})
	default:
		l.disk = l.disk.Kill()
	}
	if l.rng.IntN(4) == 0 {
		l.loseHints()
	}
	for range 1 + l.rng.IntN(3) {
		l.harm()
	}
	switch l.rng.IntN(6) {
	case 0:
		l.lose("/store/MANIFEST")
	case 1:
		files := l.disk.Files()
		l.lose(files[l.rng.IntN(len(files))])
	}
	return l.disk.Clone()
}

// lose removes a file.
func (l *life) lose(name string) {
	dir, err := l.disk.OpenDir(filepath.Dir(name))
	if err != nil {
		l.fail("%v", err)
	}
	defer dir.Close()
	if err := dir.Remove(filepath.Base(name)); err != nil {
		l.fail("%v", err)
	}
}

// unreadable returns the fault of a disk that cannot read somewhere.
func (c *caller) unreadable() errorfs.Rule {
	rng := c.random(8)
	return errorfs.Rule{Match: errorfs.Only(errorfs.Read), Nth: 1 + rng.IntN(30), Forever: rng.IntN(3) == 0, Err: syscall.EIO}
}

// result records whether there was an error, but not its text.
func (c *caller) result(err error) { c.calls.Note("failed %v", err != nil) }

func (c *caller) report(r mmapkv.Report, err error) {
	c.calls.Note("%d damages, %d records, %d hints, %d bytes", len(r.Damages), r.Records, r.Hints, r.Bytes)
	c.result(err)
}

// salvage salvages the store of a disk.
func (c *caller) salvage(disk vfs.FS, rng *rand.Rand) (mmapkv.SalvageReport, error) {
	o := mmapkv.SalvageOptions{
		OlderVersions:  c.seed%3 == 0,
		IgnoreManifest: rng.IntN(2) == 0,
		Options:        &mmapkv.Options{SegmentSize: 4 << 10, Sync: fsync.Never},
	}
	inject.Into(o.Options, &inject.Seams{
		FS:     c.calls.Of(disk),
		Now:    func() time.Time { return time.UnixMilli(1_000_000) },
		Random: rng.Uint64, Hash: steadyHash, PageSlots: 8, Manual: true,
	})
	return mmapkv.Salvage(context.Background(), "/store", "/new", &o)
}
