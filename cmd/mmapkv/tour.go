package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/klauspost/cpuid/v2"
	"github.com/spf13/cobra"

	"github.com/mmapkv/mmapkv/mmapkv"
)

// tour shows the store at work on real files and checks everything it shows.
type tour struct {
	out   io.Writer
	files string // directory of the files
	store string // directory of the store
	limit int    // of files; 0: all
	kill  time.Duration
}

func newTour() *cobra.Command {
	t := tour{}
	keep := false
	cmd := &cobra.Command{
		Use:   "tour",
		Short: "Run the store on real files, and kill a process in the middle",
		Args:  usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			t.out = cmd.OutOrStdout()
			if t.limit < 0 || t.kill <= 0 {
				return fmt.Errorf("%w: --limit is %d and --kill-after is %v; the limit must not be negative, and the time must be positive", errUsage, t.limit, t.kill)
			}
			if t.files == "" {
				if t.files, err = goSource(); err != nil {
					return err
				}
			}
			if err := checkDirectory(t.files); err != nil {
				return err
			}
			if t.store, err = os.MkdirTemp("", "mmapkv-tour-"); err != nil {
				return err
			}
			if keep {
				defer t.say("The store is kept in %s", t.store)
			} else {
				defer func() { err = errors.Join(err, os.RemoveAll(t.store)) }()
			}
			return t.run()
		},
	}
	cmd.Flags().StringVar(&t.files, "files", "", "directory of the files to load (default: the Go installation's source tree)")
	cmd.Flags().IntVar(&t.limit, "limit", 0, "load at most this many files; 0: all")
	cmd.Flags().DurationVar(&t.kill, "kill-after", 400*time.Millisecond, "how long the child writes before it is killed")
	cmd.Flags().BoolVar(&keep, "keep", false, "keep the store")
	return cmd
}

// goSource is where the Go installation keeps its source tree.
func goSource() (string, error) {
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("finding Go's source tree (--files names another): %w", err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "src"), nil
}

func (t *tour) say(format string, args ...any) { fmt.Fprintf(t.out, format+"\n", args...) }

func (t *tour) run() error {
	t.say("%s, %d cores, %s", cpuid.CPU.BrandName, runtime.NumCPU(), runtime.Version())
	t.say("Files from %s, store in %s\n", t.files, t.store)
	files, err := t.readFiles()
	if err != nil {
		return err
	}
	want := maps.Clone(files)
	if err := t.inOneProcess(want); err != nil {
		return err
	}
	if err := t.withAKill(files, want); err != nil {
		return err
	}
	t.say("\nEvery check passed.")
	return nil
}

// errEnough stops the reading of files at the limit.
var errEnough = errors.New("enough files")

func (t *tour) readFiles() (map[string][]byte, error) {
	content := map[string][]byte{}
	_, err := eachFile(t.files, nil, func(key string, data []byte) error {
		if t.limit > 0 && len(content) == t.limit {
			return errEnough
		}
		content[key] = data
		return nil
	})
	if err != nil && err != errEnough {
		return nil, err
	}
	if len(content) == 0 {
		return nil, fmt.Errorf("%w: there is no file below %s", errUsage, t.files)
	}
	return content, nil
}

// inOneProcess loads the content, reads it back, changes it, and opens the store
// again. It updates content to what the store then holds.
func (t *tour) inOneProcess(content map[string][]byte) error {
	s, err := mmapkv.Open(t.store, nil)
	if err != nil {
		return err
	}
	defer s.Close()
	var total int64
	took, err := timed(func() error {
		for key, data := range content {
			total += int64(len(data))
			if err := s.Put([]byte(key), data); err != nil {
				return err
			}
		}
		return s.Sync()
	})
	if err != nil {
		return err
	}
	t.say("Loaded       %6d files, %s, synced          %s", len(content), size(total), rate(len(content), total, took))

	took, err = timed(func() error { return compare(s, content) })
	if err != nil {
		return err
	}
	t.say("Read back    %6d files, each equal to its file  %s", len(content), rate(len(content), total, took))

	changed := 0
	took, err = timed(func() error {
		changed, err = change(s, content)
		return err
	})
	if err != nil {
		return err
	}
	t.say("Changed      %6d keys: a tenth overwritten, a tenth deleted  %s", changed, rate(changed, 0, took))
	if err := s.Close(); err != nil {
		return err
	}

	s, err = mmapkv.Open(t.store, nil)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := compare(s, content); err != nil {
		return err
	}
	if err := s.Ready(context.Background()); err != nil {
		return err
	}
	stats := s.Stats()
	t.say("Opened again %6d keys in %v, all as they were left; index %s, %d segments",
		stats.Keys, stats.Recovery.Duration.Round(10*time.Microsecond), size(stats.IndexBytes), len(stats.Segments))
	return s.Close()
}

// change overwrites a tenth of the keys and deletes another.
func change(s *mmapkv.Store, content map[string][]byte) (changed int, err error) {
	i := 0
	for key, data := range content {
		switch i++; i % 10 {
		case 0:
			content[key] = append([]byte("overwritten\n"), data...)
			err = s.Put([]byte(key), content[key])
		case 1:
			delete(content, key)
			err = s.Delete([]byte(key))
		default:
			continue
		}
		if err != nil {
			return changed, err
		}
		changed++
	}
	return changed, nil
}

// errCheck is the error of a failed check: the store does not hold what it should.
var errCheck = errors.New("the store fails a check of the tour")

// compare checks that the store holds the content and nothing else.
func compare(s *mmapkv.Store, content map[string][]byte) error {
	for key, data := range content {
		err := s.View([]byte(key), func(value []byte) error {
			if !bytes.Equal(value, data) {
				return fmt.Errorf("a value of %d bytes, not the %d bytes that were written", len(value), len(data))
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("%w: reading %q: %w", errCheck, key, err)
		}
	}
	if s.Len() != len(content) {
		return fmt.Errorf("%w: it has %d keys, not %d", errCheck, s.Len(), len(content))
	}
	return nil
}

func timed(do func() error) (time.Duration, error) {
	began := time.Now()
	err := do()
	return time.Since(began), err
}

// rate formats how long something took and how fast that was.
func rate(n int, bytes int64, took time.Duration) string {
	text := fmt.Sprintf("%8v  %9.0f/s", took.Round(time.Millisecond), float64(n)/took.Seconds())
	if bytes > 0 {
		text += fmt.Sprintf("  %s/s", size(int64(float64(bytes)/took.Seconds())))
	}
	return text
}
