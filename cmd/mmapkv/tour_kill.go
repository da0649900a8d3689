package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/mmapkv"
)

// writers is how many goroutines write in the child that is killed.
const writers = 4

// withAKill has a child process write, kills it in the middle, opens the store
// and checks what is there against what the child had acknowledged.
func (t *tour) withAKill() error {
	content, err := t.readFiles() // as the child reads them
	if err != nil {
		return err
	}
	acknowledged, err := t.killedChild()
	if err != nil {
		return err
	}
	s, err := mmapkv.Open(t.store, nil)
	if err != nil {
		return err
	}
	defer s.Close()
	total := 0
	for _, n := range acknowledged {
		total += n
	}
	if total == 0 {
		return errors.New("tour: the child was killed before it had acknowledged a write")
	}
	t.say("\nKilled       a process with %d writers by SIGKILL, after %d acknowledged writes", writers, total)
	extra := 0
	plan := slices.Sorted(maps.Keys(content))
	for w, n := range acknowledged {
		more, err := checkWriter(s, plan, content, w, n)
		if err != nil {
			return err
		}
		extra += more
	}
	recovery := s.Stats().Recovery
	t.say("Opened again in %v: %d records scanned, %d made durable, %s of torn end cut", recovery.Duration.Round(10*time.Microsecond),
		recovery.RecordsScanned, recovery.RecordsRecovered, size(recovery.BytesDiscarded))
	t.say("Checked      every acknowledged write is there; of the %d in flight %d are, whole", writers, extra)
	return s.Close()
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
	acknowledged := make([]int, writers)
	lines := bufio.NewReader(out)
	var killer *time.Timer
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			break // the last line may be cut
		}
		if killer == nil {
			killer = time.AfterFunc(t.kill, func() { _ = child.Process.Kill() })
			defer killer.Stop()
		}
		var w, n int
		if _, err := fmt.Sscanf(line, "%d %d", &w, &n); err != nil || w < 0 || w >= writers {
			return nil, fmt.Errorf("tour: the child says %q", line)
		}
		acknowledged[w] = n
	}
	if err := child.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		return nil, fmt.Errorf("tour: the child was not killed, it ended with %v: %s", err, complaints.String())
	}
	return acknowledged, nil
}

// The n-th write, from 1, of a writer: of every three, two put a file's content
// with the number in front and the third deletes what the first of them put.
func planned(plan []string, content map[string][]byte, writer, n int) (key, value []byte, isDelete bool) {
	if n%3 == 0 {
		key, _, _ = planned(plan, content, writer, n-2)
		return key, nil, true
	}
	name := plan[(writer+n*writers)%len(plan)]
	key = fmt.Appendf(nil, "writer %d, number %d: %s", writer, n, name)
	return key, append(fmt.Appendf(nil, "%d %d\n", writer, n), content[name]...), false
}

// checkWriter checks one writer's writes: those up to n were acknowledged, the
// next one may be there, whole, and none behind it. It returns 1 if it is.
func checkWriter(s *mmapkv.Store, plan []string, content map[string][]byte, writer, n int) (inFlight int, err error) {
	for i := 1; i <= n+2; i++ {
		key, value, isDelete := planned(plan, content, writer, i)
		if isDelete {
			continue // seen at the write that it takes back
		}
		got, err := s.Get(key)
		there := err == nil
		if err != nil && !errors.Is(err, mmapkv.ErrNotFound) {
			return 0, fmt.Errorf("tour: reading %q: %w", key, err)
		}
		deletedAt := 0 // the number of the write that deletes this one
		if i%3 == 1 {
			deletedAt = i + 2
		}
		switch {
		case there && !bytes.Equal(got, value):
			return 0, fmt.Errorf("tour: %q has a value that was not written to it, %d bytes and not %d", key, len(got), len(value))
		case there && i > n+1:
			return 0, fmt.Errorf("tour: %q is there, though %d was the last write acknowledged", key, n)
		case there && deletedAt != 0 && deletedAt <= n:
			return 0, fmt.Errorf("tour: %q is there, and was deleted", key)
		case !there && i <= n && (deletedAt == 0 || deletedAt > n+1):
			return 0, fmt.Errorf("tour: %q was acknowledged and is not there", key)
		case there && i == n+1, !there && i <= n && deletedAt == n+1:
			inFlight = 1
		}
	}
	return inFlight, nil
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
			content, err := t.readFiles()
			if err != nil {
				return err
			}
			return writeUntilKilled(cmd.OutOrStdout(), t.store, content)
		},
	}
}

// writeUntilKilled writes and says on the output what is acknowledged.
func writeUntilKilled(out io.Writer, dir string, content map[string][]byte) error {
	s, err := mmapkv.Open(dir, &mmapkv.Options{Sync: fsync.Every(100 * time.Millisecond)})
	if err != nil {
		return err
	}
	defer s.Close()
	plan := slices.Sorted(maps.Keys(content))
	var running sync.WaitGroup
	var printing sync.Mutex // lines are whole
	failures := make(chan error, writers)
	for w := range writers {
		running.Go(func() {
			for n := 1; ; n++ {
				key, value, isDelete := planned(plan, content, w, n)
				var err error
				if isDelete {
					err = s.Delete(key)
				} else {
					err = s.Put(key, value)
				}
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
		})
	}
	running.Wait()
	close(failures)
	return <-failures
}
