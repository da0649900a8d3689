//go:build linux

package realdisk

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/oracle"
	"github.com/mmapkv/mmapkv/mmapkv"
)

var (
	powerCuts = flag.Int("power.cuts", 6, "how often the power is cut, on each file system")
	powerSeed = flag.Uint64("power.seed", 0, "the seed of what is written between power cuts; 0 draws one. The moments of the cuts are not the same again")
)

// TestPowerCutsOnExt4 and TestPowerCutsOnXFS cut the power of one disk again and
// again, at any moment of a life that begins with the recovery from the cut
// before: the file system shuts down, with what it has not written, and what it
// has, in whatever order, is there when it is mounted again.
func TestPowerCutsOnExt4(t *testing.T) { cutPower(t, ext4) }

func TestPowerCutsOnXFS(t *testing.T) { cutPower(t, xfs) }

func cutPower(t *testing.T, kind fileSystem) {
	if !alone(t) {
		return
	}
	seed := *powerSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d; again: go test ./fuzz/realdisk -run %s -power.seed=%d -power.cuts=%d", seed, t.Name(), seed, *powerCuts)
	m := &mains{t: t, disk: newDiskOf(t, kind), oracle: oracle.New(nil)}
	began := time.Now()
	for m.cuts < *powerCuts {
		m.life(newScript(seed, uint64(m.cuts), m.hour))
	}
	t.Logf("%s: %d cuts in %.1f s, %d of them in an open, %d soon after a kill; %d writes acknowledged, %d compactions; %d times all was there, %d times not what might be lost",
		kind.name, m.cuts, time.Since(began).Seconds(), m.opens, m.kills, m.acknowledged, m.compactions, m.whole, m.lossy)
	if *powerCuts >= 100 && (m.opens == 0 || m.kills == 0 || m.compactions == 0 || m.whole == 0 || m.lossy == 0) {
		t.Error("something never happened")
	}
}

// mains is what a disk gets its power from, and what its store may have lost.
type mains struct {
	t      *testing.T
	disk   *disk
	oracle *oracle.Oracle
	hour   int64  // of the store's clock
	now    string // which life, for errors

	cuts, opens, kills, acknowledged, compactions, whole, lossy int
}

// cut is one power cut, which may have begun.
type cut struct {
	begun atomic.Bool
	done  chan error
}

// cutAfter shuts the file system down after a while. Of what is not synced some
// pages are written before, and perhaps the file system's own journal.
func (m *mains) cutAfter(wait time.Duration, s *script) *cut {
	c := &cut{done: make(chan error, 1)}
	how, pages, number := uint32(1+s.IntN(2)), s.Perm(64), s.IntN(8)
	if s.IntN(2) == 0 {
		slices.Sort(pages) // the first ones, so that the end is torn
	}
	pages = pages[:s.IntN(len(pages))]
	go func() {
		time.Sleep(wait)
		writeSomePages(m.store(), number, pages)
		c.begun.Store(true)
		c.done <- shutDown(m.disk.dir, how)
	}()
	return c
}

func (m *mains) store() string { return filepath.Join(m.disk.dir, "store") }

// writeSomePages has the kernel write some pages of the youngest files. Files
// that have gone are none of its business.
func writeSomePages(dir string, number int, pages []int) {
	names, _ := filepath.Glob(filepath.Join(dir, "*.seg"))
	for _, name := range names[max(0, len(names)-number):] {
		f, err := os.Open(name)
		if err != nil {
			continue
		}
		for _, page := range pages {
			size := os.Getpagesize()
			_ = unix.SyncFileRange(int(f.Fd()), int64(page*size), int64(size),
				unix.SYNC_FILE_RANGE_WAIT_BEFORE|unix.SYNC_FILE_RANGE_WRITE|unix.SYNC_FILE_RANGE_WAIT_AFTER)
		}
		f.Close()
	}
}

// shutDown is FS_IOC_SHUTDOWN: nothing is written to the disk any more. How is 1
// for a journal that is written before, 2 for one that is not.
func shutDown(dir string, how uint32) error {
	const shutdown = 0x8004587d // _IOR('X', 125, __u32)
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.IoctlSetPointerInt(int(f.Fd()), shutdown, int(how))
}

