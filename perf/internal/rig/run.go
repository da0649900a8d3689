// Package rig is what the measurements share: how a command runs and ends, the data
// that it writes, sizes in bytes, and how much the process and its files take.
package rig

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
)

// Exit codes of a measurement.
const (
	exitOK = iota
	exitFailed
	exitUsage
)

// ErrLimit is the error of a measurement whose figures break a limit.
var ErrLimit = errors.New("a limit is broken")

// ErrUsage is the error of a bad command line.
var ErrUsage = errors.New("usage")

// Main runs a command and ends the process. An interrupt ends the command's context,
// so that the command removes its files.
func Main(command func(ctx context.Context, arguments []string, out io.Writer) error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command(ctx, os.Args[1:], os.Stdout)
	stop()
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		os.Exit(exitOK)
	case errors.Is(err, ErrUsage):
		fmt.Fprintln(os.Stderr, err)
		os.Exit(exitUsage)
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(exitFailed)
}

// Parse parses a command's flags, and prints their help to out if asked to. Other
// arguments are an error.
func Parse(flags *flag.FlagSet, arguments []string, out io.Writer) error {
	flags.SetOutput(io.Discard) // an error is printed once, at the end
	err := flags.Parse(arguments)
	switch {
	case errors.Is(err, flag.ErrHelp):
		flags.SetOutput(out)
		flags.Usage()
		return err
	case err == nil && flags.NArg() > 0:
		err = fmt.Errorf("%q is not a flag", flags.Arg(0))
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUsage, err)
	}
	return nil
}

// InFreshDir calls fn with a new directory in parent, "" for the system's temporary
// directory, and removes it afterwards.
func InFreshDir(parent string, fn func(dir string) error) (err error) {
	dir, err := os.MkdirTemp(parent, "mmapkv-perf-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	return fn(dir)
}

// Setting is a line of what figures depend on besides the flags.
func Setting(dir string) string {
	return fmt.Sprintf("%s, %d processors, GOMAXPROCS %d, GOGC=%s, GOMEMLIMIT=%s, in %s", runtime.Version(),
		runtime.NumCPU(), runtime.GOMAXPROCS(0), environment("GOGC"), environment("GOMEMLIMIT"), dir)
}

func environment(name string) string {
	if value, set := os.LookupEnv(name); set {
		return value
	}
	return "(unset)"
}

// Limits prints figures with their limits and remembers which limits are broken.
type Limits struct {
	Out    io.Writer
	broken []string
}

// AtMost reports a figure that must not exceed the limit.
func (l *Limits) AtMost(what string, figure, limit float64) {
	l.report(what, figure, "at most", limit, figure <= limit)
}

// AtLeast reports a figure that must reach the limit.
func (l *Limits) AtLeast(what string, figure, limit float64) {
	l.report(what, figure, "at least", limit, figure >= limit)
}

// report prints a figure and whether it keeps its limit; NaN never does.
func (l *Limits) report(what string, figure float64, bound string, limit float64, kept bool) {
	verdict := "ok"
	if !kept {
		verdict = "BROKEN"
		l.broken = append(l.broken, what)
	}
	fmt.Fprintf(l.Out, "%-58s %7.3f  %s %.3f  %s\n", what, figure, bound, limit, verdict)
}

// Err wraps ErrLimit if a limit is broken.
func (l *Limits) Err() error {
	if len(l.broken) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrLimit, strings.Join(l.broken, "; "))
}
