//go:build linux || darwin || freebsd

package mmapkv

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/segment"
)

// processVariable makes TestProcessChild open a store in another process. Its value
// says what the child does and in which directory.
const processVariable = "MMAPKV_TEST_PROCESS"

var processChildren = map[string]func(t *testing.T, dir string){
	"writer":           func(t *testing.T, dir string) { holdUntilInputEnds(t, asWriter(t, dir)) },
	"reader":           func(t *testing.T, dir string) { holdUntilInputEnds(t, asReader(t, dir)) },
	"writer and child": holdWhileChildRuns,
	"many segments":    fillManySegments,
}

const (
	held     = "held"      // what a child says when it has opened the store and finished its writes
	heldKeys = 500         // of 100 bytes each: a writer writes them before it says held
	patience = time.Minute // a LockTimeout for locks that are released without help
	manyKeys = 30_000      // of 1 KiB each
)

// TestProcessChild is the child process. It does nothing unless a test started it.
func TestProcessChild(t *testing.T) {
	what, dir, started := strings.Cut(os.Getenv(processVariable), " | ")
	if started {
		processChildren[what](t, dir)
	}
}

func asWriter(t *testing.T, dir string) *Store {
	t.Helper()
	s := open(t, dir, nil)
	fill(t, s, 0, heldKeys, 100)
	return s
}

func asReader(t *testing.T, dir string) *Store {
	t.Helper()
	s := open(t, dir, &Options{ReadOnly: true})
	wantFilled(t, s, 0, heldKeys, 100)
	return s
}

func holdUntilInputEnds(t *testing.T, s *Store) {
	t.Helper()
	sayHeldAndWait(t)
	wantFilled(t, s, 0, heldKeys, 100)
	closeStore(t, s)
}

func sayHeldAndWait(t *testing.T) {
	t.Helper()
	fmt.Println(held)
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		t.Fatal(err)
	}
}

// holdWhileChildRuns passes its input and output on to a child of its own.
func holdWhileChildRuns(t *testing.T, dir string) {
	asWriter(t, dir)
	cat := exec.Command("cat")
	cat.Stdin, cat.Stdout, cat.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cat.Start(); err != nil {
		t.Fatal(err)
	}
	fmt.Println(held)
	if err := cat.Wait(); err != nil {
		t.Fatal(err)
	}
}

func fillManySegments(t *testing.T, dir string) {
	s := open(t, dir, &Options{SegmentSize: 1 << 20, Sync: fsync.Never})
	fill(t, s, 0, manyKeys, 1024)
	sayHeldAndWait(t)
}

// process is another process. It ends when its input ends.
type process struct {
	*exec.Cmd
	input  io.WriteCloser
	output *bufio.Reader
}

func startProcess(t *testing.T, c *exec.Cmd) *process {
	t.Helper()
	c.Stderr = os.Stderr
	input, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // does something only if the test has failed
		input.Close()
		c.Process.Kill()
		c.Wait()
	})
	return &process{c, input, bufio.NewReader(output)}
}

// startChild returns once the child has opened the store.
func startChild(t *testing.T, what, dir string) *process {
	t.Helper()
	c := exec.Command(os.Args[0], "-test.run=^TestProcessChild$")
	// A child of a race build would wait a second for late reports.
	c.Env = append(os.Environ(), processVariable+"="+what+" | "+dir,
		"GORACE="+os.Getenv("GORACE")+" atexit_sleep_ms=0")
	p := startProcess(t, c)
	p.wantSays(t, held)
	return p
}

func (p *process) wantSays(t *testing.T, want string) {
	t.Helper()
	line, err := p.output.ReadString('\n')
	if line != want+"\n" {
		p.input.Close()
		rest, _ := io.ReadAll(p.output)
		t.Fatalf("the other process said %q, %v; want %q\n%s", line, err, want, rest)
	}
}

// wantEcho checks that a cat still runs.
func (p *process) wantEcho(t *testing.T) {
	t.Helper()
	if _, err := fmt.Fprintln(p.input, "still here"); err != nil {
		t.Fatal(err)
	}
	p.wantSays(t, "still here")
}

func (p *process) end(t *testing.T) {
	t.Helper()
	p.input.Close()
	said, err := io.ReadAll(p.output)
	if err := errors.Join(err, p.Wait()); err != nil {
		t.Fatalf("the other process: %v\n%s", err, said)
	}
}

func (p *process) kill(t *testing.T) {
	t.Helper()
	if err := p.Process.Kill(); err != nil {
		t.Fatal(err)
	}
}

