package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/mmapkv/mmapkv/mmapkv"
)

func newKeys(t *target) *cobra.Command {
	var selected selection
	cmd := &cobra.Command{
		Use:   "keys",
		Short: "Print keys in order, one per line",
		Long: `Prints keys in the order of their bytes, one per line. It does not read values.
` + boundsHelp,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return t.printSelected(cmd, &selected, mmapkv.ScanOptions{KeysOnly: true})
		},
	}
	selected.addTo(cmd)
	return cmd
}

func newScan(t *target) *cobra.Command {
	var selected selection
	cmd := &cobra.Command{
		Use:   "scan",
		Short: "Print keys and values in the order of the keys",
		Long: `Prints pairs in the order of the bytes of their keys, one per line: the key, a tab,
the value. Keys and values may themselves have tabs and newlines; --json, --hex and
--base64 print them so that each line is one pair. With --json the lines are those
of export, but without a count.
` + boundsHelp,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return t.printSelected(cmd, &selected, mmapkv.ScanOptions{})
		},
	}
	selected.addTo(cmd)
	return cmd
}

// printSelected prints the selected keys, and their values unless the scan is of keys
// only.
func (t *target) printSelected(cmd *cobra.Command, selected *selection, how mmapkv.ScanOptions) error {
	o, err := selected.options(cmd, t)
	if err != nil {
		return err
	}
	o.KeysOnly = how.KeysOnly
	open := t.look
	if selected.all(cmd) || t.json && !o.KeysOnly {
		open = t.read // lines of pairs say when they expire, which is a lookup for each
	}
	return open(func(s *mmapkv.Store) error {
		return buffered(cmd.OutOrStdout(), func(out io.Writer) error {
			_, err := selected.each(s, o, t.printer(out, s, o.KeysOnly))
			return err
		})
	})
}

// printer returns the function that prints one pair.
func (t *target) printer(out io.Writer, s *mmapkv.Store, keysOnly bool) func(key, value []byte) error {
	switch {
	case t.json && keysOnly:
		return func(key, _ []byte) error { return printJSON(out, keyLine(key)) }
	case t.json:
		return func(key, value []byte) error {
			l, err := newLine(s, key, value)
			if err != nil {
				return err
			}
			return printJSON(out, l)
		}
	}
	// The value is copied before it is written: it may be mapped memory, and a write of
	// memory that faults fails with an error that says nothing about the store.
	var text []byte
	return func(key, value []byte) error {
		text = t.appendEncoded(text[:0], key)
		if !keysOnly {
			text = append(text, '\t')
			text = t.appendEncoded(text, value)
		}
		text = append(text, '\n')
		_, err := out.Write(text)
		return err
	}
}

func newCount(t *target) *cobra.Command {
	var within bounds
	cmd := &cobra.Command{
		Use:   "count",
		Short: "Print the number of keys",
		Long: `Prints the number of keys in the store, or of those within bounds. Within bounds it
goes through the keys and does not read values. Without bounds it asks the index,
where keys that have expired count until compaction removes them.
` + boundsHelp,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			o, err := within.options(cmd, t)
			if err != nil {
				return err
			}
			if !within.given(cmd) {
				return t.read(func(s *mmapkv.Store) error { return t.printCount(cmd.OutOrStdout(), int64(s.Len())) })
			}
			o.KeysOnly = true
			return t.look(func(s *mmapkv.Store) error {
				var keys int64
				err := s.Scan(o, func(_, _ []byte) error { keys++; return nil })
				if err != nil {
					return err
				}
				return t.printCount(cmd.OutOrStdout(), keys)
			})
		},
	}
	within.addTo(cmd)
	return cmd
}

func (t *target) printCount(out io.Writer, keys int64) error {
	if t.json {
		return printJSON(out, map[string]int64{"keys": keys})
	}
	_, err := fmt.Fprintln(out, keys)
	return err
}
