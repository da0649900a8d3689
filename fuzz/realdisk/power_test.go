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
	powerSeed = flag.Uint64("power.seed", 0, "the seed of what is written between power cuts; 0 draws one; it does not fix the moments of the cuts")
)

// TestPowerCutsOnExt4 and TestPowerCutsOnXFS cut the power of one disk again and again, at any
// moment of a life that begins with the recovery from the last cut. The file system shuts down
// and loses what it has not written. After the next mount it has what it wrote, in whatever
// order.
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
	t.Logf("seed %d; to repeat: go test ./fuzz/realdisk -run %s -power.seed=%d -power.cuts=%d", seed, t.Name(), seed, *powerCuts)
	m := &mains{t: t, disk: newDiskOf(t, kind), oracle: oracle.New(nil)}
	began := time.Now()
	for m.cuts < *powerCuts {
		m.life(newScript(seed, uint64(m.cuts), m.hour))
	}
	t.Logf("%s: %d cuts in %.1f s, %d of them in an open, %d soon after a kill; %d writes acknowledged, %d compactions; %d times nothing was lost, %d times only what may be lost",
		kind.name, m.cuts, time.Since(began).Seconds(), m.opens, m.kills, m.acknowledged, m.compactions, m.whole, m.lossy)
	if *powerCuts >= 100 && (m.opens == 0 || m.kills == 0 || m.compactions == 0 || m.whole == 0 || m.lossy == 0) {
		t.Error("something never happened")
	}
}

// mains powers a disk, and knows what its store may have lost.
type mains struct {
	t      *testing.T
	disk   *disk
	oracle *oracle.Oracle
	hour   int64  // of the store's clock
	now    string // the current life, for errors

	cuts, opens, kills, acknowledged, compactions, whole, lossy int
}

// cut is a power cut, begun or still to come.
type cut struct {
	begun atomic.Bool
	done  chan error
}

// cutAfter shuts the file system down after a while. Before that it writes some unsynced pages,
// and perhaps the file system's journal.
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

// writeSomePages makes the kernel write some pages of the youngest files. It ignores files that
// are gone.
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

// shutDown calls FS_IOC_SHUTDOWN: from then on nothing is written to the disk. how is 1 to
// write the journal first, 2 not to.
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

// open opens the store and lets the oracle judge what it shows. It returns nil if the power was
// cut before: then nothing was shown.
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

// close closes a failed store, so that the disk can be unmounted.
func (m *mains) close(p *program) {
	m.compactions += p.Stats().Compaction.Runs
	_ = p.Close()
}

// kill lets another process write to the store and kills it. What the store shows after that
// must not be lost, although nothing has synced it yet.
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
	m.oracle.Synced() // a kill loses nothing
	m.kills++
	return m.open(options, nil)
}

func (m *mains) fail(format string, args ...any) {
	m.t.Helper()
	m.t.Fatalf("%s: %s", m.now, fmt.Sprintf(format, args...))
}

// writeOn performs one action after the other until one fails.
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
		// Do not trust an acknowledgement after the cut: ext4 lets a sync that is under way
		// return 0 although it wrote nothing.
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
		// ext4 becomes read-only once it notices the shutdown.
		if !errors.Is(err, mmapkv.ErrFailed) || !errors.Is(err, unix.EIO) && !errors.Is(err, unix.EROFS) {
			m.fail("after a power cut: %v", err)
		}
	}
}
