package nap

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// timer is a timerfd in the runtime's poller, which wakes up when it expires rather than at the
// next millisecond.
type timer struct{ file *os.File }

func (t *timer) wait(d time.Duration) bool {
	if t.file == nil {
		fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
		if err != nil {
			return false
		}
		t.file = os.NewFile(uintptr(fd), "timer")
	}
	conn, err := t.file.SyscallConn()
	if err != nil {
		return false
	}
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(max(d, 1)))}
	var settime error
	err = conn.Control(func(fd uintptr) { settime = unix.TimerfdSettime(int(fd), 0, &spec, nil) })
	if err != nil || settime != nil {
		return false
	}
	var expirations [8]byte
	_, err = t.file.Read(expirations[:])
	return err == nil
}

func (t *timer) close() {
	if t.file != nil {
		t.file.Close()
		t.file = nil
	}
}
