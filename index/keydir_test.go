package index

import (
	"fmt"
	"maps"
	"math/bits"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// fataler is a *testing.T or a *rapid.T.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// checkPages checks everything that must hold in a KeyDir that no other goroutine is using.
func checkPages(t fataler, d *KeyDir) {
	t.Helper()
	count := d.buckets.Load()
	if got := uint64(d.pages.Size()); got != count {
		t.Fatalf("%d pages for %d buckets", got, count)
	}
	live, bytes := 0, int64(0)
	for b := range bucket(count) {
		p, ok := d.pages.Load(b)
		if !ok || p.retired || p.bucket != b || p.mask != maskOf(b, count) {
			t.Fatalf("bucket %d of %d has page %+v", b, count, p)
		}
		used, here := 0, 0
		owners := map[Fingerprint]bool{}
		for slot, check := range p.checks {
			fp := Fingerprint{Hash: p.slots[wordsPerSlot*slot], Check: check}
			location := Location(p.slots[wordsPerSlot*slot+1])
			if fp.Hash == 0 {
				if location != NoLocation {
					t.Fatalf("bucket %d: a slot never used has a location", b)
				}
				continue
			}
			if !p.covers(fp.Hash) || owners[fp] {
				t.Fatalf("bucket %d: %+v belongs to another bucket, or is there twice", b, fp)
			}
			owners[fp] = true
			used++
			if location != NoLocation {
				here++
			}
		}
		if used != p.used || here != p.live || used > fullSlots(p.capacity()) {
			t.Fatalf("bucket %d: counted %d slots used of %d, %d live; the page says %d and %d", b, used, p.capacity(), here, p.used, p.live)
		}
		live += here
		bytes += p.bytes()
	}
	if d.Len() != live || d.Bytes() != bytes {
		t.Fatalf("Len %d, Bytes %d; counted %d, %d", d.Len(), d.Bytes(), live, bytes)
	}
}

// found lists the candidates for a hash.
func found(d *KeyDir, hash uint64) map[Location]int {
	got := map[Location]int{}
	for c := d.Find(hash); ; {
		location, ok := c.Next()
		if !ok {
			return got
		}
		got[location]++
	}
}

func ranged(t fataler, d *KeyDir) map[Fingerprint]Location {
	t.Helper()
	got := map[Fingerprint]Location{}
	d.Range(func(fp Fingerprint, location Location) bool {
		if _, twice := got[fp]; twice {
			t.Fatalf("Range yielded %+v twice", fp)
		}
		got[fp] = location
		return true
	})
	return got
}

func TestKeyDirIsAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := New(Options{
			PageSlots:    rapid.IntRange(1, 16).Draw(t, "page slots"),
			ExpectedKeys: rapid.SampledFrom([]int{0, 0, 1, 100}).Draw(t, "expected keys"),
		})
		model := map[Fingerprint]Location{}
		hashes := rapid.OneOf(rapid.Uint64Range(0, 300), rapid.SampledFrom([]uint64{0, 1, 1 << 40, 3 << 40, ^uint64(0)}))
		fingerprint := rapid.Custom(func(t *rapid.T) Fingerprint {
			hash := hashes.Draw(t, "hash")
			if rapid.Bool().Draw(t, "mixed") {
				hash = fpOf(hash).Hash
			}
			return Fingerprint{Hash: hash, Check: rapid.Uint32Range(0, 2).Draw(t, "check")}
		})
		location := rapid.Custom(func(t *rapid.T) Location {
			return MakeLocation(rapid.Uint32Range(0, 3).Draw(t, "slot"), rapid.Int64Range(8, 40).Draw(t, "offset")*8, rapid.Int64Range(0, 2).Draw(t, "size")*8)
		})
		set := func(fp Fingerprint, to Location) {
			if to == NoLocation {
				delete(model, fp)
			} else {
				model[fp] = to
			}
		}
		same := func(what string, got, want Location) {
			if got != want {
				t.Fatalf("%s: got %#x, want %#x", what, got, want)
			}
		}
		// Random steps rarely reach many keys, so some runs start with a crowd of keys.
		for n := range rapid.SampledFrom([]uint64{0, 0, 30, 300}).Draw(t, "crowd") {
			d.Put(fpOf(n), locationOf(n))
			model[fpOf(n)] = locationOf(n)
		}
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				fp, to := fingerprint.Draw(t, "fp"), location.Draw(t, "to")
				same("Put", d.Put(fp, to), model[normal(fp)])
				set(normal(fp), to)
			},
			"delete": func(t *rapid.T) {
				fp := fingerprint.Draw(t, "fp")
				same("Delete", d.Delete(fp), model[normal(fp)])
				set(normal(fp), NoLocation)
			},
			"swap": func(t *rapid.T) {
				fp := fingerprint.Draw(t, "fp")
				old := rapid.SampledFrom([]Location{model[normal(fp)], NoLocation, locationOf(1)}).Draw(t, "old")
				to := rapid.SampledFrom([]Location{NoLocation, locationOf(1), locationOf(2)}).Draw(t, "to")
				want := model[normal(fp)] == old
				if got := d.CompareAndSwap(fp, old, to); got != want {
					t.Fatalf("CompareAndSwap is %v, want %v", got, want)
				}
				if want {
					set(normal(fp), to)
				}
			},
			"put newer": func(t *rapid.T) {
				fp, to := fingerprint.Draw(t, "fp"), location.Draw(t, "to")
				old := model[normal(fp)]
				loader := d.Loader()
				var loser Location
				refused := false
				for _, lost := range loader.PutNewer([]Entry{{Hash: fp.Hash, Check: fp.Check, Location: to}}, func() {}) {
					loser, refused = lost.Location, lost.Location == to
				}
				loader.Done()
				same("PutNewer", loser, min(old, to))
				if refused != (to <= old) {
					t.Fatalf("PutNewer of %#x over %#x: refused is %v", to, old, refused)
				}
				set(normal(fp), max(old, to))
			},
			"sweep": func(t *rapid.T) {
				slot := rapid.Uint32Range(0, 3).Draw(t, "slot")
				drop := func(l Location) bool { return l.Tombstone() || l.Slot() == slot }
				d.Sweep(drop)
				maps.DeleteFunc(model, func(_ Fingerprint, l Location) bool { return drop(l) })
			},
			"find": func(t *rapid.T) {
				fp := normal(fingerprint.Draw(t, "fp"))
				same("Get", d.Get(fp), model[fp])
				want := map[Location]int{}
				for other, l := range model {
					if other.Hash == fp.Hash {
						want[l]++
					}
				}
				if got := found(d, fp.Hash); !maps.Equal(got, want) {
					t.Fatalf("Find yields %v, want %v", got, want)
				}
			},
			"range": func(t *rapid.T) {
				if got := ranged(t, d); !maps.Equal(got, model) {
					t.Fatalf("Range yields %v, want %v", got, model)
				}
			},
			"": func(t *rapid.T) {
				if d.Len() != len(model) {
					t.Fatalf("Len is %d, want %d", d.Len(), len(model))
				}
				checkPages(t, d)
			},
		})
	})
}

