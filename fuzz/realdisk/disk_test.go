//go:build linux

package realdisk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

const diskSize = 24 << 20

// disk is a file system on a loop device backed by an in-memory file. A change of the file
// changes the disk.
type disk struct {
	t       *testing.T
	kind    fileSystem
	backing *os.File
	device  string
	dir     string // where it is mounted
}

// fileSystem says how to create a file system.
type fileSystem struct {
	name string
	size int64
	mkfs []string
}

var (
	// Blocks of page size, and nothing that the kernel initializes later.
	ext4 = fileSystem{"ext4", diskSize, []string{"mkfs.ext4", "-q", "-F", "-b", fmt.Sprint(os.Getpagesize()),
		"-E", "lazy_itable_init=0,lazy_journal_init=0"}}
	// xfs needs at least this size, but writes little of it.
	xfs = fileSystem{"xfs", 300 << 20, []string{"mkfs.xfs", "-q", "-f"}}
)

// newDisk formats a disk with ext4 and mounts it.
func newDisk(t *testing.T) *disk {
	t.Helper()
	return newDiskOf(t, ext4)
}

func newDiskOf(t *testing.T, kind fileSystem) *disk {
	t.Helper()
	d := &disk{t: t, kind: kind, backing: memoryFile(t), dir: t.TempDir()}
	if err := d.backing.Truncate(kind.size); err != nil {
		t.Fatal(err)
	}
	d.use(func() {
		out, err := exec.Command(kind.mkfs[0], append(kind.mkfs[1:], d.device)...).CombinedOutput()
		if err != nil {
			lacks(t, fmt.Sprintf("%s: %v: %s", kind.mkfs[0], err, out))
		}
	})
	d.mount()
	t.Cleanup(func() {
		if err := unix.Unmount(d.dir, unix.MNT_DETACH); err != nil && err != unix.EINVAL {
			t.Error(err)
		}
	})
	return d
}

// use attaches a loop device to the backing file while fn runs. The device is detached after
// its last use, which may be a mount that fn makes.
func (d *disk) use(fn func()) {
	d.t.Helper()
	device, err := attachLoop(d.backing)
	if err != nil {
		lacks(d.t, fmt.Sprint("a loop device: ", err))
	}
	defer device.Close()
	d.device = device.Name()
	fn()
}

func (d *disk) mount() {
	d.t.Helper()
	d.use(func() {
		if err := unix.Mount(d.device, d.dir, d.kind.name, unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOATIME, ""); err != nil {
			lacks(d.t, fmt.Sprintf("mounting %s: %v", d.kind.name, err))
		}
	})
}

// unmount unmounts the disk. Every store on it must be closed.
func (d *disk) unmount() {
	d.t.Helper()
	if err := unix.Unmount(d.dir, 0); err != nil {
		d.t.Fatalf("unmounting: %v", err)
	}
}

// refuseWrites makes every write from now on fail with an I/O error.
func (d *disk) refuseWrites() {
	d.t.Helper()
	if _, err := unix.FcntlInt(d.backing.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_FUTURE_WRITE); err != nil {
		d.t.Fatal(err)
	}
}

// replace replaces the disk by a good one with the same content.
func (d *disk) replace() {
	d.t.Helper()
	d.unmount()
	image := d.image()
	d.backing = memoryFile(d.t)
	if _, err := d.backing.Write(image); err != nil {
		d.t.Fatal(err)
	}
	d.mount()
}

// image returns the content of the disk.
func (d *disk) image() []byte {
	d.t.Helper()
	content, err := io.ReadAll(io.NewSectionReader(d.backing, 0, d.kind.size))
	if err != nil {
		d.t.Fatal(err)
	}
	return content
}

// memoryFile returns an unnamed in-memory file that can be sealed.
func memoryFile(t *testing.T) *os.File {
	t.Helper()
	fd, err := unix.MemfdCreate("disk", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "disk")
	t.Cleanup(func() { f.Close() })
	return f
}

// attachLoop turns the file into a block device that lives until its last use ends.
func attachLoop(backing *os.File) (device *os.File, err error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer control.Close()
	for range 100 {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, err
		}
		device, err := os.OpenFile(fmt.Sprint("/dev/loop", n), os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		config := unix.LoopConfig{Fd: uint32(backing.Fd()), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR}}
		err = unix.IoctlLoopConfigure(int(device.Fd()), &config)
		if err == nil {
			return device, nil
		}
		device.Close()
		if !errors.Is(err, unix.EBUSY) {
			return nil, err
		}
		// Another process took the device first.
	}
	return nil, unix.EBUSY
}
