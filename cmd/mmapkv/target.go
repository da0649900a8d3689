package main

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/mmapkv"
)

var errNoStore = fmt.Errorf("%w: which store? Give --dir or --namespace", errUsage)

// target says which store to use, and how keys and values are encoded.
type target struct {
	dir, namespace    string
	json, hex, base64 bool
}

// check refuses flags that contradict each other.
func (t *target) check() error {
	if t.dir != "" && t.namespace != "" {
		return fmt.Errorf("%w: give either --dir or --namespace", errUsage)
	}
	if t.hex && t.base64 {
		return fmt.Errorf("%w: give either --hex or --base64", errUsage)
	}
	return nil
}

// checkLines refuses --hex and --base64 where they say nothing: in JSON Lines the
// fields themselves say what is base64.
func (t *target) checkLines() error {
	if t.hex || t.base64 {
		return fmt.Errorf("%w: --hex and --base64 do not apply to export and import; their lines have key64 and value64", errUsage)
	}
	return nil
}

// directory is where the store is, or would be.
func (t *target) directory() (string, error) {
	switch {
	case t.dir != "":
		return t.dir, nil
	case t.namespace != "":
		return filepath.Join(mmapkv.Root(), t.namespace), nil
	}
	return "", errNoStore
}

// open opens the store; the caller closes it. It creates a store that does not
// exist, so callers check arguments and input first.
func (t *target) open(o *mmapkv.Options) (*mmapkv.Store, error) {
	switch {
	case t.dir != "":
		return mmapkv.Open(t.dir, o)
	case t.namespace != "":
		return mmapkv.OpenNamespace(t.namespace, o)
	}
	return nil, errNoStore
}

// with opens the store, calls use, and closes the store.
func (t *target) with(o *mmapkv.Options, use func(s *mmapkv.Store) error) (err error) {
	s, err := t.open(o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return use(s)
}

// read is for commands that read much of the store.
func (t *target) read(use func(s *mmapkv.Store) error) error {
	return t.with(onDemand(&mmapkv.Options{ReadOnly: true}), use)
}

// look is for commands that read few keys.
func (t *target) look(use func(s *mmapkv.Store) error) error {
	o := fewKeys()
	o.ReadOnly = true
	return t.with(o, use)
}

// fewKeys returns the options of commands that read or write few keys, however many the
// store has. All of them open the store with these.
func fewKeys() *mmapkv.Options { return brief() }

// brief is for commands that open the store too briefly for background work. An
// import may write a lot, so it opens the store as a service does.
func brief() *mmapkv.Options {
	return onDemand(&mmapkv.Options{Compaction: mmapkv.Compaction{Disabled: true}})
}

// onDemand is for commands that may not need the index: a command that reads or writes a
// few keys is done before the index of a large store could be full.
func onDemand(o *mmapkv.Options) *mmapkv.Options {
	inject.Into(o, &inject.Seams{OnDemand: true})
	return o
}

// ready waits until the index is full, for commands that print statistics. These list
// damage, so it is no error here.
func ready(ctx context.Context, s *mmapkv.Store) error {
	if err := s.Ready(ctx); !errors.Is(err, mmapkv.ErrCorrupt) || s.Stats().Loading {
		return err
	}
	return nil
}

// existing is with for commands that need an existing store: Open would create one.
// If the directory has no manifest, existing first opens it read-only, which creates
// nothing and returns an error that says what is wrong.
func (t *target) existing(o *mmapkv.Options, use func(s *mmapkv.Store) error) error {
	dir, err := t.directory()
	if err != nil {
		return err
	}
	if _, err := os.Lstat(filepath.Join(dir, "MANIFEST")); err != nil {
		if err := t.read(func(*mmapkv.Store) error { return nil }); err != nil {
			return err
		}
	}
	return t.with(o, use)
}

// decode returns the key or value that an argument stands for.
func (t *target) decode(argument string) ([]byte, error) { return t.decodeAs("", argument) }

// decodeAs is decode for the argument of a flag, which the error then names.
func (t *target) decodeAs(flag, argument string) (b []byte, err error) {
	switch {
	case t.hex:
		b, err = hex.DecodeString(argument)
	case t.base64:
		b, err = base64.StdEncoding.DecodeString(argument)
	default:
		b = []byte(argument)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s%q: %w", errUsage, flag, argument, err)
	}
	return b, nil
}

// encode returns a key or value as it is printed.
func (t *target) encode(b []byte) []byte {
	if t.hex || t.base64 {
		return t.appendEncoded(nil, b)
	}
	return b
}

// appendEncoded appends a key or value as it is printed.
func (t *target) appendEncoded(to, b []byte) []byte {
	switch {
	case t.hex:
		return hex.AppendEncode(to, b)
	case t.base64:
		return base64.StdEncoding.AppendEncode(to, b)
	}
	return append(to, b...)
}

// printJSON prints a value on one line.
func printJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(value)
}
