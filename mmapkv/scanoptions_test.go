package mmapkv

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

func TestBoundsOfScanOptions(t *testing.T) {
	key := func(s string) []byte { return []byte(s) }
	none := []byte(nil)
	long := strings.Repeat("x", 2*MaxKeySize)
	for name, c := range map[string]struct {
		o        ScanOptions
		from, to []byte // to is nil if there is no upper bound
		empty    bool
	}{
		"nothing":                        {ScanOptions{}, none, none, false},
		"an empty prefix":                {ScanOptions{Prefix: key("")}, none, none, false},
		"a prefix":                       {ScanOptions{Prefix: key("ab")}, key("ab"), key("ac"), false},
		"a prefix that ends with 0xff":   {ScanOptions{Prefix: key("a\xff\xff")}, key("a\xff\xff"), key("b"), false},
		"a prefix of 0xff":               {ScanOptions{Prefix: key("\xff\xff")}, key("\xff\xff"), none, false},
		"a prefix of 0xff, and To":       {ScanOptions{Prefix: key("\xff"), To: key("\xff\x01")}, key("\xff"), key("\xff\x01"), false},
		"a prefix of 0xff, and a low To": {ScanOptions{Prefix: key("\xff"), To: key("a")}, key("\xff"), key("a"), true},
		"a prefix of zeros":              {ScanOptions{Prefix: key("\x00")}, key("\x00"), key("\x01"), false},
		"a prefix longer than any key":   {ScanOptions{Prefix: key(long)}, key(long), key(long[1:] + "y"), false},
		"From":                           {ScanOptions{From: key("b")}, key("b"), none, false},
		"an empty From":                  {ScanOptions{From: key("")}, none, none, false},
		"To":                             {ScanOptions{To: key("b")}, none, key("b"), false},
		"an empty To":                    {ScanOptions{To: key("")}, none, key(""), true},
		"an empty To in a prefix":        {ScanOptions{Prefix: key("a"), To: key("")}, key("a"), key(""), true},
		"From below To":                  {ScanOptions{From: key("a"), To: key("a\x00")}, key("a"), key("a\x00"), false},
		"From is To":                     {ScanOptions{From: key("a"), To: key("a")}, key("a"), key("a"), true},
		"From above To":                  {ScanOptions{From: key("b"), To: key("a")}, key("b"), key("a"), true},
		"bounds inside the prefix":       {ScanOptions{Prefix: key("a"), From: key("ab"), To: key("ac")}, key("ab"), key("ac"), false},
		"bounds around the prefix":       {ScanOptions{Prefix: key("b"), From: key("a"), To: key("z")}, key("b"), key("c"), false},
		"bounds that are the prefix's":   {ScanOptions{Prefix: key("b"), From: key("b"), To: key("c")}, key("b"), key("c"), false},
		"From above the prefix":          {ScanOptions{Prefix: key("b"), From: key("c")}, key("c"), key("c"), true},
		"To below the prefix":            {ScanOptions{Prefix: key("b"), To: key("a")}, key("b"), key("a"), true},
		"To is the prefix":               {ScanOptions{Prefix: key("b"), To: key("b")}, key("b"), key("b"), true},
		"a From longer than any key":     {ScanOptions{From: key(long)}, key(long), none, false},
	} {
		b := c.o.bounds()
		if !bytes.Equal(b.from, c.from) || !bytes.Equal(b.to, c.to) || (b.to == nil) != (c.to == nil) || b.isEmpty() != c.empty {
			t.Errorf("%s: from %.20q to %.20q (nil: %v), empty %v", name, b.from, b.to, b.to == nil, b.isEmpty())
		}
	}
}

// fewKeys are all keys of at most three bytes out of three.
func fewKeys() (keys []string) {
	keys = []string{""}
	for from := 0; len(keys[from]) < 3; from++ {
		for _, b := range []string{"\x00", "a", "\xff"} {
			keys = append(keys, keys[from]+b)
		}
	}
	slices.Sort(keys)
	return keys
}

// named reports what ScanOptions says: whether it names a key.
func (o *ScanOptions) named(key string) bool {
	return strings.HasPrefix(key, string(o.Prefix)) && key >= string(o.From) && (o.To == nil || key < string(o.To))
}

// TestBoundsAreWhatTheOptionsSay compares the bounds with the words of ScanOptions, for every
// prefix and bound of at most two bytes.
func TestBoundsAreWhatTheOptionsSay(t *testing.T) {
	keys := fewKeys()
	choices := [][]byte{nil}
	for _, k := range keys {
		if len(k) < 3 {
			choices = append(choices, []byte(k))
		}
	}
	for _, prefix := range choices {
		for _, from := range choices {
			for _, to := range choices {
				o := ScanOptions{Prefix: prefix, From: from, To: to}
				b := o.bounds()
				for _, key := range keys {
					within := !b.passed([]byte(key), true) && !b.passed([]byte(key), false)
					if want := o.named(key); within != want || want && b.isEmpty() {
						t.Fatalf("prefix %q from %q to %q (nil: %v): %q is within: %v; empty: %v", prefix, from, to, to == nil, key, within, b.isEmpty())
					}
				}
			}
		}
	}
}

// The caller may reuse the slices once the call has returned.
func TestScanOptionsAreCopied(t *testing.T) {
	prefix, from, to := []byte("b"), []byte("ba"), []byte("bz")
	for _, o := range []ScanOptions{{Prefix: prefix}, {From: from, To: to}, {Prefix: prefix, From: from, To: to}} {
		b := o.bounds()
		before := bounds{clone(b.from), clone(b.to)}
		for _, s := range [][]byte{prefix, from, to} {
			poison(s)
		}
		if !bytes.Equal(b.from, before.from) || !bytes.Equal(b.to, before.to) {
			t.Errorf("the bounds are now from %q to %q", b.from, b.to)
		}
		copy(prefix, "b")
		copy(from, "ba")
		copy(to, "bz")
	}
}
