package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/mmapkv/mmapkv/mmapkv"
)

// bounds are the flags that say which keys a command takes. They are encoded as keys
// are everywhere else.
type bounds struct{ prefix, from, to string }

const boundsHelp = `
--prefix, --from and --to say which keys. The key of --from belongs to them, that of
--to does not. With --hex or --base64 they are encoded as keys are.`

func (b *bounds) addTo(cmd *cobra.Command) {
	cmd.Flags().StringVar(&b.prefix, "prefix", "", "only keys that begin with this")
	cmd.Flags().StringVar(&b.from, "from", "", "only this key and those above it")
	cmd.Flags().StringVar(&b.to, "to", "", "only keys below this one")
}

// given reports whether the command line has a bound.
func (b *bounds) given(cmd *cobra.Command) bool {
	flags := cmd.Flags()
	return flags.Changed("prefix") || flags.Changed("from") || flags.Changed("to")
}

// options decodes the bounds. A bound that is not given stays nil, which is not the
// empty key.
func (b *bounds) options(cmd *cobra.Command, t *target) (o mmapkv.ScanOptions, err error) {
	for _, flag := range []struct {
		name, argument string
		key            *[]byte
	}{{"prefix", b.prefix, &o.Prefix}, {"from", b.from, &o.From}, {"to", b.to, &o.To}} {
		if !cmd.Flags().Changed(flag.name) {
			continue
		}
		if *flag.key, err = t.decodeAs("--"+flag.name+" ", flag.argument); err != nil {
			return o, err
		}
	}
	return o, nil
}

// selection is the flags that say which pairs a command prints, and in which order.
type selection struct {
	bounds
	reverse bool
	limit   int64 // of pairs; 0: all
}

func (l *selection) addTo(cmd *cobra.Command) {
	l.bounds.addTo(cmd)
	cmd.Flags().BoolVar(&l.reverse, "reverse", false, "from the highest key down")
	cmd.Flags().Int64Var(&l.limit, "limit", 0, "print at most this many; 0: all")
}

func (l *selection) options(cmd *cobra.Command, t *target) (mmapkv.ScanOptions, error) {
	if l.limit < 0 {
		return mmapkv.ScanOptions{}, fmt.Errorf("%w: --limit is %d; it must not be negative", errUsage, l.limit)
	}
	o, err := l.bounds.options(cmd, t)
	o.Reverse = l.reverse
	return o, err
}

// all reports whether the flags select every pair.
func (l *selection) all(cmd *cobra.Command) bool { return l.limit == 0 && !l.given(cmd) }

// each calls use for the selected pairs and returns how many there were. A pair for
// which use returns ErrNotFound has just expired, and is none.
func (l *selection) each(s *mmapkv.Store, o mmapkv.ScanOptions, use func(key, value []byte) error) (pairs int64, err error) {
	err = s.Scan(o, func(key, value []byte) error {
		switch err := use(key, value); {
		case errors.Is(err, mmapkv.ErrNotFound):
			return nil
		case err != nil:
			return err
		}
		pairs++
		if pairs == l.limit {
			return fs.SkipAll
		}
		return nil
	})
	return pairs, err
}

// buffered calls print with a buffered output. Whatever print returns, all that it has
// printed is written.
func buffered(out io.Writer, print func(out io.Writer) error) error {
	w := bufio.NewWriter(out)
	err := print(w)
	if flushed := w.Flush(); err == nil {
		err = flushed
	}
	return err
}
