package main

import (
	"io"
	"os"
	"syscall"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/mmapkv/mmapkv/mmapkv"
)

// line is a pair in JSON Lines: text unchanged, anything else in base64. parse.go
// parses it.
type line struct {
	Key     *string `json:"key,omitempty"`
	Key64   []byte  `json:"key64,omitempty"`
	Value   *string `json:"value,omitempty"`
	Value64 []byte  `json:"value64,omitempty"`
	Expires *int64  `json:"expires,omitempty"` // Unix milliseconds
}

// lastLine ends an export; an export without it was truncated.
type lastLine struct {
	Count int64 `json:"count"` // of the pairs before it
}

func keyLine(key []byte) line {
	if utf8.Valid(key) {
		text := string(key)
		return line{Key: &text}
	}
	return line{Key64: key}
}

func newLine(s *mmapkv.Store, key, value []byte) (line, error) {
	l := keyLine(key)
	if utf8.Valid(value) {
		text := string(value)
		l.Value = &text
	} else {
		l.Value64 = value
	}
	expires, ok, err := expiry(s, key)
	if ok {
		l.Expires = &expires
	}
	return l, err
}

func newExport(t *target) *cobra.Command {
	var selected selection
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Print pairs as JSON Lines, which import reads",
		Long: `Prints pairs in the order of their keys. Each line is a pair, in the format that
import --help describes. The last line is {"count":N}, the number of pairs; an
export without it was truncated. You may concatenate exports; import reads them all.
` + boundsHelp,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !selected.given(cmd) {
				if err := t.checkLines(); err != nil {
					return err
				}
			}
			o, err := selected.options(cmd, t)
			if err != nil {
				return err
			}
			return t.read(func(s *mmapkv.Store) error {
				total := int64(-1)
				if selected.all(cmd) && isTerminal(cmd.ErrOrStderr()) {
					total = int64(s.Len()) // which waits for the index
				}
				progress := newProgress(cmd.ErrOrStderr(), "exporting", total).clearOn(os.Interrupt, syscall.SIGTERM)
				return buffered(cmd.OutOrStdout(), func(out io.Writer) error {
					defer progress.finish()
					var done lastLine
					var err error
					done.Count, err = selected.each(s, o, func(key, value []byte) error {
						progress.add(1)
						l, err := newLine(s, key, value)
						if err != nil {
							return err
						}
						return printJSON(out, l)
					})
					if err != nil {
						return err
					}
					return printJSON(out, done)
				})
			})
		},
	}
	selected.addTo(cmd)
	return cmd
}