func normal(fp Fingerprint) Fingerprint {
	fp.Hash = neverZero(fp.Hash)
	return fp
}

func TestBucketsShareTheHashes(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for count := uint64(1); count < 200; count++ {
		for range 100 {
			hash, owners := random.Uint64(), 0
			for b := range bucket(count) {
				if hash&maskOf(b, count) != uint64(b) {
					continue
				}
				if owners++; b != bucketOf(hash, count) {
					t.Fatalf("of %d buckets, hash %#x belongs to %d and to %d", count, hash, b, bucketOf(hash, count))
				}
			}
			if owners != 1 {
				t.Fatalf("of %d buckets, hash %#x belongs to %d", count, hash, owners)
			}
		}
	}
}

// Keys with the same 64-bit hash are candidates for each other, but writers distinguish them.
func TestCollidingHashesAreKeptApart(t *testing.T) {
	for _, hash := range []uint64{0, 1, 42, ^uint64(0)} {
		d := New(Options{PageSlots: 8})
		const keys = 500
		for n := range uint32(keys) {
			if old := d.Put(Fingerprint{hash, n}, locationOf(uint64(n))); old != NoLocation {
				t.Fatalf("the key with check %d was taken for another key", n)
			}
		}
		checkPages(t, d)
		if got := len(found(d, hash)); got != keys {
			t.Fatalf("hash %#x has %d candidates", hash, got)
		}
		for n := range uint32(keys) {
			if got := d.Delete(Fingerprint{hash, n}); got != locationOf(uint64(n)) {
				t.Fatalf("the key with check %d was at %#x", n, got)
			}
		}
		if got := len(found(d, hash)); got != 0 || d.Len() != 0 {
			t.Fatalf("%d candidates are left, Len is %d", got, d.Len())
		}
		checkPages(t, d)
	}
}

