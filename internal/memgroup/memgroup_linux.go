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

// New makes a control group, of version 1 or 2, whose processes may have so many
// bytes in memory, and returns its directory. It takes root.
func New(bytes int64) (dir string, err error) {
	err = errors.New("memgroup: there is no hierarchy of control groups")
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
		// A group of version 2 has what its parent hands on, and a limit on the
		// swap of its own.
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

// write sets a value of a control group that has it.
func write(dir, name, value string) error {
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

// Join makes this process one of the group's.
func Join(dir string) error {
	return write(dir, "cgroup.procs", strconv.Itoa(os.Getpid()))
}

// patience is how long the processes of a group may take to be gone.
const patience = 2 * time.Minute

// Remove waits for the group's processes to be gone and removes it.
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
