package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/mmapkv/mmapkv/cmd/mmapkv/internal/walrus"
	"github.com/mmapkv/mmapkv/mmapkv"
)

// walrusImport is the outcome of importing a walrus namespace.
type walrusImport struct {
	Files      int               `json:"files"`
	Records    int               `json:"records"`
	Keys       int               `json:"keys"`    // imported
	Deleted    int               `json:"deleted"` // keys whose last record is a delete
	Damages    []walrusDamage    `json:"damages"`
	Duplicates []walrusDuplicate `json:"duplicates"`
	Omitted    int               `json:"omitted"` // damages and duplicates beyond those listed
}

// walrusDamage is a range of a file that was skipped. If Torn, it is at the end of the
// file and may be a write that was cut short, which is not an error.
type walrusDamage struct {
	File   string `json:"file"`
	Offset int64  `json:"offset"`
	Size   int64  `json:"size"`
	Torn   bool   `json:"torn"`
}

// walrusDuplicate is a key with records in several files. Their bytes do not say for
// certain which is newest, so the file with the highest number is taken.
type walrusDuplicate struct {
	Key   *string `json:"key,omitempty"`
	Key64 []byte  `json:"key64,omitempty"`
	Taken string  `json:"taken"`
	Other string  `json:"other"`
}

// maxWalrusListed is how many damages, and how many duplicates, are listed at most.
const maxWalrusListed = 1000

// importWalrus imports a namespace: the last record of each key, by file number and
// then by offset.
func (t *target) importWalrus(cmd *cobra.Command, path string) error {
	if err := checkDirectory(path); err != nil {
		return err
	}
	from, err := walrus.Open(path)
	if err != nil {
		return err
	}
	defer from.Close()
	if from.Len() == 0 {
		return fmt.Errorf("%w: there is no walrus file in %s", errUsage, path)
	}
	var done walrusImport
	err = t.with(nil, func(s *mmapkv.Store) error {
		progress := newProgress(cmd.ErrOrStderr(), "importing", from.Size()).clearOn(os.Interrupt, syscall.SIGTERM)
		defer progress.finish()
		last, err := done.scan(from, progress)
		if err != nil {
			return err
		}
		return done.put(from, last, s)
	})
	if err != nil {
		return err
	}
	if t.json {
		err = printJSON(cmd.OutOrStdout(), done)
	} else {
		err = t.printWalrus(cmd.ErrOrStderr(), &done)
	}
	return errors.Join(done.damage(), err)
}

// scan finds the last record of each key.
func (w *walrusImport) scan(from *walrus.Dir, progress *progress) (map[string]walrus.Record, error) {
	w.Files, w.Damages, w.Duplicates = from.Len(), []walrusDamage{}, []walrusDuplicate{}
	last := map[string]walrus.Record{}
	err := from.Scan(func(r walrus.Record) error {
		w.Records++
		if earlier, known := last[string(r.Key)]; known && earlier.File != r.File {
			l := keyLine(bytes.Clone(r.Key))
			list(w, &w.Duplicates, walrusDuplicate{Key: l.Key, Key64: l.Key64, Taken: from.Name(r.File), Other: from.Name(earlier.File)})
		}
		key := string(r.Key)
		r.Key = nil
		last[key] = r
		progress.add(r.Size)
		return nil
	}, func(bad walrus.Damage) {
		list(w, &w.Damages, walrusDamage{from.Name(bad.File), bad.Offset, bad.Size, bad.Tail})
	})
	return last, err
}

// list appends to a list of at most maxWalrusListed entries, and counts the rest.
func list[T any](w *walrusImport, to *[]T, one T) {
	if len(*to) == maxWalrusListed {
		w.Omitted++
		return
	}
	*to = append(*to, one)
}

// put puts the records into the store, by file number and then by offset.
func (w *walrusImport) put(from *walrus.Dir, last map[string]walrus.Record, s *mmapkv.Store) error {
	keys := make([]string, 0, len(last))
	for key, r := range last {
		if r.Deleted {
			w.Deleted++
		} else {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, func(x, y string) int {
		a, b := last[x], last[y]
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Offset, b.Offset))
	})
	b := batcher{store: s}
	for _, key := range keys {
		value, err := from.Value(last[key])
		if err == nil {
			err = b.put([]byte(key), value)
		}
		if err != nil {
			return err
		}
	}
	err := b.flush()
	w.Keys = b.written
	return err
}

// damage returns an error if something that was written cannot be read.
func (w *walrusImport) damage() error {
	for _, d := range w.Damages {
		if !d.Torn {
			return fmt.Errorf("%w; they are skipped, the rest is imported",
				&mmapkv.CorruptError{File: d.File, Offset: d.Offset, Reason: fmt.Sprintf("%d bytes do not validate as a record", d.Size)})
		}
	}
	return nil
}

func (t *target) printWalrus(out io.Writer, w *walrusImport) error {
	for _, d := range w.Damages {
		what := "does not validate as a record"
		if d.Torn {
			what = "a write that was cut short"
		}
		fmt.Fprintf(out, "%s: %d bytes at %d: %s\n", d.File, d.Size, d.Offset, what)
	}
	for _, d := range w.Duplicates {
		fmt.Fprintf(out, "%s is in several files, and which is newer is not certain: taken from %s, not from %s\n", d.text(), d.Taken, d.Other)
	}
	if w.Omitted > 0 {
		fmt.Fprintf(out, "and %d more\n", w.Omitted)
	}
	_, err := fmt.Fprintf(out, "%d keys imported, from %d records in %d files; %d more deleted\n", w.Keys, w.Records, w.Files, w.Deleted)
	return err
}

// text is the key in printable form.
func (d *walrusDuplicate) text() string {
	if d.Key != nil {
		return strconv.Quote(*d.Key)
	}
	return strconv.Quote(string(d.Key64))
}
