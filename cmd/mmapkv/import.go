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
		Short: "Put JSON Lines, every file below a directory, or another store's data into the store",
		Long: `Each line is an object with "key" or "key64" (base64), "value" or "value64", and
optionally "expires" in Unix milliseconds; what has expired is left out. Without
a FILE, or with -, the lines are read from standard input.

A line {"count":N} says how many pairs stand before it, from the count before on.
The input ends with one, as export's does, or it was cut: the exit code is then 2,
though the pairs are imported. Lines from elsewhere, and from exports that knew no
count, are taken with --no-count.

With --files the keys are the paths below the directory. The store itself is left
out when it lies there.

With --walrus the directory is a namespace of the store walrus. All its records
are brought over, also those that it would not find again itself; what is damaged
is passed over and named, and the exit code is 4 then. Keys that are in several
files are named, since their order is not certain.`,
		Args: usage(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			withFiles, withWalrus := cmd.Flags().Changed("files"), cmd.Flags().Changed("walrus")
			if (withFiles || withWalrus) && (len(args) > 0 || noCount) || withFiles && withWalrus {
				return fmt.Errorf("%w: give either --files or --walrus or a FILE, and --no-count only with lines", errUsage)
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
	cmd.Flags().BoolVar(&noCount, "no-count", false, "take lines that do not end with a count")
	cmd.Flags().StringVar(&files, "files", "", "import every regular file below this directory")
	cmd.Flags().StringVar(&fromWalrus, "walrus", "", "import a namespace of walrus, which is this directory")
	return cmd
}

// input is where the lines come from, and how many bytes, -1 when not known.
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
		err = fmt.Errorf("%w: %s is a directory; --files imports what is below one", errUsage, args[0])
	}
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, info.Size(), nil
}

// checkDirectory refuses what is not a directory before a store is made for it.
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
	left, err := eachFile(dir, own, func(key string, content []byte) error {
		progress.add(int64(len(content)))
		return b.put([]byte(key), content)
	})
	if err == nil {
		err = b.flush()
	}
	progress.finish()
	note := ""
	if left {
		note = "; the store's own directory is left out"
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "%d files imported%s\n", b.written, note)
	return err
}

// eachFile reads every regular file below a directory, in the order of names. The
// directory itself may be a link, as Go's source tree is on some systems. It leaves
// one directory out, unless that is nil, and says whether it came by.
func eachFile(dir string, without fs.FileInfo, use func(key string, content []byte) error) (left bool, err error) {
	dir, err = filepath.EvalSymlinks(dir)
	if err != nil {
		return false, err
	}
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && without != nil {
			info, err := entry.Info()
			if err == nil && os.SameFile(info, without) {
				left, err = true, fs.SkipDir
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
	return left, err
}

// progress is a bar on a terminal, and nothing elsewhere.
type progress struct {
	bar  *progressbar.ProgressBar
	ends chan os.Signal // signals that end the process
}

// newProgress starts a bar that ends at total, -1 when that is not known.
func newProgress(out io.Writer, what string, total int64) *progress {
	f, ok := out.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return &progress{}
	}
	return &progress{bar: progressbar.NewOptions64(total, progressbar.OptionSetWriter(out),
		progressbar.OptionSetDescription(what), progressbar.OptionClearOnFinish(), progressbar.OptionThrottle(100_000_000))}
}

// clearOn has the bar cleared before one of the signals ends the process, which it
// does without a bar too.
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
