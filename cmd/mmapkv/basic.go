package main

import (
	"bufio"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/mmapkv/mmapkv/mmapkv"
)

func newPut(t *target) *cobra.Command {
	var ttl time.Duration
	var ifAbsent bool
	cmd := &cobra.Command{
		Use:   "put KEY VALUE",
		Short: "Set a key's value; - reads the value from standard input",
		Args:  usage(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			key, err := t.decode(args[0])
			if err != nil {
				return err
			}
			withTTL := cmd.Flags().Changed("ttl")
			if withTTL && ttl <= 0 {
				return fmt.Errorf("%w: --ttl is %v; it must be positive", errUsage, ttl)
			}
			value, err := t.value(args[1], cmd.InOrStdin())
			if err == nil {
				err = checkSizes(key, value)
			}
			if err != nil {
				return err
			}
			return t.with(fewKeys(), func(s *mmapkv.Store) error {
				switch {
				case ifAbsent && withTTL:
					stored, err := s.PutIfAbsentWithTTL(key, value, ttl)
					return held(stored, err, "the key has a value")
				case ifAbsent:
					stored, err := s.PutIfAbsent(key, value)
					return held(stored, err, "the key has a value")
				case withTTL:
					return s.PutWithTTL(key, value, ttl)
				}
				return s.Put(key, value)
			})
		},
	}
	cmd.Flags().BoolVar(&ifAbsent, "if-absent", false, "only if the key has no value; else exit with 1")
	cmd.Flags().DurationVar(&ttl, "ttl", 0, "how long the value lives, such as 90s or 24h")
	return cmd
}

// checkSizes returns the store's error for a pair that is too large.
func checkSizes(key, value []byte) error {
	if len(key) > mmapkv.MaxKeySize || uint64(len(value)) > mmapkv.MaxValueSize {
		return fmt.Errorf("%w: a key of %d and a value of %d bytes", mmapkv.ErrTooLarge, len(key), len(value))
	}
	return nil
}

// value returns the value that an argument stands for; "-" stands for all of the
// input, not decoded.
func (t *target) value(argument string, stdin io.Reader) ([]byte, error) {
	if argument == "-" {
		return io.ReadAll(stdin)
	}
	return t.decode(argument)
}

func newGet(t *target) *cobra.Command {
	return &cobra.Command{
		Use:   "get KEY",
		Short: "Print a key's value",
		Args:  usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			key, err := t.decode(args[0])
			if err != nil {
				return err
			}
			return t.look(func(s *mmapkv.Store) error {
				value, err := s.Get(key)
				if err != nil {
					return err
				}
				if t.json {
					line, err := newLine(s, key, value)
					if err != nil {
						return err
					}
					return printJSON(cmd.OutOrStdout(), line)
				}
				_, err = cmd.OutOrStdout().Write(t.encode(value))
				return err
			})
		},
	}
}

func newDel(t *target) *cobra.Command {
	var prefix string
	withPrefix := func(cmd *cobra.Command) bool { return cmd.Flags().Changed("prefix") }
	cmd := &cobra.Command{
		Use:   "del KEY...",
		Short: "Delete keys, all or none; absent keys are not an error",
		Long: `Deletes keys, all or none. With --prefix it deletes all keys that begin with that, one
batch after the other: if it is interrupted, some of them are gone.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if !withPrefix(cmd) {
				return usage(cobra.MinimumNArgs(1))(cmd, args)
			}
			if len(args) > 0 {
				return fmt.Errorf("%w: give either keys or --prefix; see %s --help", errUsage, cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if withPrefix(cmd) {
				return t.deletePrefix(cmd.Context(), prefix)
			}
			var batch mmapkv.Batch
			for _, arg := range args {
				key, err := t.decode(arg)
				if err != nil {
					return err
				}
				batch.Delete(key)
			}
			return t.existing(fewKeys(), func(s *mmapkv.Store) error { return s.Write(&batch) })
		},
	}
	cmd.Flags().StringVar(&prefix, "prefix", "", "delete all keys that begin with this")
	return cmd
}

func newHas(t *target) *cobra.Command {
	return &cobra.Command{
		Use:   "has KEY",
		Short: "Exit with 0 if the key has a value, with 1 if not",
		Args:  usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			key, err := t.decode(args[0])
			if err != nil {
				return err
			}
			return t.look(func(s *mmapkv.Store) error {
				has, err := s.Has(key)
				if err == nil && t.json {
					err = printJSON(cmd.OutOrStdout(), map[string]bool{"has": has})
				}
				if err == nil && !has {
					err = mmapkv.ErrNotFound
				}
				return err
			})
		},
	}
}

func newInfo(t *target) *cobra.Command {
	return &cobra.Command{
		Use:   "info",
		Short: "Print statistics: keys, bytes, segments, and what opening the store found",
		Args:  usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return t.read(func(s *mmapkv.Store) error {
				if err := ready(cmd.Context(), s); err != nil {
					return err
				}
				stats := s.Stats()
				if t.json {
					return printJSON(cmd.OutOrStdout(), stats)
				}
				return printInfo(cmd.OutOrStdout(), stats)
			})
		},
	}
}

func printInfo(out io.Writer, stats mmapkv.Stats) error {
	recovery := stats.Recovery
	state := "closed cleanly"
	if !recovery.Clean {
		state = fmt.Sprintf("not closed; recovery would save %d records and cut %s", recovery.RecordsRecovered, size(recovery.BytesDiscarded))
	}
	w := bufio.NewWriter(out)
	fmt.Fprintf(w, "keys      %d\nlive      %s\ndead      %s\non disk   %s\nindex     %s of memory\nstate     %s\n",
		stats.Keys, size(stats.LiveBytes), size(stats.DeadBytes), size(stats.DiskBytes), size(stats.IndexBytes), state)
	for _, damage := range recovery.Damages {
		fmt.Fprintf(w, "damage    %v\n", &damage)
	}
	if len(stats.Segments) > 0 {
		const row = "%-20s  %10s  %10s  %7s  %s\n"
		fmt.Fprintf(w, "\n"+row, "segment", "live", "dead", "garbage", "state")
		for _, one := range stats.Segments {
			garbage := fmt.Sprintf("%.0f%%", percent(one.DeadBytes, one.LiveBytes))
			fmt.Fprintf(w, row, one.File, size(one.LiveBytes), size(one.DeadBytes), garbage, segmentState(one))
		}
	}
	return w.Flush()
}

// percent is the share of a in a+b.
func percent(a, b int64) float64 { return 100 * float64(a) / float64(max(a+b, 1)) }

func segmentState(s mmapkv.SegmentStats) string {
	state := "sealed"
	switch {
	case s.Merged:
		state = "compacted"
	case !s.Sealed:
		state = "unsealed"
	}
	if s.Damaged {
		state += ", damaged"
	}
	return state
}

// size formats bytes in a readable unit.
func size(bytes int64) string {
	value, units := float64(bytes), []string{"B", "KiB", "MiB", "GiB", "TiB"}
	for len(units) > 1 && value >= 1024 {
		value, units = value/1024, units[1:]
	}
	if units[0] == "B" {
		return fmt.Sprintf("%d B", bytes)
	}
	return fmt.Sprintf("%.1f %s", value, units[0])
}
