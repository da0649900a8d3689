package fuzz

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/mmapkv/mmapkv/mmapkv"
)

// orderedPair is a key and its value as a scan shows them.
type orderedPair struct{ key, value string }

func (p orderedPair) String() string { return fmt.Sprintf("%.20q = %.20q", p.key, p.value) }

// ordered returns the pairs of a content that the options name, in their order. With KeysOnly the
// values are empty.
func ordered(content map[string]string, o mmapkv.ScanOptions) (pairs []orderedPair) {
	for _, key := range slices.Sorted(maps.Keys(content)) {
		if !strings.HasPrefix(key, string(o.Prefix)) || key < string(o.From) || o.To != nil && key >= string(o.To) {
			continue
		}
		p := orderedPair{key: key}
		if !o.KeysOnly {
			p.value = content[key]
		}
		pairs = append(pairs, p)
	}
	if o.Reverse {
		slices.Reverse(pairs)
	}
	return pairs
}

// scanned returns what Scan shows before it ends.
func scanned(store mmapkv.Reader, o mmapkv.ScanOptions) (pairs []orderedPair, err error) {
	err = store.Scan(o, func(key, value []byte) error {
		if (value == nil) != o.KeysOnly {
			return fmt.Errorf("with KeysOnly %v the value of %.20q is nil: %v", o.KeysOnly, key, value == nil)
		}
		pairs = append(pairs, orderedPair{string(key), string(value)})
		return nil
	})
	return pairs, err
}

// iterated returns what an Iterator shows before it ends.
func iterated(store mmapkv.Reader, o mmapkv.ScanOptions) (pairs []orderedPair, err error) {
	it, err := store.Iterator(o)
	if err != nil {
		return nil, err
	}
	defer it.Close()
	for key, value := range it.Pairs() {
		pairs = append(pairs, orderedPair{string(key), string(value)})
	}
	return pairs, it.Err()
}

var errWrongOrder = errors.New("that is the wrong place")

// orders are ways to go over small stores: in both directions, and over a part.
var orders = []mmapkv.ScanOptions{
	{},
	{Reverse: true},
	{Prefix: []byte("k"), Reverse: true},
	{From: []byte("b"), To: []byte("kc"), KeysOnly: true},
}

// wantOrder returns an error if a scan or an Iterator shows something else than the content. It
// seeks each key in both directions.
func wantOrder(store mmapkv.Reader, content map[string]string) error {
	for i, o := range orders {
		want := ordered(content, o)
		got, err := scanned(store, o)
		if err == nil && i%2 == 1 && slices.Equal(got, want) {
			got, err = iterated(store, o)
		}
		if err != nil || !slices.Equal(got, want) {
			return orderError{o, got, want, err}
		}
	}
	return wantSeeks(store, ordered(content, mmapkv.ScanOptions{}))
}

// wantSeeks returns an error if the seeks of an Iterator do not land where they must.
func wantSeeks(store mmapkv.Reader, want []orderedPair) error {
	it, err := store.Iterator(mmapkv.ScanOptions{})
	if err != nil {
		return err
	}
	defer it.Close()
	for i, p := range want {
		below := it.SeekLT([]byte(p.key))
		if below != (i > 0) || below && string(it.Key()) != want[i-1].key {
			return fmt.Errorf("SeekLT(%.20q): %v, %.20q, %w", p.key, below, it.Key(), cmp.Or(it.Err(), errWrongOrder))
		}
		if !it.SeekGE([]byte(p.key)) || string(it.Key()) != p.key || it.ValueSize() != int64(len(p.value)) {
			return fmt.Errorf("SeekGE(%.20q): %.20q, %w", p.key, it.Key(), cmp.Or(it.Err(), errWrongOrder))
		}
	}
	return nil
}

// orderError says what a scan has shown.
type orderError struct {
	o         mmapkv.ScanOptions
	got, want []orderedPair
	err       error
}

func (e orderError) Error() string {
	return fmt.Sprintf("a scan of prefix %q from %q to %q, reverse %v, shows %.300v, %v; want %.300v", e.o.Prefix, e.o.From, e.o.To, e.o.Reverse, e.got, e.err, e.want)
}

func (e orderError) Unwrap() error { return e.err }

// wrong reports whether a scan that ended with an error has shown something else than the pairs up
// to there.
func (e orderError) wrong() bool {
	return len(e.got) > len(e.want) || !slices.Equal(e.got, e.want[:len(e.got)])
}
