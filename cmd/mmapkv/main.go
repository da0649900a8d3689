// Command mmapkv reads and writes stores from the shell. Data goes to standard
// output, everything else to standard error.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mmapkv/mmapkv/mmapkv"
)

// Exit codes.
const (
	exitOK       = iota
	exitNotFound // or a condition does not hold
	exitUsage
	exitLocked
	exitCorrupt
	exitIO

	exitInterrupted = 130 // as shells report a process that SIGINT ended
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run runs the whole command and returns its exit code.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.Execute()
	if err != nil {
		fmt.Fprintln(stderr, "mmapkv:", strings.TrimPrefix(err.Error(), "mmapkv: "))
	}
	return exitCode(err)
}

// errUsage is the error of a bad command line or bad input.
var errUsage = errors.New("usage")

func exitCode(err error) int {
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errCheck), errors.Is(err, mmapkv.ErrCorrupt), errors.Is(err, mmapkv.ErrVersion):
		return exitCorrupt
	case errors.Is(err, mmapkv.ErrNotFound), errors.Is(err, errCondition):
		return exitNotFound
	case errors.Is(err, mmapkv.ErrLocked):
		return exitLocked
	case errors.Is(err, errUsage), errors.Is(err, mmapkv.ErrNamespace), errors.Is(err, mmapkv.ErrTooLarge), errors.Is(err, mmapkv.ErrInvalid):
		return exitUsage
	case errors.Is(err, errInterrupted), errors.Is(err, errVerifyInterrupted), errors.Is(err, errSalvageInterrupted), errors.Is(err, context.Canceled):
		return exitInterrupted
	}
	return exitIO
}

func newRoot() *cobra.Command {
	t := &target{}
	root := &cobra.Command{
		Use:           "mmapkv",
		Short:         "Read and write mmapkv stores",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return errors.Join(cmd.Help(), fmt.Errorf("%w: a command is missing", errUsage))
		},
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w: %w; see %s --help, and put keys and values that begin with - after --", errUsage, err, cmd.CommandPath())
	})
	root.SetHelpCommand(newHelp())
	root.PersistentPreRunE = func(*cobra.Command, []string) error { return t.check() }
	flags := root.PersistentFlags()
	flags.StringVar(&t.dir, "dir", "", "directory of the store")
	flags.StringVar(&t.namespace, "namespace", "", "name of the store below $MMAPKV_DIR, else $WALRUS_KV_DIR, else ./wal_kv")
	flags.BoolVar(&t.json, "json", false, "print JSON")
	flags.BoolVar(&t.hex, "hex", false, "keys and values are hexadecimal")
	flags.BoolVar(&t.base64, "base64", false, "keys and values are base64")
	root.AddCommand(
		newPut(t), newGet(t), newCas(t), newDel(t), newHas(t), newKeys(t), newScan(t), newCount(t), newInfo(t), newCompact(t), newVerify(t),
		newImport(t), newExport(t), newSalvage(t), newDump(t), newTour(), newTourWriter(),
	)
	return root
}

// newHelp is cobra's help command, except that an unknown command is an error.
func newHelp() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Help about any command",
		RunE: func(cmd *cobra.Command, args []string) error {
			of, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return fmt.Errorf("%w: there is no command %q; see mmapkv --help", errUsage, strings.Join(args, " "))
			}
			of.InitDefaultHelpFlag()
			return of.Help()
		},
	}
}

// usage turns the errors of an argument check into usage errors.
func usage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		err := check(cmd, args)
		if err != nil && cmd.HasParent() {
			got := fmt.Sprintf("%d arguments", len(args))
			if len(args) == 1 {
				got = "1 argument"
			}
			err = fmt.Errorf("expected %q, got %s", strings.TrimSuffix(cmd.UseLine(), " [flags]"), got)
		}
		if err != nil {
			return fmt.Errorf("%w: %w; see %s --help", errUsage, err, cmd.CommandPath())
		}
		return nil
	}
}