func TestFindDoesNotAllocate(t *testing.T) {
	d := filled(10000)
	n := uint64(0)
	allocs := testing.AllocsPerRun(20000, func() {
		c := d.Find(fpOf(n).Hash)
		for {
			if _, ok := c.Next(); !ok {
				break
			}
		}
		n++
	})
	if allocs != 0 {
		t.Fatalf("Find allocates %v times", allocs)
	}
}

func TestOverwriteDoesNotAllocate(t *testing.T) {
	d := filled(10000)
	n := uint64(0)
	if allocs := testing.AllocsPerRun(5000, func() {
		d.Put(fpOf(n), locationOf(n+1))
		n++
	}); allocs != 0 {
		t.Fatalf("Put allocates %v times", allocs)
	}
}

// While a KeyDir grows to 4M keys, each Put copies at most one page, no page gets large, and the
// copies are spread evenly. The test counts copies, and does not measure time.
func TestGrowthIsSmooth(t *testing.T) {
	keys, window := uint64(4_000_000), uint64(16384)
	if raceEnabled || testing.Short() {
		keys = 400_000
	}
	d := New(Options{})
	copies := func() int {
		_, splits, rebuilds := d.Stats()
		return splits + rebuilds
	}
	before, windowStart, worstWindow, largest := 0, 0, 0, 0
	measure := func() {
		for b := range bucket(d.buckets.Load()) {
			p, _ := d.pages.Load(b)
			largest = max(largest, p.live)
			if load := float64(p.used) / float64(p.capacity()); load < 0.6 || load > 0.9 {
				t.Fatalf("page %d has load %.2f", b, load)
			}
		}
	}
	for n := range keys {
		d.Put(fpOf(n), locationOf(n))
		now := copies()
		if now > before+1 {
			t.Fatalf("Put %d copied %d pages", n, now-before)
		}
		before = now
		if (n+1)%window == 0 {
			if n > 100_000 {
				worstWindow = max(worstWindow, now-windowStart)
			}
			windowStart = now
		}
		if n > 100_000 && n%50_000 == 0 {
			if perKey := float64(d.Bytes()) / float64(n); perKey < 16 || perKey > 34 {
				t.Fatalf("%d keys take %.1f bytes each", n, perKey)
			}
			measure()
		}
	}
	checkPages(t, d)
	measure()
	if largest > 2*defaultPageSlots {
		t.Errorf("a page has %d keys", largest)
	}
	pages, splits, rebuilds := d.Stats()
	t.Logf("%d keys: %d pages, %d splits, %d rebuilds, largest page %d keys, at most %d copies in %d inserts, %.1f bytes a key",
		keys, pages, splits, rebuilds, largest, worstWindow, window, float64(d.Bytes())/float64(keys))
	if worstWindow > 40 {
		t.Errorf("%d pages were copied in %d inserts", worstWindow, window)
	}
}

// With tiny pages, splits and rebuilds are often due at the same time.
func TestPutCopiesOnePageAtMost(t *testing.T) {
	d := New(Options{PageSlots: 8})
	before := 0
	for n := range uint64(50_000) {
		d.Put(fpOf(n), locationOf(n))
		if n%3 == 0 {
			d.Delete(fpOf(n / 2))
		}
		_, splits, rebuilds := d.Stats()
		if copies := splits + rebuilds - before; copies > 2 || n%3 != 0 && copies > 1 {
			t.Fatalf("step %d copied %d pages", n, copies)
		}
		before = splits + rebuilds
	}
}

// A reader that has seen a hash may read the location much later, so that must belong to the same
// key forever.
func TestSlotKeepsItsOwner(t *testing.T) {
	d := New(Options{PageSlots: 32})
	random := rand.New(rand.NewPCG(6, 7))
	for step := range 50_000 {
		fp := fpOf(random.Uint64() % 200)
		p := d.page(fp.Hash)
		before, checks := slices.Clone(p.slots), slices.Clone(p.checks)
		if step%2 == 0 {
			d.Put(fp, locationOf(uint64(step)))
		} else {
			d.Delete(fp)
		}
		for slot, check := range checks {
			hash := before[wordsPerSlot*slot]
			if hash != 0 && (hash != p.slots[wordsPerSlot*slot] || check != p.checks[slot]) {
				t.Fatalf("step %d: slot %d went from %#x to %#x", step, slot, hash, p.slots[wordsPerSlot*slot])
			}
		}
		if p.retired == (d.page(fp.Hash) == p) {
			t.Fatalf("step %d: a page is current and retired, or neither", step)
		}
	}
	if _, _, rebuilds := d.Stats(); rebuilds < 100 {
		t.Fatalf("only %d rebuilds", rebuilds)
	}
}

