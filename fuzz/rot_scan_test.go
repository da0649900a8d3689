package fuzz

import (
	"bytes"
	"errors"
	"path"
	"slices"

	"github.com/mmapkv/mmapkv/mmapkv"
	"github.com/mmapkv/mmapkv/segment"
)

// scanAround compares the values with what scans show. A scan ends at the first damaged key, and
// another one that begins behind it goes on. So together they show everything else. A scan of keys
// reads no records, and shows all. Where nothing is left that says what the keys of a damaged part
// were, no scan can say where they belong, and it ends before that: see unordered.
func (r *rotten) scanAround(l *life, store *mmapkv.Store, shown map[string]string) {
	for _, reverse := range []bool{false, true} {
		o := mmapkv.ScanOptions{Reverse: reverse}
		for rest := ordered(shown, o); ; {
			got, err := scanned(store, o)
			whole := rest
			if i := slices.IndexFunc(rest, func(p orderedPair) bool { return p.value == unreadable }); i >= 0 {
				whole = rest[:i]
			}
			if r.unordered(l, store, err) && len(got) <= len(whole) && slices.Equal(got, whole[:len(got)]) {
				r.ended++
				return
			}
			if err != nil && !errors.Is(err, mmapkv.ErrCorrupt) || !slices.Equal(got, whole) || (err == nil) != (len(whole) == len(rest)) {
				l.fail("Get and Scan do not agree: %v", orderError{o, got, rest, err})
			}
			if err == nil {
				break
			}
			damaged := rest[len(whole)].key
			rest = rest[len(whole)+1:]
			if reverse {
				o.To = []byte(damaged)
			} else {
				o.From = []byte(damaged + "\x00")
			}
		}
	}
	o := mmapkv.ScanOptions{KeysOnly: true}
	if keys, err := scanned(store, o); err != nil || !slices.Equal(keys, ordered(shown, o)) {
		l.fail("the keys are others: %v", orderError{o, keys, ordered(shown, o), err})
	}
}

// unordered reports whether an error says that the order of a file's keys is lost: its records are
// damaged, and so is its hint, or scans do not use that, since the file is not sealed. Of a record that
// can be found by its key, and of a hint alone, an error says something else.
func (r *rotten) unordered(l *life, store *mmapkv.Store, err error) bool {
	var corrupt *mmapkv.CorruptError
	if !errors.As(err, &corrupt) {
		return false
	}
	id, _, _ := segment.ParseFileName(corrupt.File)
	name, hint := path.Join(storeDir, corrupt.File), path.Join(storeDir, segment.HintName(id))
	if r.files[name] != nil && bytes.Equal(r.files[name], l.disk.Bytes(name)) {
		return false
	}
	for _, s := range store.Stats().Segments {
		if s.File == corrupt.File && !s.Sealed {
			return true
		}
	}
	return !bytes.Equal(r.files[hint], l.disk.Bytes(hint))
}
