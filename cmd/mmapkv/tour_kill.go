package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/mmapkv"
)

// writers is how many goroutines write in the child that is killed.
const writers = 4

// withAKill starts a child process that writes, kills it in the middle, opens the
// store, and checks its content against what the child acknowledged. The child reads
// the same files; want is what the store held before.
func (t *tour) withAKill(files, want map[string][]byte) error {
	acknowledged, err := t.killedChild()
	if err != nil {
		return err
	}
	total := 0
	for _, n := range acknowledged {
		total += n
	}
	if total == 0 {
		return fmt.Errorf("%w: the child was killed before it had acknowledged a write", errCheck)
	}
	t.say("\nKilled       a process with %d writers by SIGKILL, after %d acknowledged writes in %v", writers, total, t.kill)
	s, err := mmapkv.Open(t.store, nil)
	if err != nil {
		return err
	}
	defer s.Close()
	recovery := s.Stats().Recovery
	t.say("Opened again %6d keys in %v: %d records scanned, %d made durable, %s of torn end cut", s.Len(), recovery.Duration.Round(10*time.Microsecond),
		recovery.RecordsScanned, recovery.RecordsRecovered, size(recovery.BytesDiscarded))
	inFlight, err := checkKilled(s, files, want, acknowledged)
	if err != nil {
		return err
	}
	t.say("Checked      every acknowledged write is there; so are %d of the %d in flight, whole; nothing else has changed", inFlight, writers)
	return s.Close()
}

// checkKilled checks that the store holds what it held before (want), plus the
// acknowledged writes of each writer and at most its next write. It updates want to
// what the store holds, and returns how many of those next writes are there.
func checkKilled(s *mmapkv.Store, files, want map[string][]byte, acknowledged []int) (inFlight int, err error) {
	for w, p := range plans(files) {
		for n := 1; n <= acknowledged[w]; n++ {
			p.step(n).apply(want)
		}
		next := p.step(acknowledged[w] + 1)
		done, err := next.isDone(s)
		if err != nil {
			return 0, fmt.Errorf("%w: reading %q: %w", errCheck, next.key, err)
		}
		if done {
			next.apply(want)
			inFlight++
		}
	}
	return inFlight, compare(s, want)
}

// killedChild returns how many writes each writer acknowledged.
func (t *tour) killedChild() ([]int, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	child := exec.CommandContext(ctx, self, "tour-writer", t.store, t.files, strconv.Itoa(t.limit))
	var complaints bytes.Buffer
	child.Stderr = &complaints
	out, err := child.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := child.Start(); err != nil {
		return nil, err
	}
	acknowledged, err := readAcknowledged(out, func() {
		time.AfterFunc(t.kill, func() { _ = child.Process.Kill() })
	})
	if err != nil {
		cancel()
		return nil, errors.Join(err, child.Wait())
	}
	ended := child.Wait()
	if child.ProcessState.String() != "signal: killed" {
		return nil, fmt.Errorf("tour: the child was not killed; it ended with %v: %s", ended, complaints.String())
	}
	return acknowledged, nil
}

// readAcknowledged reads the writers' acknowledgements until the pipe ends, and calls
// begun at the first one.
func readAcknowledged(out io.Reader, begun func()) ([]int, error) {
	acknowledged := make([]int, writers)
	lines := bufio.NewReader(out)
	for first := true; ; first = false {
		line, err := lines.ReadString('\n')
		if err != nil {
			return acknowledged, nil // the pipe has ended; an incomplete last line does not count
		}
		if first {
			begun()
		}
		var w, n int
		if _, err := fmt.Sscanf(line, "%d %d", &w, &n); err != nil || w < 0 || w >= writers || n != acknowledged[w]+1 {
			return nil, fmt.Errorf("tour: the child printed %q", line)
		}
		acknowledged[w] = n
	}
}

// newTourWriter is the process that the tour kills.
func newTourWriter() *cobra.Command {
	return &cobra.Command{
		Use:    "tour-writer STORE FILES LIMIT",
		Hidden: true,
		Args:   usage(cobra.ExactArgs(3)),
		RunE: func(cmd *cobra.Command, args []string) error {
			limit, err := strconv.Atoi(args[2])
			if err != nil {
				return fmt.Errorf("%w: %w", errUsage, err)
			}
			t := tour{store: args[0], files: args[1], limit: limit}
			files, err := t.readFiles()
			if err != nil {
				return err
			}
			return writeUntilKilled(cmd.OutOrStdout(), t.store, files)
		},
	}
}

// writeUntilKilled writes, and prints each write that is acknowledged. It returns at
// the first failure; the process then ends, and the other writers with it.
func writeUntilKilled(out io.Writer, dir string, files map[string][]byte) error {
	s, err := mmapkv.Open(dir, &mmapkv.Options{Sync: fsync.Every(100 * time.Millisecond)})
	if err != nil {
		return err
	}
	defer s.Close()
	var printing sync.Mutex // keeps lines whole
	failures := make(chan error, writers)
	for w, p := range plans(files) {
		go func() {
			for n := 1; ; n++ {
				err := p.step(n).do(s)
				if err == nil {
					printing.Lock()
					_, err = fmt.Fprintln(out, w, n)
					printing.Unlock()
				}
				if err != nil {
					failures <- err
					return
				}
			}
		}()
	}
	return <-failures
}