func TestExpectedKeysAreNotCopied(t *testing.T) {
	const keys = 200_000
	d := New(Options{ExpectedKeys: keys})
	if perKey := float64(d.Bytes()) / keys; perKey < 16 || perKey > 34 {
		t.Errorf("%.1f bytes for each expected key", perKey)
	}
	for n := range uint64(keys) {
		d.Put(fpOf(n), locationOf(n))
	}
	checkPages(t, d)
	pages, splits, rebuilds := d.Stats()
	t.Logf("%d pages, %d splits, %d rebuilds", pages, splits, rebuilds)
	if splits != 0 || rebuilds > pages/5 {
		t.Errorf("%d pages: %d splits, %d rebuilds", pages, splits, rebuilds)
	}
}

// Trim keeps room for keys that are still expected.
func TestTrimLeavesRoomForWhatIsExpected(t *testing.T) {
	const keys = 100_000
	d := New(Options{ExpectedKeys: 3 * keys})
	for n := range uint64(keys / 10) {
		d.Put(fpOf(n), locationOf(n))
	}
	d.Trim(keys)
	checkPages(t, d)
	if perKey := float64(d.Bytes()) / keys; perKey < 16 || perKey > 36 {
		t.Errorf("%.1f bytes for each expected key", perKey)
	}
	before := d.Bytes()
	for n := range uint64(keys) {
		d.Put(fpOf(n), locationOf(n))
	}
	checkPages(t, d)
	if d.Bytes() > before*5/4 {
		t.Errorf("%d bytes after the inserts, but %d before them", before, d.Bytes())
	}
}

func TestTrimGivesBackWhatWasExpected(t *testing.T) {
	const keys = 100_000
	d := New(Options{ExpectedKeys: 3 * keys})
	for n := range uint64(keys) {
		d.Put(fpOf(n), locationOf(n))
	}
	d.Trim(0)
	checkPages(t, d)
	if perKey := float64(d.Bytes()) / keys; perKey > 36 {
		t.Errorf("%.1f bytes for each key", perKey)
	}
	for n := range uint64(keys) {
		if got := d.Get(fpOf(n)); got != locationOf(n) {
			t.Fatalf("key %d is at %#x", n, got)
		}
	}
	_, _, before := d.Stats()
	if d.Trim(keys); d.Len() != keys {
		t.Errorf("%d keys", d.Len())
	}
	if _, _, after := d.Stats(); after != before {
		t.Errorf("the second Trim made %d rebuilds", after-before)
	}
}

func TestDeletesGiveMemoryBack(t *testing.T) {
	const keys = 200_000
	d := filled(keys)
	full := d.Bytes()
	for n := range uint64(keys) {
		if n%10 != 0 {
			d.Delete(fpOf(n))
		}
	}
	checkPages(t, d)
	if d.Len() != keys/10 || d.Bytes() > full*3/10 {
		t.Errorf("of %d keys %d are left, of %d bytes %d", keys, d.Len(), full, d.Bytes())
	}
	d.Sweep(func(Location) bool { return true })
	checkPages(t, d)
	if d.Len() != 0 || d.Bytes() > full*5/100 {
		t.Errorf("of %d keys %d are left, of %d bytes %d", keys, d.Len(), full, d.Bytes())
	}
}

// Keys that are inserted and deleted must not grow the pages, and are copied at most a few times each.
func TestChurnStaysInBounds(t *testing.T) {
	const keys, rounds = 50_000, 400_000
	d := filled(keys)
	full := d.Bytes()
	_, splitsBefore, rebuildsBefore := d.Stats()
	for n := range uint64(rounds) {
		d.Delete(fpOf(n))
		d.Put(fpOf(n+keys), locationOf(n))
	}
	checkPages(t, d)
	pages, splits, rebuilds := d.Stats()
	copied := (rebuilds - rebuildsBefore + splits - splitsBefore) * keys / pages
	if d.Len() != keys || d.Bytes() > full*3/2 || copied > 4*rounds {
		t.Errorf("%d keys, %d bytes of %d, %d slots copied for %d inserts", d.Len(), d.Bytes(), full, copied, rounds)
	}
}

func TestRangeStops(t *testing.T) {
	d := filled(1000)
	seen := 0
	d.Range(func(Fingerprint, Location) bool {
		seen++
		return seen < 10
	})
	if seen != 10 {
		t.Fatalf("Range went on to %d", seen)
	}
}

