package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/mmapkv/mmapkv/mmapkv"
)

func newImport(t *target) *cobra.Command {
	var files, fromWalrus string
	var noCount bool
	cmd := &cobra.Command{
		Use:   "import [FILE]",
		Short: "Import JSON Lines, every file below a directory, or the data of another store",
		Long: `Each line is an object with "key" or "key64" (base64), "value" or "value64", and
optionally "expires" in Unix milliseconds; expired pairs are left out. Without a
FILE, or with -, the lines are read from standard input.

A line {"count":N} is the number of pairs since the previous count. The input must
end with one, as an export does. If it does not, it was truncated: the exit code is
2, although the pairs are imported. For lines from other programs, and for old
exports without a count, use --no-count.

With --files the keys are the paths below the directory. If the store itself is
there, it is left out.

With --walrus the directory is a namespace of the store walrus. All its records are
imported, including those that walrus itself would not find again. Damage is skipped
and listed, and the exit code is then 4. Keys that are in several files are listed
too, since it is not certain which file is newer.`,
		Args: usage(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			withFiles, withWalrus := cmd.Flags().Changed("files"), cmd.Flags().Changed("walrus")
			if (withFiles || withWalrus) && (len(args) > 0 || noCount) || withFiles && withWalrus {
				return fmt.Errorf("%w: give only one of --files, --walrus and FILE, and --no-count only with lines", errUsage)
			}
			dir, err := t.directory()
			if err != nil {
				return err
			}
			if withWalrus {
				return t.importWalrus(cmd, fromWalrus)
			}
			if err := t.checkLines(); err != nil {
				return err
			}
			if withFiles {
				if err := checkTree(files, dir); err != nil {
					return err
				}
				return t.with(nil, func(s *mmapkv.Store) error { return importFiles(cmd, s, files, dir) })
			}
			in, length, err := input(cmd, args)
			if err != nil {
				return err
			}
			defer in.Close()
			progress := newProgress(cmd.ErrOrStderr(), "importing", length).clearOn(os.Interrupt, syscall.SIGTERM)
			imported, expired, err := importLines(func() (*mmapkv.Store, error) { return t.open(nil) }, in, !noCount, progress)
			progress.finish()
			fmt.Fprintf(cmd.ErrOrStderr(), "%d pairs imported, %d had expired\n", imported, expired)
			return err
		},
	}
	cmd.Flags().BoolVar(&noCount, "no-count", false, "accept lines that do not end with a count")
	cmd.Flags().StringVar(&files, "files", "", "import every regular file below this directory")
	cmd.Flags().StringVar(&fromWalrus, "walrus", "", "import this directory, a namespace of the store walrus")
	return cmd
}

// input opens the source of the lines, and returns its size in bytes, -1 if unknown.
func input(cmd *cobra.Command, args []string) (io.ReadCloser, int64, error) {
	if len(args) == 0 || args[0] == "-" {
		return io.NopCloser(cmd.InOrStdin()), -1, nil
	}
	f, err := os.Open(args[0])
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = fmt.Errorf("%w: %s is a directory; --files imports the files below it", errUsage, args[0])
	}
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, info.Size(), nil
}

// checkDirectory refuses a path that is not a directory. Callers check before they
// create a store.
func checkDirectory(path string) error {
	if path == "" {
		return fmt.Errorf("%w: the name of the directory is empty", errUsage)
	}
	info, err := os.Stat(path)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%w: %s is not a directory", errUsage, path)
	}
	return err
}

// checkTree refuses to import a store's own directory into it.
func checkTree(files, store string) error {
	if err := checkDirectory(files); err != nil {
		return err
	}
	tree, err := os.Stat(files)
	if err != nil {
		return err
	}
	if own, err := os.Stat(store); err == nil && os.SameFile(tree, own) {
		return fmt.Errorf("%w: %s is the directory of the store itself", errUsage, files)
	}
	return nil
}

func importFiles(cmd *cobra.Command, s *mmapkv.Store, dir, store string) error {
	own, err := os.Stat(store)
	if err != nil {
		return err
	}
	progress := newProgress(cmd.ErrOrStderr(), "importing", -1).clearOn(os.Interrupt, syscall.SIGTERM)
	b := batcher{store: s}
	skipped, err := eachFile(dir, own, func(key string, content []byte) error {
		progress.add(int64(len(content)))
		return b.put([]byte(key), content)
	})
	if err == nil {
		err = b.flush()
	}
	progress.finish()
	note := ""
	if skipped {
		note = "; the store's own directory is left out"
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "%d files imported%s\n", b.written, note)
	return err
}

// eachFile reads every regular file below a directory, in the order of names. The
// directory itself may be a link, as Go's source tree is on some systems. It skips
// the directory skip, unless that is nil, and reports whether it met it.
func eachFile(dir string, skip fs.FileInfo, use func(key string, content []byte) error) (skipped bool, err error) {
	dir, err = filepath.EvalSymlinks(dir)
	if err != nil {
		return false, err
	}
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && skip != nil {
			info, err := entry.Info()
			if err == nil && os.SameFile(info, skip) {
				skipped, err = true, fs.SkipDir
			}
			return err
		}
		if !entry.Type().IsRegular() {
			return nil
		}
		key, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return use(filepath.ToSlash(key), content)
	})
	return skipped, err
}

// progress is a progress bar on a terminal, and does nothing elsewhere.
type progress struct {
	bar  *progressbar.ProgressBar
	ends chan os.Signal // signals that end the process
}

func isTerminal(out io.Writer) bool {
	f, ok := out.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// newProgress starts a bar that ends at total, -1 if that is not known.
func newProgress(out io.Writer, what string, total int64) *progress {
	if !isTerminal(out) {
		return &progress{}
	}
	return &progress{bar: progressbar.NewOptions64(total, progressbar.OptionSetWriter(out),
		progressbar.OptionSetDescription(what), progressbar.OptionClearOnFinish(), progressbar.OptionThrottle(100_000_000))}
}

// clearOn clears the bar when one of the signals arrives, and then lets the signal
// end the process, as it would without a bar.
func (p *progress) clearOn(signals ...os.Signal) *progress {
	if p.bar == nil {
		return p
	}
	ends := make(chan os.Signal, 1)
	p.ends = ends
	signal.Notify(ends, signals...)
	go func() {
		for s := range ends {
			_ = p.bar.Finish()
			signal.Reset(s)
			if self, err := os.FindProcess(os.Getpid()); err == nil {
				_ = self.Signal(s)
			}
		}
	}()
	return p
}

func (p *progress) add(n int64) {
	if p.bar != nil {
		_ = p.bar.Add64(n) // a bar that cannot be drawn is no reason to stop
	}
}

func (p *progress) set(n int64) {
	if p.bar != nil {
		_ = p.bar.Set64(n)
	}
}

func (p *progress) finish() {
	if p.bar != nil {
		_ = p.bar.Finish()
	}
	if p.ends != nil {
		signal.Stop(p.ends)
		close(p.ends)
		p.ends = nil
	}
}
