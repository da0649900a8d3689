//go:build linux

package realdisk

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// childVariable is set in child processes.
const childVariable = "MMAPKV_REALDISK_CHILD"

// exitLacks is the exit code of a child when the machine cannot run the test.
const exitLacks = 77

// alone runs the test again in a child process with its own mounts. It returns true in the
// child, and false in the parent, which then returns:
//
//	if !alone(t) {
//		return
//	}
func alone(t *testing.T) bool {
	t.Helper()
	if os.Getenv(childVariable) == "" {
		runChild(t)
		return false
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		lacks(t, fmt.Sprint("making mounts private: ", err))
	}
	// Nothing that the child writes is in a directory that others see.
	mountTmpfs(t, os.TempDir(), 64<<20)
	return true
}

func runChild(t *testing.T) {
	t.Helper()
	// The child dies with the thread that started it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	child := exec.Command("/proc/self/exe", childArguments(t)...)
	child.Env = append(os.Environ(), childVariable+"=1")
	child.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL}
	if os.Getuid() != 0 {
		child.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		child.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		child.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	out, err := child.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
		if testing.Verbose() {
			t.Logf("%s", out)
		}
	case !errors.As(err, &exit):
		lacks(t, fmt.Sprint("a mount namespace: ", err))
	case exit.ExitCode() == exitLacks:
		lacks(t, strings.TrimSpace(string(out)))
	default:
		t.Fatalf("%v:\n%s", err, out)
	}
}

// childArguments passes the flags of this package to the child, and the time that its parent
// has left.
func childArguments(t *testing.T) []string {
	arguments := []string{"-test.run=^" + t.Name() + "$", fmt.Sprint("-test.v=", testing.Verbose())}
	if deadline, ok := t.Deadline(); ok {
		arguments = append(arguments, fmt.Sprint("-test.timeout=", time.Until(deadline)))
	}
	flag.Visit(func(f *flag.Flag) {
		if !strings.HasPrefix(f.Name, "test.") {
			arguments = append(arguments, fmt.Sprintf("-%s=%s", f.Name, f.Value))
		}
	})
	return arguments
}

// lacks ends a test because the machine lacks something that it needs.
func lacks(t *testing.T, why string) {
	t.Helper()
	switch {
	case os.Getenv(childVariable) != "":
		fmt.Println(why)
		os.Exit(exitLacks)
	case os.Getenv("MMAPKV_NO_SKIP") != "":
		t.Fatalf("this machine lacks %s", why)
	default:
		t.Skipf("this machine lacks %s", why)
	}
}

// mountTmpfs mounts an in-memory file system of size bytes over the directory until the test
// ends.
func mountTmpfs(t *testing.T, dir string, size int64) {
	t.Helper()
	t.Cleanup(mountOver(t, dir, size))
}

// mountOver does the same until unmount is called.
func mountOver(t *testing.T, dir string, size int64) (unmount func()) {
	t.Helper()
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprint("size=", size)); err != nil {
		lacks(t, fmt.Sprint("mounting tmpfs: ", err))
	}
	return func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}
}
