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

// errSalvageInterrupted is the error of a salvage that Ctrl-C has ended.
var errSalvageInterrupted = errors.New("interrupted; nothing was salvaged")

func newSalvage(t *target) *cobra.Command {
	var o mmapkv.SalvageOptions
	cmd := &cobra.Command{
		Use:   "salvage FROM TO",
		Short: "Bring what can be read of a damaged store into a new one",
		Long: `Reads the store in the directory FROM, which it does not change, and writes a new
one in TO, a directory that is absent or empty, with every record that validates.
The newest version of a key counts. If that is known and cannot be read, the key is
left out, and listed; --older takes the newest one that can be read.

The report goes to standard output. The exit code is 4 when something is lost.
Ctrl-C ends it with 130, and nothing is salvaged then.
With --dry-run nothing is written, and TO can be left out.`,
		Args: func(cmd *cobra.Command, args []string) error {
			fewest := 2
			if o.DryRun {
				fewest = 1
			}
			return usage(cobra.RangeArgs(fewest, 2))(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if t.dir != "" || t.namespace != "" {
				return fmt.Errorf("%w: salvage takes two directories, and neither --dir nor --namespace", errUsage)
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
	flags.BoolVar(&o.IgnoreManifest, "ignore-manifest", false, "go by the segments alone: the manifest is not theirs")
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

// printSalvage prints a report for a person: what was found, and then what was not.
func printSalvage(out io.Writer, t *target, r mmapkv.SalvageReport, dry bool) error {
	p := printer{out: out}
	verb := "restored"
	if dry {
		verb = "can be restored"
	}
	p.line("%s %s, %s; %d more had been deleted or have expired", keyCount(r.Keys), verb, size(r.Bytes), r.Gone)
	p.line("read %d records in %s, %s", r.Records, segments(r.Files), manifestWord(r.Manifest))
	for _, d := range r.Damages {
		p.line("damaged: %s at %d: %s", d.File, d.Offset, d.Reason)
	}
	for _, name := range r.Unread {
		p.line("not read, does not count: %s", name)
	}
	if r.Discarded > 0 {
		p.line("left out, written behind the end of the log and never acknowledged as safe: %s", size(r.Discarded))
	}
	switch {
	case r.Complete() && r.Manifest:
		p.line("nothing is lost")
		return p.err
	case r.Complete():
		p.line("nothing is known to be lost, but without a manifest a segment that is gone is not missed")
		return p.err
	case r.Unfinished:
		p.line("not here: what the salvage that was to write this directory had still to bring over")
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

// printable is a key as it is printed: as the flags say, and without them quoted,
// since a terminal must not take it for commands.
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
		return "by the manifest"
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
