package mmapkv

import "bytes"

// ScanOptions says which keys a Scan or an Iterator visits, and how. The zero value means all
// keys, from the lowest up. The slices may be reused once the call that takes them has returned.
type ScanOptions struct {
	// Prefix restricts the keys to those that begin with it.
	Prefix []byte
	// From and To restrict the keys to those with From <= key < To, within the prefix; nil means
	// no bound. A bound that is empty but not nil is the empty key. So there is nothing below an
	// empty To. If From is not below To, there are no keys, and that is no error.
	From, To []byte
	// Reverse visits the keys from the highest one down.
	Reverse bool
	// KeysOnly leaves the values out: they are nil. Records are then not read, so damaged ones
	// go unnoticed.
	KeysOnly bool
}

// bounds are the keys with from <= key < to; a nil to is above all keys.
type bounds struct{ from, to []byte }

// bounds returns what Prefix, From and To amount to. It copies them.
func (o *ScanOptions) bounds() bounds {
	var b bounds
	above, limited := afterPrefix(o.Prefix)
	if limited {
		b.to = above
	}
	if o.To != nil && (!limited || bytes.Compare(o.To, above) < 0) {
		b.to = clone(o.To)
	}
	if bytes.Compare(o.From, o.Prefix) > 0 {
		b.from = clone(o.From)
	} else if len(o.Prefix) > 0 {
		b.from = clone(o.Prefix)
	}
	return b
}

// afterPrefix returns the lowest of the keys that are above all keys with the prefix. limited is
// false if there is none, since the prefix has nothing but bytes of 0xff.
func afterPrefix(prefix []byte) (above []byte, limited bool) {
	for n := len(prefix); n > 0; n-- {
		if prefix[n-1] != 0xff {
			above = clone(prefix[:n])
			above[n-1]++
			return above, true
		}
	}
	return nil, false
}

// isEmpty reports whether no key can lie within the bounds.
func (b *bounds) isEmpty() bool { return b.to != nil && bytes.Compare(b.from, b.to) >= 0 }

// passed reports whether a scan that has come to the key, in that direction, has left the bounds.
func (b *bounds) passed(key []byte, reverse bool) bool {
	if reverse {
		return bytes.Compare(key, b.from) < 0
	}
	return b.to != nil && bytes.Compare(key, b.to) >= 0
}
