package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/mmapkv/mmapkv/mmapkv"
)

// errVerifyInterrupted is the error of a verify that Ctrl-C ended.
var errVerifyInterrupted = errors.New("interrupted; part of the store was not read")

func newVerify(t *target) *cobra.Command {
	return &cobra.Command{
		Use:   "verify",
		Short: "Read every record, every hint and the manifest, and list what is damaged",
		Long: `Reads the whole store and changes nothing. It also works on read-only media, and
while another program has the store open. The exit code is 4 if something is
damaged, 0 if nothing is, and 130 if Ctrl-C ended it. If the store was not closed,
anything after the last known sync does not count as damage.`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
			defer stop()
			context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process
			var bar *progress
			report, err := t.verify(ctx, &mmapkv.VerifyOptions{Progress: func(done, total int64) {
				if bar == nil {
					bar = newProgress(cmd.ErrOrStderr(), "verifying", total).clearOn(syscall.SIGTERM)
				}
				bar.set(done)
			}})
			if bar != nil {
				bar.finish()
			}
			if err != nil && ctx.Err() != nil {
				return errVerifyInterrupted
			}
			if err != nil {
				return err
			}
			if t.json {
				err = printJSON(cmd.OutOrStdout(), newVerified(report))
			} else {
				err = t.printReport(cmd.OutOrStdout(), report)
			}
			return errors.Join(report.Err(), err)
		},
	}
}

// verify does not open the store: another process may have it open.
func (t *target) verify(ctx context.Context, o *mmapkv.VerifyOptions) (mmapkv.Report, error) {
	switch {
	case t.dir != "":
		return mmapkv.Verify(ctx, t.dir, o)
	case t.namespace != "":
		return mmapkv.VerifyNamespace(ctx, t.namespace, o)
	}
	return mmapkv.Report{}, errNoStore
}

// printReport prints a table of the damage, what each kind means, the remarks, and
// what was checked.
func (t *target) printReport(out io.Writer, report mmapkv.Report) error {
	w := bufio.NewWriter(out)
	if len(report.Damages) > 0 {
		fmt.Fprintf(w, "%-21s  %12s  %10s  %-15s  %s\n", "file", "offset", "bytes", "damaged", "what is wrong")
	}
	for _, d := range report.Damages {
		fmt.Fprintf(w, "%-21s  %12d  %10s  %-15s  %s%s\n", d.File, d.Offset, known(d.Size), d.Kind, d.Reason, t.ofKey(d.Key))
	}
	if report.Omitted > 0 {
		fmt.Fprintf(w, "and %d more\n", report.Omitted)
	}
	var told []mmapkv.DamageKind
	for _, d := range report.Damages {
		if !slices.Contains(told, d.Kind) {
			told = append(told, d.Kind)
			fmt.Fprintf(w, "%s: %s\n", d.Kind, d.Meaning())
		}
	}
	for _, remark := range report.Remarks {
		fmt.Fprintf(w, "note: %s: %s\n", remark.File, remark.What)
	}
	fmt.Fprintf(w, "%s, %d records and %d hints were read, %s: %s\n", segments(report.Segments), report.Records, report.Hints,
		size(report.Bytes), verdict(len(report.Damages)+report.Omitted))
	return w.Flush()
}

// known formats a size; 0 stands for one that is not known.
func known(bytes int64) string {
	if bytes == 0 {
		return "-"
	}
	return strconv.FormatInt(bytes, 10)
}

func (t *target) ofKey(key []byte) string {
	switch {
	case key == nil:
		return ""
	case t.hex || t.base64:
		return "; key " + string(t.encode(key))
	}
	return "; key " + strconv.Quote(string(key))
}

func verdict(damages int) string {
	switch damages {
	case 0:
		return "nothing is damaged"
	case 1:
		return "1 place is damaged"
	}
	return fmt.Sprintf("%d places are damaged", damages)
}

// verified is a report as JSON.
type verified struct {
	Segments int      `json:"segments"`
	Records  int      `json:"records"`
	Hints    int      `json:"hints"`
	Bytes    int64    `json:"bytes"`
	Clean    bool     `json:"clean"`
	Damages  []damage `json:"damages"`
	Omitted  int      `json:"omitted,omitempty"`
	Remarks  []remark `json:"remarks,omitempty"`
}

type damage struct {
	Kind    mmapkv.DamageKind `json:"kind"`
	File    string            `json:"file"`
	Offset  int64             `json:"offset"`
	Size    int64             `json:"size,omitempty"`
	line                      // the key, as in an export
	Reason  string            `json:"reason"`
	Meaning string            `json:"meaning"`
}

type remark struct {
	File string `json:"file"`
	What string `json:"what"`
}

func newVerified(report mmapkv.Report) verified {
	v := verified{
		Segments: report.Segments, Records: report.Records, Hints: report.Hints, Bytes: report.Bytes, Clean: report.Clean,
		Damages: []damage{}, Omitted: report.Omitted,
	}
	for _, d := range report.Damages {
		one := damage{Kind: d.Kind, File: d.File, Offset: d.Offset, Size: d.Size, Reason: d.Reason, Meaning: d.Meaning()}
		if d.Key != nil {
			one.line = keyLine(d.Key)
		}
		v.Damages = append(v.Damages, one)
	}
	for _, r := range report.Remarks {
		v.Remarks = append(v.Remarks, remark{r.File, r.What})
	}
	return v
}
