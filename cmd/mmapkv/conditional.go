package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/mmapkv/mmapkv/mmapkv"
)

// errCondition is the error of a command whose condition does not hold. It has changed nothing.
var errCondition = errors.New("the condition does not hold")

// held turns the answer of a conditional write into an error.
func held(done bool, err error, otherwise string) error {
	if err == nil && !done {
		return fmt.Errorf("%w: %s", errCondition, otherwise)
	}
	return err
}

func newCas(t *target) *cobra.Command {
	return &cobra.Command{
		Use:   "cas KEY OLD NEW",
		Short: "Set a key's value if it is OLD now; - reads NEW from standard input",
		Long: `Compare and swap: sets a key's value to NEW if it is OLD. Otherwise, also if the key
has no value, it changes nothing and exits with 1. NEW does not expire.`,
		Args: usage(cobra.ExactArgs(3)),
		RunE: func(cmd *cobra.Command, args []string) error {
			key, err := t.decode(args[0])
			if err != nil {
				return err
			}
			old, err := t.decode(args[1])
			if err != nil {
				return err
			}
			value, err := t.value(args[2], cmd.InOrStdin())
			if err == nil {
				err = checkSizes(key, value)
			}
			if err != nil {
				return err
			}
			return t.existing(fewKeys(), func(s *mmapkv.Store) error {
				swapped, err := s.CompareAndSwap(key, old, value)
				return held(swapped, err, "the key has another value, or none")
			})
		},
	}
}

// deletePrefix deletes the keys that begin with what the flag --prefix says.
func (t *target) deletePrefix(ctx context.Context, argument string) error {
	prefix, err := t.decodeAs("--prefix ", argument)
	if err != nil {
		return err
	}
	if len(prefix) == 0 {
		return fmt.Errorf("%w: --prefix is empty; that would delete every key", errUsage)
	}
	return t.existing(fewKeys(), func(s *mmapkv.Store) error { return s.DeleteRange(ctx, prefix, above(prefix)) })
}

// above returns the lowest key above all that begin with the prefix; nil if there is none.
func above(prefix []byte) []byte {
	for n := len(prefix); n > 0; n-- {
		if prefix[n-1] != 0xff {
			key := append([]byte(nil), prefix[:n]...)
			key[n-1]++
			return key
		}
	}
	return nil
}
