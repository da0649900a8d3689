package main

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// terminal opens a new terminal: what is written to tty can be read from screen.
func terminal(t *testing.T) (screen, tty *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = screen.Close() })
	if err := unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err = os.OpenFile(filepath.Join("/dev/pts", strconv.Itoa(number)), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tty.Close() })
	return screen, tty
}

// TestBarIsClearedWhenASignalEnds sends signals to an import that waits for more
// input, with its bar on a terminal.
func TestBarIsClearedWhenASignalEnds(t *testing.T) {
	for _, end := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		screen, tty := terminal(t)
		cmd := exec.Command("mmapkv", "--dir", t.TempDir(), "import")
		cmd.Stderr = tty
		input, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill() })
		if _, err := io.WriteString(input, `{"key":"k","value":"v"}`+"\n"); err != nil {
			t.Fatal(err)
		}
		var shown strings.Builder
		buffer := make([]byte, 4096)
		read := func() bool {
			n, err := screen.Read(buffer)
			shown.Write(buffer[:n])
			return err == nil
		}
		for !strings.Contains(shown.String(), "importing") {
			if !read() {
				t.Fatalf("there is no bar: %q", shown.String())
			}
		}
		if err := cmd.Process.Signal(end); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		if status := cmd.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != end {
			t.Errorf("%v: it ends with %v", end, cmd.ProcessState)
		}
		_ = tty.Close() // reads end when nobody has the terminal open for writing
		for read() {
		}
		line := shown.String()
		line, ended := strings.CutSuffix(line, "\r")
		if line = line[strings.LastIndexByte(line, '\r')+1:]; !ended || strings.TrimSpace(line) != "" {
			t.Errorf("%v: the line has %q", end, line)
		}
	}
}
