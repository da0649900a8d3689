package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/mmapkv/mmapkv/mmapkv"
)

// errSalvageInterrupted is the error of a salvage that Ctrl-C ended.
var errSalvageInterrupted = errors.New("interrupted; nothing was salvaged")

func newSalvage(t *target) *cobra.Command {
	var o mmapkv.SalvageOptions
	cmd := &cobra.Command{
		Use:   "salvage FROM TO",
		Short: "Copy what can be read of a damaged store into a new one",
		Long: `Reads every record of the store in the directory FROM that validates, and writes the
newest version of each key to a new store in TO, a directory that is absent or
empty. It does not change FROM. If it finds that the newest version of a key cannot
be read, it leaves the key out and lists it; with --older it takes the newest
version that can be read.

The report goes to standard output. The exit code is 4 if something is lost. Ctrl-C
ends it with 130; nothing is salvaged then. With --dry-run nothing is written, and
TO can be left out.`,
		Args: func(cmd *cobra.Command, args []string) error {
			minArgs := 2
			if o.DryRun {
				minArgs = 1
			}
			return usage(cobra.RangeArgs(minArgs, 2))(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if t.dir != "" || t.namespace != "" {
				return fmt.Errorf("%w: salvage takes two directories, not --dir or --namespace", errUsage)
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
			defer stop()
			context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process
			report, err := salvage(ctx, cmd.ErrOrStderr(), args, o)
			if err != nil {
				return err
			}
			if t.json {
				err = printJSON(cmd.OutOrStdout(), report)
			} else {
				err = printSalvage(cmd.OutOrStdout(), t, report, o.DryRun)
			}
			if !report.Complete() {
				err = errors.Join(err, fmt.Errorf("%w: not all of it could be salvaged", mmapkv.ErrCorrupt))
			}
			return err
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&o.DryRun, "dry-run", false, "only report")
	flags.BoolVar(&o.OlderVersions, "older", false, "restore the newest readable value of a key whose newest value is damaged")
	flags.BoolVar(&o.IgnoreManifest, "ignore-manifest", false, "use the segments alone: the manifest belongs to another store")
	return cmd
}

func salvage(ctx context.Context, stderr io.Writer, args []string, o mmapkv.SalvageOptions) (mmapkv.SalvageReport, error) {
	var bar *progress
	o.Progress = func(done, total int64) {
		if bar == nil {
			bar = newProgress(stderr, "salvaging", total).clearOn(syscall.SIGTERM)
		}
		bar.set(done)
	}
	to := ""
	if len(args) > 1 {
		to = args[1]
	}
	report, err := mmapkv.Salvage(ctx, args[0], to, &o)
	if bar != nil {
		bar.finish()
	}
	if err != nil && ctx.Err() != nil {
		err = errSalvageInterrupted
	}
	return report, err
}

// printSalvage prints a readable report: first what was found, then what was lost.
func printSalvage(out io.Writer, t *target, r mmapkv.SalvageReport, dry bool) error {
	p := printer{out: out}
	verb := "restored"
	if dry {
		verb = "can be restored"
	}
	p.line("%s %s, %s; %d more deleted or expired", keyCount(r.Keys), verb, size(r.Bytes), r.Gone)
	p.line("read %d records in %s, %s", r.Records, segments(r.Files), manifestWord(r.Manifest))
	for _, d := range r.Damages {
		p.line("damaged: %s at %d: %s", d.File, d.Offset, d.Reason)
	}
	for _, name := range r.Unread {
		p.line("not read, not part of the store: %s", name)
	}
	if r.Discarded > 0 {
		p.line("left out, written after the end of the log and never acknowledged as durable: %s", size(r.Discarded))
	}
	switch {
	case r.Complete() && r.Manifest:
		p.line("nothing is lost")
		return p.err
	case r.Complete():
		p.line("nothing is known to be lost, but without a manifest a missing segment goes unnoticed")
		return p.err
	case r.Unfinished:
		p.line("not here: what an unfinished salvage into this directory had not copied yet")
	}
	p.line("lost: %s, %s unreadable in %d places, %s missing", keyCount(r.KeysLost), size(r.BytesLost), r.RangesLost, segments(len(r.Missing)))
	for _, name := range r.Missing {
		p.line("missing: %s", name)
	}
	for _, l := range r.LostRanges {
		p.line("unreadable: %s at %d, %d bytes: %s", l.File, l.Offset, l.Size, l.Reason)
	}
	for _, k := range r.LostKeys {
		older := ""
		if k.Older != 0 {
			older = fmt.Sprintf(", restored as of %d", k.Older)
		}
		p.line("lost key: %s, number %d, %s at %d%s", printable(t, k.Key), k.Seq, k.File, k.Offset, older)
	}
	return p.err
}

// printable formats a key as the flags say, or else quoted, so that a terminal does
// not interpret it.
func printable(t *target, key []byte) string {
	if t.hex || t.base64 {
		return string(t.encode(key))
	}
	return strconv.Quote(string(key))
}

func keyCount(n int) string {
	if n == 1 {
		return "1 key"
	}
	return fmt.Sprintf("%d keys", n)
}

func manifestWord(readable bool) string {
	if readable {
		return "with the manifest"
	}
	return "without a manifest"
}

// printer prints lines until one fails.
type printer struct {
	out io.Writer
	err error
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.out, format+"\n", args...)
	}
}
