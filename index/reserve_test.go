package index

import "testing"

// Reserve makes a KeyDir as large as New would have, keeps what is in it, and spares the splits.
func TestReserveIsLikeNew(t *testing.T) {
	const keys = 20_000
	hasher := NewHasher()
	fp := func(i int) Fingerprint { return hasher.Fingerprint([]byte{byte(i), byte(i >> 8), byte(i >> 16)}) }
	for _, before := range []int{0, 1, 500, 5000} {
		d := New(Options{PageSlots: 64})
		for i := range before {
			d.Put(fp(i), MakeLocation(1, int64(8+8*i), 8))
		}
		d.Reserve(keys, func() bool { return false })
		like := New(Options{PageSlots: 64, ExpectedKeys: keys})
		if is, want := d.Bytes(), like.Bytes(); is < want || is > want*11/10 {
			t.Errorf("with %d keys before: %d bytes; New makes %d", before, is, want)
		}
		_, splits, _ := d.Stats()
		for i := before; i < keys; i++ {
			d.Put(fp(i), MakeLocation(1, int64(8+8*i), 8))
		}
		if _, after, _ := d.Stats(); after != splits {
			t.Errorf("with %d keys before: %d splits, although there was room", before, after-splits)
		}
		for i := range keys {
			if loc := d.Get(fp(i)); loc.Offset() != int64(8+8*i) {
				t.Fatalf("key %d is at %d", i, loc.Offset())
			}
		}
		if d.Len() != keys {
			t.Errorf("%d keys", d.Len())
		}
	}
}

func TestReserveEndsWhenToldTo(t *testing.T) {
	d := New(Options{PageSlots: 64})
	rounds := 0
	d.Reserve(1<<20, func() bool { rounds++; return rounds > 10 })
	if pages, _, _ := d.Stats(); pages > 11 {
		t.Errorf("%d pages", pages)
	}
}