// life is one life of the store, from the recovery to the next cut.
func (m *mains) life(s *script) {
	options := s.draw()
	m.now = fmt.Sprintf("life %d, %v, segments of %d", m.cuts, options.Sync, options.SegmentSize)
	var c *cut
	if s.IntN(4) == 0 {
		c = m.cutAfter(time.Duration(s.IntN(5_000))*time.Microsecond, s)
	}
	p := m.open(options, c)
	if c == nil {
		if s.IntN(4) == 0 {
			p = m.kill(p, s, options)
		}
		c = m.cutAfter(time.Duration(s.IntN(25_000))*time.Microsecond, s)
	}
	if p != nil {
		m.writeOn(p, s, c, options.Sync)
		m.close(p)
	} else {
		m.opens++
	}
	if err := <-c.done; err != nil {
		m.fail("shutting the file system down: %v", err)
	}
	m.cuts++
	m.disk.unmount()
	m.disk.mount()
}

// open opens the store and has the oracle judge what it shows. nil where the cut
// came first: then nothing was shown.
func (m *mains) open(options mmapkv.Options, c *cut) *program {
	m.t.Helper()
	isCut := func() bool { return c != nil && c.begun.Load() }
	p, err := openProgram(m.store(), options, m.hour, false)
	if err != nil {
		if !isCut() {
			m.fail("Open: %v", err)
		}
		return nil
	}
	shown, err := p.content()
	if isCut() {
		m.close(p)
		return nil
	}
	if err != nil {
		m.fail("%v", err)
	}
	if damages := p.Stats().Recovery.Damages; len(damages) > 0 {
		m.fail("Open reports damage: %v", damages)
	}
	now := m.hour * hourMillis
	before := m.oracle.Current().Visible(now)
	state, err := m.oracle.CheckPowerLoss(shown, now)
	if err != nil {
		m.fail("%v", err)
	}
	if maps.Equal(before, shown) {
		m.whole++
	} else {
		m.lossy++
	}
	m.oracle = oracle.New(state)
	return p
}

// close frees the disk of a store that has failed.
func (m *mains) close(p *program) {
	m.compactions += p.Stats().Compaction.Runs
	_ = p.Close()
}

// kill has another process write to the store, which is killed: what is shown
// after that must not be lost, though nobody has synced it yet.
func (m *mains) kill(p *program, s *script, options mmapkv.Options) *program {
	m.t.Helper()
	if err := p.Close(); err != nil {
		m.fail("Close: %v", err)
	}
	o := &order{Dir: m.store(), Seed: s.Uint64(), Hour: m.hour, Sessions: 1, Actions: 1 << 30, Prepared: -1}
	var err error
	if m.hour, err = o.follow(m.oracle, o.kill(m.t)); err != nil {
		m.fail("%v", err)
	}
	s.hour = m.hour
	m.oracle.Synced() // it is all there after a kill
	m.kills++
	return m.open(options, nil)
}

func (m *mains) fail(format string, args ...any) {
	m.t.Helper()
	m.t.Fatalf("%s: %s", m.now, fmt.Sprintf(format, args...))
}

// writeOn takes one action after the other, until one fails.
func (m *mains) writeOn(p *program, s *script, c *cut, policy fsync.Policy) {
	for {
		a := s.next()
		m.hour = a.hour
		if a.ops != nil {
			m.oracle.Begin(a.ops)
		}
		err := p.do(a)
		switch {
		case err != nil && !c.begun.Load():
			m.fail("%s: %v", a.kind, err)
		case err != nil && a.kind == compact && !errors.Is(err, mmapkv.ErrFailed):
			continue
		case err != nil:
			m.wantStopped(p, err)
			return
		case a.ops != nil:
			m.acknowledged++
			m.oracle.Acknowledge()
		}
		// Whoever is told something after the cut was not there any more: ext4 lets
		// a sync that is on its way then return 0, and has not written anything.
		if (a.kind == syncNow || policy == fsync.Always) && !c.begun.Load() {
			m.oracle.Synced()
		}
	}
}

// wantStopped checks that the store has failed for good.
func (m *mains) wantStopped(p *program, err error) {
	m.t.Helper()
	later := p.Put([]byte("key 0"), nil)
	for _, err := range []error{err, later} {
		// ext4 is read-only once it has noticed.
		if !errors.Is(err, mmapkv.ErrFailed) || !errors.Is(err, unix.EIO) && !errors.Is(err, unix.EROFS) {
			m.fail("after a power cut: %v", err)
		}
	}
}
