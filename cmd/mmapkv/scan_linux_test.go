package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// wide makes a store whose keys alone do not fit into a pipe, so that a command that
// prints them waits for its reader.
func wide(t *testing.T) (dir string) {
	t.Helper()
	var lines strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&lines, "{\"key\":\"%05d-%s\",\"value\":\"v\"}\n", i, strings.Repeat("k", 50))
	}
	dir = t.TempDir()
	if code := run([]string{"--dir", dir, "import", "--no-count"}, strings.NewReader(lines.String()), io.Discard, io.Discard); code != exitOK {
		t.Fatalf("import: %d", code)
	}
	return dir
}

// TestPrintingEndsAtOnce closes the pipe that a command prints to, as head does, or
// interrupts the command while it waits for the reader of that pipe.
func TestPrintingEndsAtOnce(t *testing.T) {
	dir := wide(t)
	for _, command := range []string{"keys", "scan", "scan --json --reverse", "export", "export --prefix 0", "keys --prefix 0 --limit 9999"} {
		for want, end := range map[syscall.Signal]func(cmd *exec.Cmd, stdout io.Closer) error{
			syscall.SIGPIPE: func(_ *exec.Cmd, stdout io.Closer) error { return stdout.Close() },
			syscall.SIGINT:  func(cmd *exec.Cmd, _ io.Closer) error { return cmd.Process.Signal(os.Interrupt) },
		} {
			cmd := exec.Command("mmapkv", append([]string{"--dir", dir}, strings.Fields(command)...)...)
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = cmd.Process.Kill() })
			if line, err := bufio.NewReaderSize(stdout, 16).ReadString('\n'); err != nil || !strings.Contains(line, "-kkk") {
				t.Fatalf("%s: its first line is %q, %v", command, line, err)
			}
			if err := end(cmd, stdout); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			if status := cmd.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != want {
				t.Errorf("%s: it ends with %v, not by %v", command, cmd.ProcessState, want)
			}
		}
	}
}
