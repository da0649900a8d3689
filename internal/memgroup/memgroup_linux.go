package memgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// New creates a control group, of version 1 or 2, that limits its processes to the given bytes
// of memory, and returns its directory. It requires root.
func New(bytes int64) (dir string, err error) {
	err = errors.New("memgroup: no control group hierarchy")
	for _, version := range []struct{ root, limit string }{
		{"/sys/fs/cgroup/memory", "memory.limit_in_bytes"},
		{"/sys/fs/cgroup", "memory.max"},
		{"/sys/fs/cgroup/unified", "memory.max"},
	} {
		dir, madeErr := os.MkdirTemp(version.root, "mmapkv-")
		if madeErr != nil {
			err = errors.Join(err, madeErr)
			continue
		}
		// In version 2 the parent must enable the memory controller, and swap has a limit of
		// its own.
		_ = write(version.root, "cgroup.subtree_control", "+memory")
		_ = write(dir, "memory.swap.max", "0")
		setErr := write(dir, version.limit, strconv.FormatInt(bytes, 10))
		if setErr == nil {
			return dir, nil
		}
		err = errors.Join(err, setErr, Remove(dir))
	}
	return "", err
}

// write sets an existing value of a control group.
func write(dir, name, value string) error {
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

// Join moves this process into the group.
func Join(dir string) error {
	return write(dir, "cgroup.procs", strconv.Itoa(os.Getpid()))
}

// patience limits how long the processes of a group may take to exit.
const patience = 2 * time.Minute

// Remove waits for the group's processes to exit and removes the group.
func Remove(dir string) error {
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		err := unix.Rmdir(dir)
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("memgroup: removing %s: %w", dir, err)
		}
	}
}