func TestRangeMayWrite(t *testing.T) {
	d := New(Options{PageSlots: 8})
	for n := range uint64(1000) {
		d.Put(fpOf(n), locationOf(n))
	}
	seen := 0
	d.Range(func(fp Fingerprint, location Location) bool {
		seen++
		if !d.CompareAndSwap(fp, location, NoLocation) {
			t.Fatalf("%+v is gone", fp)
		}
		for n := range uint64(3) {
			if seen < 1000 {
				d.Put(fpOf(1<<32+uint64(seen)*8+n), locationOf(n))
			}
		}
		return true
	})
	if seen < 1000 {
		t.Fatalf("Range yielded %d of 1000", seen)
	}
	checkPages(t, d)
}

func TestLocation(t *testing.T) {
	tests := []struct {
		slot         uint32
		offset, size int64
		wantSize     int64
		known        bool
	}{
		{0, 64, 0, 0, true},
		{0, 64, 24, 24, true},
		{MaxSlots - 1, 1<<32 - 8, 262128, 262128, true},
		{MaxSlots - 1, 1<<32 - 8, 262136, 0, false},
		{7, 1 << 31, -1, 0, false},
		{7, 72, 1<<32 + 64, 0, false},
	}
	for _, test := range tests {
		l := MakeLocation(test.slot, test.offset, test.size)
		size, known := l.Size()
		if l == NoLocation || l.Slot() != test.slot || l.Offset() != test.offset || size != test.wantSize || known != test.known {
			t.Errorf("%+v: %#x is slot %d, offset %d, size %d %v", test, l, l.Slot(), l.Offset(), size, known)
		}
		if l.Tombstone() != (test.size == 0) {
			t.Errorf("%+v: Tombstone is %v", test, l.Tombstone())
		}
	}
	ordered := []Location{
		MakeLocation(1, 64, -1), MakeLocation(1, 72, 0), MakeLocation(1, 1<<32-8, 8), MakeLocation(2, 64, 0), MakeLocation(MaxSlots-1, 64, 0),
	}
	for i := 1; i < len(ordered); i++ {
		if ordered[i-1] >= ordered[i] {
			t.Errorf("location %d is not below the next", i-1)
		}
	}
}

func TestHasher(t *testing.T) {
	one, other := NewHasher(), NewHasher()
	fingerprints := map[Fingerprint]bool{}
	var bitsSet [96]int
	const keys = 20000
	for n := range keys {
		key := []byte(fmt.Sprint("key ", n))
		fp := one.Fingerprint(key)
		if fp != one.Fingerprint(key) || fp.Hash != one.Hash(key) || fp.Hash == 0 {
			t.Fatalf("%q: %+v, hash %#x", key, fp, one.Hash(key))
		}
		if fp == other.Fingerprint(key) {
			t.Fatalf("%q: two hashers agree", key)
		}
		fingerprints[fp] = true
		for rest := fp.Hash; rest != 0; rest &= rest - 1 {
			bitsSet[bits.TrailingZeros64(rest)]++
		}
		for rest := fp.Check; rest != 0; rest &= rest - 1 {
			bitsSet[64+bits.TrailingZeros32(rest)]++
		}
	}
	if len(fingerprints) != keys {
		t.Errorf("%d fingerprints of %d keys", len(fingerprints), keys)
	}
	for bit, count := range bitsSet {
		if count < keys*45/100 || count > keys*55/100 {
			t.Errorf("bit %d is set in %d of %d", bit, count, keys)
		}
	}

	injected := NewHasherFrom(func(key []byte) (uint64, uint32) { return uint64(len(key)), 7 })
	if got := injected.Fingerprint([]byte("abc")); got != (Fingerprint{3, 7}) {
		t.Errorf("injected: %+v", got)
	}
	if got := injected.Fingerprint(nil); got != (Fingerprint{1, 7}) || injected.Hash(nil) != 1 {
		t.Errorf("injected zero: %+v", got)
	}
	standard := NewHasherFrom(nil)
	if standard.Hash([]byte("abc")) == 0 || standard.injected != nil {
		t.Error("NewHasherFrom(nil) does not use maphash")
	}
	key := []byte("user:000000012345")
	if allocs := testing.AllocsPerRun(100, func() { one.Fingerprint(key) }); allocs != 0 {
		t.Errorf("Fingerprint allocates %v times", allocs)
	}
}
