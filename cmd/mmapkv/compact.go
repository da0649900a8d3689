package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/mmapkv/mmapkv/mmapkv"
)

// errInterrupted is the error of a compaction that Ctrl-C ended.
var errInterrupted = errors.New("interrupted; compacted segments stay compacted, the rest is unchanged")

func newCompact(t *target) *cobra.Command {
	return &cobra.Command{
		Use:   "compact",
		Short: "Free the space of records that were overwritten, were deleted or have expired",
		Long: `Rewrites every segment with enough garbage to be worth it. Ctrl-C ends it cleanly
and keeps what is done so far; the exit code is then 130. It leaves a damaged
segment as it is, and names it; the exit code is then 4, and the other segments are
still compacted.`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var bar compactBar
			o := brief()
			o.Events.CompactionEnded = func(e mmapkv.CompactionEnded) { bar.ended(e) }
			return t.existing(o, func(s *mmapkv.Store) error {
				ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
				defer stop()
				context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process
				if err := ready(ctx, s); err != nil && ctx.Err() == nil {
					return err
				}
				bar = newCompactBar(cmd.ErrOrStderr(), s.Stats().Segments)
				done, err := compact(ctx, s)
				bar.finish()
				if t.json {
					return errors.Join(err, printJSON(cmd.OutOrStdout(), done))
				}
				_, printErr := fmt.Fprintln(cmd.OutOrStdout(), done)
				return errors.Join(err, printErr)
			})
		},
	}
}

// compacted is the outcome of a compaction. Files are segments; bytes are those on
// disk, hints included.
type compacted struct {
	FilesBefore int      `json:"filesBefore"`
	FilesAfter  int      `json:"filesAfter"`
	BytesBefore int64    `json:"bytesBefore"`
	BytesAfter  int64    `json:"bytesAfter"`
	Read        int64    `json:"read"`
	Wrote       int64    `json:"wrote"`
	Millis      int64    `json:"millis"`
	Damaged     []string `json:"damaged,omitempty"` // files that were left as they are
}

// compact returns what it did even if it failed. Damage that was found is an error
// even if there was nothing to compact.
func compact(ctx context.Context, s *mmapkv.Store) (compacted, error) {
	began, before := time.Now(), s.Stats()
	err := s.Compact(ctx)
	took, after := time.Since(began), s.Stats()
	if err != nil && ctx.Err() != nil {
		err = errInterrupted
	}
	if !errors.Is(err, mmapkv.ErrCorrupt) {
		for _, damage := range after.Recovery.Damages {
			err = errors.Join(err, &damage)
		}
	}
	done := compacted{
		FilesBefore: len(before.Segments), FilesAfter: len(after.Segments),
		BytesBefore: before.DiskBytes, BytesAfter: after.DiskBytes,
		Read: after.Compaction.BytesIn, Wrote: after.Compaction.BytesOut,
		Millis: took.Milliseconds(),
	}
	for _, one := range after.Segments {
		if one.Damaged {
			done.Damaged = append(done.Damaged, one.File)
		}
	}
	return done, err
}

func (c compacted) String() string {
	after := fmt.Sprintf("%s in %s", size(c.BytesAfter), segments(c.FilesAfter))
	if c.FilesBefore == c.FilesAfter && c.BytesBefore == c.BytesAfter {
		return "Freed nothing: the store takes " + after
	}
	return fmt.Sprintf("Freed %s: from %s in %s to %s; read %s and wrote %s in %v",
		size(max(c.BytesBefore-c.BytesAfter, 0)), size(c.BytesBefore), segments(c.FilesBefore), after,
		size(c.Read), size(c.Wrote), time.Duration(c.Millis)*time.Millisecond)
}

func segments(n int) string {
	if n == 1 {
		return "1 segment"
	}
	return fmt.Sprintf("%d segments", n)
}

// compactBar shows how far compaction has got through the log.
type compactBar struct {
	*progress
	through map[string]int64 // bytes of the log up to the end of each file
}

func newCompactBar(out io.Writer, log []mmapkv.SegmentStats) compactBar {
	var total int64
	through := map[string]int64{}
	for _, one := range log {
		total += one.LiveBytes + one.DeadBytes
		through[one.File] = total
	}
	return compactBar{newProgress(out, "compacting", total).clearOn(syscall.SIGTERM), through}
}

// ended moves the bar to the end of a compaction's files. Compactions go from the
// oldest file to the newest, and skip files without garbage.
func (b *compactBar) ended(e mmapkv.CompactionEnded) {
	if through, ok := b.through[e.Files[len(e.Files)-1]]; ok {
		b.set(through)
	}
}