func (p *process) wantKilled(t *testing.T) {
	t.Helper()
	if err := p.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("the child ended by itself: %v", err)
	}
}

// holder opens a store, as a "writer" or a "reader", and holds it until release.
type holder func(t *testing.T, what, dir string) (release func())

func holdInChild(t *testing.T, what, dir string) (release func()) {
	t.Helper()
	p := startChild(t, what, dir)
	return func() { p.end(t) }
}

func holdHere(t *testing.T, what, dir string) (release func()) {
	t.Helper()
	openAs := map[string]func(*testing.T, string) *Store{"writer": asWriter, "reader": asReader}[what]
	s := openAs(t, dir)
	return func() {
		wantFilled(t, s, 0, heldKeys, 100)
		closeStore(t, s)
	}
}

func TestSecondProcessIsLockedOut(t *testing.T) {
	for name, hold := range map[string]holder{"another process": holdInChild, "this process": holdHere} {
		t.Run(name, func(t *testing.T) {
			t.Run("writer", func(t *testing.T) { checkWriterIsAlone(t, hold) })
			t.Run("readers", func(t *testing.T) { checkReadersShare(t, hold) })
			t.Run("wait", func(t *testing.T) { checkWaitEndsWithRelease(t, hold) })
		})
	}
	t.Run("killed", checkKilledWriterGivesWay)
}

func checkWriterIsAlone(t *testing.T, hold holder) {
	dir := t.TempDir()
	release := hold(t, "writer", dir)
	wantLockedOut(t, dir, false)
	wantLockedOut(t, dir, true)
	release()
	wantHeldKeys(t, open(t, dir, nil))
}

func checkReadersShare(t *testing.T, hold holder) {
	dir := t.TempDir()
	closeStore(t, asWriter(t, dir))
	release := hold(t, "reader", dir)
	s := asReader(t, dir)
	wantLockedOut(t, dir, false)
	wantHeldKeys(t, s)
	closeStore(t, s)
	wantLockedOut(t, dir, false) // the other reader still holds it
	release()
	wantHeldKeys(t, open(t, dir, nil))
}

func checkWaitEndsWithRelease(t *testing.T, hold holder) {
	for _, c := range []struct {
		held     string
		readOnly bool
	}{{"writer", false}, {"writer", true}, {"reader", false}} {
		dir := t.TempDir()
		closeStore(t, asWriter(t, dir))
		refusals := 0
		release := sync.OnceFunc(hold(t, c.held, dir))
		o := &Options{ReadOnly: c.readOnly, LockTimeout: patience}
		inject.Into(o, &inject.Seams{FS: refusalFS{vfs.OS(), func() { refusals++; release() }}})
		s := open(t, dir, o)
		if refusals == 0 {
			t.Errorf("beside a %s, ReadOnly %t: Open did not wait", c.held, c.readOnly)
		}
		wantHeldKeys(t, s)
		closeStore(t, s)
	}
}

func checkKilledWriterGivesWay(t *testing.T) {
	dir := t.TempDir()
	p := startChild(t, "writer", dir)
	wantLockedOut(t, dir, false)
	p.kill(t)
	wantHeldKeys(t, open(t, dir, &Options{LockTimeout: patience}))
	p.wantKilled(t)
}

// wantLockedOut wants ErrLocked, with and without a LockTimeout.
func wantLockedOut(t *testing.T, dir string, readOnly bool) {
	t.Helper()
	for _, timeout := range []time.Duration{0, 50 * time.Millisecond} {
		began := time.Now()
		s, err := Open(dir, &Options{ReadOnly: readOnly, LockTimeout: timeout})
		waited := time.Since(began)
		if err == nil {
			s.Close()
		}
		if !errors.Is(err, ErrLocked) {
			t.Errorf("ReadOnly %t, LockTimeout %v: Open = %v; want ErrLocked", readOnly, timeout, err)
		}
		if waited < timeout {
			t.Errorf("ReadOnly %t: Open gave up after %v, before %v", readOnly, waited, timeout)
		}
	}
}

func wantHeldKeys(t *testing.T, s *Store) {
	t.Helper()
	if s.Len() != heldKeys {
		t.Errorf("%d keys; want %d", s.Len(), heldKeys)
	}
	wantFilled(t, s, 0, heldKeys, 100)
}

// refusalFS calls refused whenever somebody else's lock excludes the requested one.
type refusalFS struct {
	vfs.FS
	refused func()
}

func (f refusalFS) OpenDir(path string) (vfs.Dir, error) {
	dir, err := f.FS.OpenDir(path)
	return refusalDir{dir, f.refused}, err
}

