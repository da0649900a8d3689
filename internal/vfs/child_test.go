//go:build linux || darwin || freebsd

package vfs

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// children are what this test binary does, instead of testing, when a test starts it as another
// process.
var children = map[string]func(path string) error{
	"lock":        func(path string) error { return lockAndWait(path, Exclusive) },
	"lock shared": func(path string) error { return lockAndWait(path, Shared) },
	"fill":        fillToTheLimit,
}

const (
	childVariable = "MMAPKV_VFS_TEST_CHILD"
	racyExit      = 66 // exit code of a race build's child in which the detector found a race
)

func TestMain(m *testing.M) {
	child := children[os.Getenv(childVariable)]
	if child == nil {
		os.Exit(m.Run())
	}
	if err := child(os.Args[1]); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func childCommand(t *testing.T, what, path string) *exec.Cmd {
	t.Helper()
	if children[what] == nil {
		t.Fatalf("no child does %q", what)
	}
	c := exec.Command(os.Args[0], path)
	// By default a child of a race build waits a second for late reports.
	c.Env = append(os.Environ(), childVariable+"="+what, "GORACE=atexit_sleep_ms=0 exitcode="+fmt.Sprint(racyExit))
	c.Stderr = os.Stderr
	return c
}

// process is a child that has printed its first line and waits for its input to end.
type process struct {
	*exec.Cmd
	said  string
	input io.Closer
}

func startChild(t *testing.T, what, path string) *process {
	t.Helper()
	c := childCommand(t, what, path)
	input, err := c.StdinPipe()
	must(t, err)
	output, err := c.StdoutPipe()
	must(t, err)
	must(t, c.Start())
	line, err := bufio.NewReader(output).ReadString('\n')
	must(t, err)
	return &process{c, strings.TrimSpace(line), input}
}

func (p *process) end(t *testing.T) {
	t.Helper()
	must(t, p.input.Close())
	must(t, p.Wait())
}

const held = "held"

func lockAndWait(path string, mode LockMode) error {
	dir, err := OS().OpenDir(path)
	if err != nil {
		return err
	}
	lock, err := dir.Lock("LOCK", mode)
	if err != nil {
		fmt.Println(err)
		return nil
	}
	fmt.Println(held)
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	return lock.Unlock()
}

const fileSizeLimit = 10_000

// fillToTheLimit writes beyond the maximum file size of the process.
func fillToTheLimit(path string) error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	limit.Cur = fileSizeLimit
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	dir, err := OS().OpenDir(path)
	if err != nil {
		return err
	}
	f, err := dir.Create("file")
	if err != nil {
		return err
	}
	p := make([]byte, fileSizeLimit+1)
	if n, err := f.WriteAt(p, 0); n != fileSizeLimit || err != nil {
		return fmt.Errorf("a short write gave %d, %v", n, err)
	}
	n, err := WriteFull(f, p, 0)
	fmt.Println(n, err, errnoOf(err) == unix.EFBIG)
	return nil
}
