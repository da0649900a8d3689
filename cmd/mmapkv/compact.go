package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"time"

	"github.com/spf13/cobra"

	"github.com/mmapkv/mmapkv/mmapkv"
)

// compacted is what compact tells.
type compacted struct {
	FilesBefore int   `json:"filesBefore"`
	FilesAfter  int   `json:"filesAfter"`
	BytesBefore int64 `json:"bytesBefore"`
	BytesAfter  int64 `json:"bytesAfter"`
	Read        int64 `json:"read"`
	Wrote       int64 `json:"wrote"`
	Millis      int64 `json:"millis"`
}

func newCompact(t *target) *cobra.Command {
	return &cobra.Command{
		Use:   "compact",
		Short: "Give back the room of what was overwritten, was deleted or has expired",
		Long: `Rewrites every segment that holds garbage. Interrupted, it ends cleanly with what
it has done so far. A damaged segment is left as it is, and named; the exit code
is then 4, though the others are compacted.`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var bar *progress
			o := &mmapkv.Options{Compaction: mmapkv.Compaction{Disabled: true}}
			o.Events.CompactionEnded = func(e mmapkv.CompactionEnded) { bar.add(e.BytesIn) }
			return t.with(o, func(s *mmapkv.Store) error {
				before := s.Stats()
				bar = newProgress(cmd.ErrOrStderr(), "compacting", before.LiveBytes+before.DeadBytes)
				ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
				defer stop()
				done, err := compact(ctx, s)
				bar.finish()
				if err != nil {
					return err
				}
				if t.json {
					return printJSON(cmd.OutOrStdout(), done)
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d files of %s were %d files of %s; read %s and wrote %s in %v\n",
					done.FilesAfter, size(done.BytesAfter), done.FilesBefore, size(done.BytesBefore),
					size(done.Read), size(done.Wrote), time.Duration(done.Millis)*time.Millisecond)
				return err
			})
		},
	}
}

func compact(ctx context.Context, s *mmapkv.Store) (compacted, error) {
	began, before := time.Now(), s.Stats()
	err := s.Compact(ctx)
	after := s.Stats()
	return compacted{
		FilesBefore: len(before.Segments), FilesAfter: len(after.Segments),
		BytesBefore: before.DiskBytes, BytesAfter: after.DiskBytes,
		Read: after.Compaction.BytesIn, Wrote: after.Compaction.BytesOut,
		Millis: time.Since(began).Milliseconds(),
	}, err
}