type refusalDir struct {
	vfs.Dir
	refused func()
}

func (d refusalDir) Lock(name string, mode vfs.LockMode) (vfs.Lock, error) {
	lock, err := d.Dir.Lock(name, mode)
	if errors.Is(err, vfs.ErrLocked) {
		d.refused()
	}
	return lock, err
}

// TestLockOutlivesNothing: a process that was started while the store was open, and
// still runs, does not keep the store from being opened again at once.
func TestLockOutlivesNothing(t *testing.T) {
	t.Run("closed", func(t *testing.T) {
		dir := t.TempDir()
		s := asWriter(t, dir)
		cat := startProcess(t, exec.Command("cat"))
		closeStore(t, s)
		wantHeldKeys(t, open(t, dir, nil))
		cat.wantEcho(t)
		cat.end(t)
	})
	// Close has to unlock; closing the descriptor is not enough here.
	t.Run("closed, descriptor inherited", func(t *testing.T) {
		dir := t.TempDir()
		s := asWriter(t, dir)
		inherited := copyOfLock(t, dir)
		c := exec.Command("cat")
		c.ExtraFiles = []*os.File{inherited}
		cat := startProcess(t, c)
		if err := inherited.Close(); err != nil {
			t.Fatal(err)
		}
		closeStore(t, s)
		wantHeldKeys(t, open(t, dir, nil))
		cat.wantEcho(t)
		cat.end(t)
	})
	// Nobody unlocks here: the descriptor must not be inherited.
	t.Run("killed", func(t *testing.T) {
		dir := t.TempDir()
		p := startChild(t, "writer and child", dir)
		wantLockedOut(t, dir, false)
		p.kill(t)
		wantHeldKeys(t, open(t, dir, &Options{LockTimeout: patience}))
		p.wantEcho(t) // of the child's child
		p.input.Close()
		p.wantKilled(t)
	})
}

// copyOfLock is a copy of the descriptor that holds the lock of this process's open
// store.
func copyOfLock(t *testing.T, dir string) *os.File {
	t.Helper()
	const descriptors = 1 << 16
	path := filepath.Join(dir, segment.LockName)
	var named, opened unix.Stat_t
	if err := unix.Stat(path, &named); err != nil {
		t.Fatal(err)
	}
	for fd := range descriptors {
		if unix.Fstat(fd, &opened) != nil || opened.Dev != named.Dev || opened.Ino != named.Ino {
			continue
		}
		copied, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		return os.NewFile(uintptr(copied), path)
	}
	t.Fatal("the lock file is not open")
	return nil
}

func TestManySegmentsSurviveSIGKILL(t *testing.T) {
	dir := t.TempDir()
	o := &Options{SegmentSize: 1 << 20, Sync: fsync.Never, LockTimeout: patience}
	p := startChild(t, "many segments", dir)
	p.kill(t)
	for _, end := range []string{"SIGKILL", "Close"} {
		s := open(t, dir, o)
		keys := 0
		for range s.Keys() {
			keys++
		}
		if s.Len() != manyKeys || keys != manyKeys {
			t.Errorf("after %s: Len is %d and there are %d keys; want %d", end, s.Len(), keys, manyKeys)
		}
		wantFilled(t, s, 0, manyKeys, 1024)
		stats := s.Stats()
		if clean := end == "Close"; stats.Recovery.Clean != clean || len(stats.Recovery.Damages) > 0 {
			t.Errorf("after %s: recovery %+v", end, stats.Recovery)
		}
		if n := len(stats.Segments); n < 30 {
			t.Errorf("after %s: only %d segments", end, n)
		}
		closeStore(t, s)
	}
	p.wantKilled(t)
}

// TestStaleLockFileLocksNobodyOut: the content of the file means nothing.
func TestStaleLockFileLocksNobodyOut(t *testing.T) {
	for name, content := range map[string][]byte{
		"empty":           {},
		"garbage":         bytes.Repeat([]byte{0xff, 0, '\n', 'x'}, 2000),
		"another process": fmt.Appendln(nil, os.Getppid()),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			leaveLock := func() {
				t.Helper()
				if err := os.WriteFile(filepath.Join(dir, segment.LockName), content, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			leaveLock()
			closeStore(t, asWriter(t, dir)) // the directory has only the lock file
			for _, readOnly := range []bool{false, true} {
				leaveLock()
				s := open(t, dir, &Options{ReadOnly: readOnly})
				wantHeldKeys(t, s)
				wantLockedOut(t, dir, false)
				closeStore(t, s)
			}
		})
	}
}
