package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

const testHintID = 7

// parsedHint is a hint in memory that was checked as a whole.
type parsedHint struct {
	*Table
	entries []HintEntry
}

func parseHint(data []byte, id ID, salt uint64) (*parsedHint, error) {
	t, err := OpenTableIn(data, id, salt, nil)
	if err != nil {
		return nil, err
	}
	if err := t.Check(); err != nil {
		return nil, err
	}
	h := &parsedHint{Table: t}
	for e, err := range t.Entries() {
		if err != nil {
			return nil, err
		}
		e.Key = bytes.Clone(e.Key)
		h.entries = append(h.entries, e)
	}
	return h, nil
}

// at is the i-th entry, as a cursor finds it.
func (h *parsedHint) at(i int) HintEntry {
	c := h.Cursor()
	c.At(i)
	return c.Entry()
}

// find looks a key up.
func (h *parsedHint) find(key []byte) (HintEntry, bool) {
	c := h.Cursor()
	if !c.Seek(key) || !bytes.Equal(c.Entry().Key, key) {
		return HintEntry{}, false
	}
	return c.Entry(), true
}

func TestHintGolden(t *testing.T) {
	golden(t, "hint", exampleHint())
	h, err := parseHint(readGolden(t, "hint"), testHintID, testSalt)
	if err != nil {
		t.Fatal(err)
	}
	want := HintEntry{Key: []byte("key"), Offset: 64, Size: 32, Seq: 1}
	if h.Covers != (End{128, 2}) || h.Watermark != 1 || h.Len() != 1 || !reflect.DeepEqual(h.at(0), want) ||
		!slices.Equal(h.Damages(), []Damage{{96, 32}}) {
		t.Errorf("%+v, %+v, %v", h, h.at(0), h.Damages())
	}
}

func TestHintKeepsTheNewestOfEachKey(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		keys := rapid.SliceOfN(rapid.StringOfN(rapid.RuneFrom([]rune{'a', 'b', 0}), 0, 12, -1), 1, 40).Draw(t, "keys")
		numbers := rapid.Permutation(keys).Draw(t, "order")
		b, newest := NewHintBuilder(), make(map[string]HintEntry)
		for i, key := range numbers {
			e := Entry{
				Offset: HeaderSize + 32*int64(i), Size: 32, Seq: rapid.Uint64().Draw(t, "seq"), Key: []byte(key),
				Flags: Flags(rapid.IntRange(0, int(knownFlags)).Draw(t, "flags")), Expiry: rapid.Int64().Draw(t, "expiry"),
			}
			if old, ok := newest[key]; ok && old.Seq == e.Seq {
				continue
			}
			b.Add(e)
			if old, ok := newest[key]; !ok || old.Seq < e.Seq {
				want := HintEntry{Key: e.Key, Offset: e.Offset, Size: e.Size, Seq: e.Seq, Flags: e.Flags & (Tombstone | Expires)}
				if e.Flags&Expires != 0 {
					want.Expiry = e.Expiry
				}
				newest[key] = want
			}
		}
		h, err := parseHint(b.Encode(testHintID, testSalt, End{1 << 20, 9}, 0), testHintID, testSalt)
		if err != nil || h.Len() != len(newest) {
			t.Fatalf("%v, want %d keys", err, len(newest))
		}
		if len(h.entries) != h.Len() {
			t.Fatalf("got %d entries, want %d", len(h.entries), h.Len())
		}
		for i, e := range h.entries {
			if !sameEntry(e, newest[string(e.Key)]) || !sameEntry(e, h.at(i)) {
				t.Fatalf("%+v, want %+v", e, newest[string(e.Key)])
			}
		}
		for _, key := range append(keys, "c", "aaaaaaaaaaaaaaaaa") {
			want, wanted := newest[key]
			if e, ok := h.find([]byte(key)); ok != wanted || ok && !sameEntry(e, want) {
				t.Fatalf("Find(%q): %+v, %v", key, e, ok)
			}
		}
	})
}

func sameEntry(a, b HintEntry) bool {
	equal := bytes.Equal(a.Key, b.Key)
	a.Key, b.Key = nil, nil
	return equal && reflect.DeepEqual(a, b)
}

func TestHintRefusesEveryFlippedBitAndTruncation(t *testing.T) {
	data := exampleHint()
	for bit := range 8 * len(data) {
		data[bit/8] ^= 1 << (bit % 8)
		if _, err := parseHint(data, testHintID, testSalt); !errors.Is(err, ErrHint) && !errors.Is(err, ErrVersion) {
			t.Errorf("bit %d flipped: %v", bit, err)
		}
		data[bit/8] ^= 1 << (bit % 8)
	}
	for n := range data {
		if _, err := parseHint(data[:n], testHintID, testSalt); !errors.Is(err, ErrHint) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

func TestHintBelongsToItsSegment(t *testing.T) {
	if _, err := parseHint(exampleHint(), testHintID+1, testSalt); !errors.Is(err, ErrHint) {
		t.Error(err)
	}
	if _, err := parseHint(exampleHint(), testHintID, testSalt+1); !errors.Is(err, ErrHint) {
		t.Error(err)
	}
}

func TestHintOfAnotherVersion(t *testing.T) {
	newer := exampleHint()
	newer[hintVersionAt]++
	files := map[uint32][]byte{4: newer}
	for version := uint32(1); version < hintVersion; version++ {
		older, err := os.ReadFile(filepath.Join("testdata", fmt.Sprint("v", version), "hint"))
		if err != nil {
			t.Fatal(err)
		}
		files[version] = older
	}
	for version, data := range files {
		_, err := parseHint(data, testHintID, testSalt)
		var which *VersionError
		if !errors.As(err, &which) || which.Version != version || which.Known != 3 {
			t.Errorf("version %d: %v", version, err)
		}
	}
}

func TestHostileHintIsRefusedInLittleMemory(t *testing.T) {
	refused := func(what string, data []byte) {
		t.Helper()
		const runs = 100
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range runs {
			if _, err := parseHint(data, testHintID, testSalt); !errors.Is(err, ErrHint) {
				t.Fatalf("%s: %v", what, err)
			}
		}
		runtime.ReadMemStats(&after)
		if bytes := (after.TotalAlloc - before.TotalAlloc) / runs; bytes > uint64(1024+2*len(data)) {
			t.Errorf("%s: %d bytes for a hint of %d", what, bytes, len(data))
		}
	}
	for _, n := range []uint64{math.MaxUint64, math.MaxUint64 / 8, 1 << 63, 1<<61 + 1, 1 << 32, 1<<16 - 1} {
		for _, at := range []int{hintCountAt, hintKeyBytesAt, hintPartsAt, hintPrefixAt} {
			refused(fmt.Sprintf("%#x at %d", n, at), resealedHint(func(b []byte) { copy(b[at:at+8], binary.LittleEndian.AppendUint64(nil, n)) }))
		}
		number := binary.AppendUvarint(nil, n)
		for _, which := range []string{"head", "offset", "size"} {
			refused(fmt.Sprintf("%#x as %s", n, which), hintWith(exampleEntry.with(which, number)))
		}
	}
}

// entryParts are the encoded parts of an entry.
type entryParts struct{ head, key, offset, size, seq, expiry []byte }

var exampleEntry = entryParts{[]byte{3 << flagBits}, []byte("key"), []byte{8}, []byte{4}, []byte{1}, nil}

func (e entryParts) with(part string, encoded []byte) []byte {
	switch part {
	case "head":
		e.head = encoded
	case "key":
		e.key = encoded
	case "offset":
		e.offset = encoded
	case "size":
		e.size = encoded
	case "seq":
		e.seq = encoded
	case "expiry":
		e.expiry = encoded
	default:
		panic(part)
	}
	return slices.Concat(e.head, e.key, e.offset, e.size, e.seq, e.expiry)
}

// hintWith is the example with other entries, all in one part without a prefix, and with valid
// checksums.
func hintWith(entries ...[]byte) []byte {
	data := bytes.Clone(exampleHint()[:hintHeaderSize])
	place, keyBytes := placeSize*len(entries), 0
	var part, directory []byte
	for _, e := range entries {
		part = binary.LittleEndian.AppendUint16(part, uint16(place))
		place += len(e)
		key, _, _, _ := entryKey(e)
		keyBytes += len(key)
	}
	part = slices.Concat(append([][]byte{part}, entries...)...)
	part = append(part, make([]byte, -len(part)&(Alignment-1))...)
	binary.LittleEndian.PutUint64(data[hintCountAt:], uint64(len(entries)))
	binary.LittleEndian.PutUint64(data[hintKeyBytesAt:], uint64(keyBytes))
	binary.LittleEndian.PutUint64(data[hintBaseAt:], 0)
	binary.LittleEndian.PutUint32(data[hintPrefixAt:], 0)
	first, _, _, _ := entryKey(entries[0])
	directory = binary.BigEndian.AppendUint64(directory, keyPrefix(first))
	directory = binary.LittleEndian.AppendUint32(directory, 0)
	directory = binary.LittleEndian.AppendUint32(directory, hintHeaderSize/Alignment)
	directory = append(directory, 0, 0, 0, 0)
	data = slices.Concat(data, part, directory, exampleHint()[exampleDamage:])
	return reseal(data)
}

// exampleDamage is where the damaged range of the example is.
var exampleDamage = len(exampleHint()) - hintSumSize - damageSize

// reseal gives a hint valid checksums, as far as its header makes sense.
func reseal(data []byte) []byte {
	le, id := binary.LittleEndian, ID(binary.LittleEndian.Uint64(data[hintIDAt:]))
	sections := int64(len(data)) - hintSumSize - int64(le.Uint32(data[hintDamagesAt:]))*damageSize - int64(le.Uint32(data[hintPrefixAt:]))
	parts := int64(le.Uint32(data[hintPartsAt:]))
	from := sections - parts*directorySize
	if from < hintHeaderSize {
		from = hintHeaderSize
	}
	for i := range parts {
		line := from + i*directorySize
		if line+directorySize > int64(len(data)) {
			break
		}
		place, end := int64(le.Uint32(data[line+prefixSize+4:]))*Alignment, from
		if next := line + directorySize; i+1 < parts && next+directorySize <= int64(len(data)) {
			end = int64(le.Uint32(data[next+prefixSize+4:])) * Alignment
		}
		if place <= end && end <= int64(len(data)) {
			le.PutUint32(data[line+prefixSize+8:], partSeal(boundSum(data), data[place:end], place, testSalt))
		}
	}
	end := len(data) - hintSumSize
	sum := crc32.Update(crc32.Checksum(data[:hintHeaderSize], castagnoli), castagnoli, data[from:end])
	le.PutUint64(data[end:], uint64(hintSeal(sum, id, testSalt)))
	return data
}

func TestBuildHintTellsDamage(t *testing.T) {
	data, offsets := logOf([]byte("one"), []byte("two"), []byte("three"), []byte("four"))
	end := int64(len(data))
	for _, c := range []struct {
		name    string
		damaged []int
		want    []Damage
	}{
		{"none", nil, nil},
		{"middle", []int{1, 2}, []Damage{{offsets[1], offsets[3] - offsets[1]}}},
		{"trailing", []int{3}, []Damage{{offsets[3], end - offsets[3]}}},
		{"both", []int{0, 3}, []Damage{{offsets[0], offsets[1] - offsets[0]}, {offsets[3], end - offsets[3]}}},
		{"all", []int{0, 1, 2, 3}, []Damage{{offsets[0], end - offsets[0]}}},
	} {
		damaged := bytes.Clone(data)
		for _, i := range c.damaged {
			damaged[offsets[i]] ^= 1
		}
		b, err := BuildHint(bytes.NewReader(damaged), testSalt, HeaderSize, end, nil)
		if err != nil {
			t.Fatal(err)
		}
		h, err := parseHint(b.Encode(testHintID, testSalt, End{end, 4}, 0), testHintID, testSalt)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(h.Damages(), c.want) || h.Len() != len(offsets)-len(c.damaged) {
			t.Errorf("%s: %d keys, damage %v, want %v", c.name, h.Len(), h.Damages(), c.want)
		}
	}
}

type failingReader struct{ err error }

func (f failingReader) ReadAt([]byte, int64) (int, error) { return 0, f.err }

func TestBuildHintReturnsErrorsOfReading(t *testing.T) {
	if _, err := BuildHint(failingReader{io.ErrClosedPipe}, testSalt, 64, 1<<20, nil); !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
}

// hintOf returns a builder with n keys, added in no particular order.
func hintOf(n int) *HintBuilder {
	b := NewHintBuilder()
	for i := range n {
		key := fmt.Appendf(nil, "user:%016x", uint64(i)*0x9e3779b97f4a7c15)
		b.Add(Entry{Offset: HeaderSize + 32*int64(i), Size: 32, Seq: uint64(i + 1), Key: key})
	}
	return b
}

func TestHintOfManyChunks(t *testing.T) {
	var b HintBuilder
	want := map[string]uint64{}
	random := rand.New(rand.NewPCG(1, 2))
	for seq := uint64(1); seq <= 20_000; seq++ {
		size := random.IntN(300)
		if seq%1000 == 0 {
			size = MaxKeySize - random.IntN(20)
		}
		key := bytes.Repeat([]byte{byte(size)}, size)
		key = strconv.AppendUint(key[:max(size-8, 0)], seq%9000, 10)
		b.Add(Entry{Offset: HeaderSize + 32*int64(seq), Size: 32, Seq: seq, Key: key})
		want[string(key)] = seq
	}
	if len(b.chunks) < 3 {
		t.Fatalf("%d chunks", len(b.chunks))
	}
	paused := 0
	b.Pause = func() { paused++ }
	h, err := parseHint(b.Encode(testHintID, testSalt, End{1 << 30, 20_000}, 0), testHintID, testSalt)
	if err != nil {
		t.Fatal(err)
	}
	if h.Len() != len(want) {
		t.Errorf("%d keys, want %d", h.Len(), len(want))
	}
	for key, seq := range want {
		if e, ok := h.find([]byte(key)); !ok || e.Seq != seq || e.Offset != HeaderSize+32*int64(seq) {
			t.Errorf("a key of %d bytes: record %d at %d, %v; want %d", len(key), e.Seq, e.Offset, ok, seq)
		}
	}
	if paused < 20_000*lookCost/pauseBytes {
		t.Errorf("paused %d times", paused)
	}
}

func TestBuildHintPauses(t *testing.T) {
	small := make([][]byte, 5*pauseBytes/100)
	for i := range small {
		small[i] = make([]byte, 100)
	}
	for name, values := range map[string][][]byte{
		"small values":  small,
		"a large value": {make([]byte, 5*scanWindow)},
	} {
		data, _ := logOf(values...)
		paused := 0
		_, err := BuildHint(bytes.NewReader(data), testSalt, HeaderSize, int64(len(data)), func() { paused++ })
		if err != nil || paused < 5 {
			t.Errorf("%s: %v, paused %d times", name, err, paused)
		}
	}
}

func BenchmarkHintEncode1M(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		builder := hintOf(1 << 20)
		b.StartTimer()
		builder.Encode(testHintID, testSalt, End{1 << 30, 1}, 0)
	}
}

func BenchmarkReadTable1M(b *testing.B) {
	data := hintOf(1<<20).Encode(testHintID, testSalt, End{1 << 30, 1}, 0)
	for b.Loop() {
		h, err := OpenTableIn(data, testHintID, testSalt, nil)
		if err != nil {
			b.Fatal(err)
		}
		for e, err := range h.Entries() {
			if err != nil || e.Seq == 0 {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.N)*float64(1<<20)/b.Elapsed().Seconds(), "keys/s")
}

// resealedHint is the example with a change and valid checksums.
func resealedHint(change func(data []byte)) []byte {
	data := exampleHint()
	change(data)
	return reseal(data)
}

func TestHintRefusesWhatNoStoreWrites(t *testing.T) {
	damage, part := exampleDamage, hintHeaderSize
	line := damage - len("key") - directorySize
	for name, change := range map[string]func([]byte){
		"zeros":                       func(b []byte) { clear(b) },
		"ones":                        func(b []byte) { copy(b, bytes.Repeat([]byte{0xff}, len(b))) },
		"wrong size of the keys":      func(b []byte) { b[hintKeyBytesAt]++ },
		"another id":                  func(b []byte) { b[hintIDAt]++ },
		"covers nothing":              func(b []byte) { b[hintCoversAt] = 0 },
		"covers a negative length":    func(b []byte) { b[hintCoversAt+7] = 0x80 },
		"too many entries":            func(b []byte) { b[hintCountAt] = 2 },
		"no entries":                  func(b []byte) { b[hintCountAt] = 0 },
		"a number beyond all numbers": func(b []byte) { copy(b[hintBaseAt:], bytes.Repeat([]byte{0xff}, 8)); b[part+8] = 1 },
		"no parts":                    func(b []byte) { b[hintPartsAt] = 0 },
		"two parts":                   func(b []byte) { b[hintPartsAt] = 2 },
		"another common prefix":       func(b []byte) { b[damage-1]++ },
		"no common prefix":            func(b []byte) { b[hintPrefixAt] = 0 },
		"a fence":                     func(b []byte) { b[line]++ },
		"a first entry that is not 0": func(b []byte) { b[line+prefixSize]++ },
		"a part that begins later":    func(b []byte) { b[line+prefixSize+4]++ },
		"a place in the places":       func(b []byte) { b[part] = 1 },
		"a place before the entry":    func(b []byte) { b[part] = 3 },
		"a place past the end":        func(b []byte) { b[part+1] = 1 },
		"padding":                     func(b []byte) { b[part+10] = 1 },
		"damage past the end":         func(b []byte) { b[damage] = 136 },
		"damage across the end":       func(b []byte) { b[damage+8] = 33 },
		"empty damage":                func(b []byte) { b[damage+8] = 0 },
	} {
		if _, err := parseHint(resealedHint(change), testHintID, testSalt); !errors.Is(err, ErrHint) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, damages := range map[string][]Damage{
		"ranges out of order": {{96, 8}, {64, 8}},
		"a range twice":       {{96, 8}, {96, 8}},
		"overlapping ranges":  {{64, 16}, {72, 8}},
		"an unaligned range":  {{68, 8}},
		"an unaligned end":    {{64, 4}, {72, 8}},
	} {
		b := NewHintBuilder()
		for _, d := range damages {
			b.AddDamage(d)
		}
		if _, err := parseHint(b.Encode(testHintID, testSalt, End{128, 2}, 0), testHintID, testSalt); !errors.Is(err, ErrHint) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := parseHint(resealedHint(func([]byte) {}), testHintID, testSalt); err != nil {
		t.Errorf("nothing changed: %v", err)
	}
}

func TestHintRefusesEntriesThatNoStoreWrites(t *testing.T) {
	expiring := exampleEntry
	expiring.head, expiring.expiry = []byte{3<<flagBits | byte(Expires)}, make([]byte, expirySize)
	for name, entry := range map[string][]byte{
		"record in the header":     exampleEntry.with("offset", []byte{7}),
		"record past the end":      exampleEntry.with("offset", []byte{16}),
		"size too small":           exampleEntry.with("size", []byte{2}),
		"size past the end":        exampleEntry.with("size", []byte{9}),
		"head in two bytes":        exampleEntry.with("head", []byte{0x8c, 0}),
		"offset in two bytes":      exampleEntry.with("offset", []byte{0x88, 0}),
		"size in two bytes":        exampleEntry.with("size", []byte{0x84, 0}),
		"number in two bytes":      exampleEntry.with("seq", []byte{0x81, 0}),
		"endless number":           exampleEntry.with("seq", bytes.Repeat([]byte{0x81}, 20)),
		"key past the end":         exampleEntry.with("head", []byte{30 << flagBits}),
		"expiry without a flag":    exampleEntry.with("expiry", make([]byte, expirySize)),
		"flag without an expiry":   exampleEntry.with("head", expiring.head),
		"flag with half an expiry": expiring.with("expiry", make([]byte, 4)),
		"a byte after the entry":   exampleEntry.with("expiry", []byte{1}),
		"no bytes":                 {},
	} {
		if _, err := parseHint(hintWith(entry), testHintID, testSalt); !errors.Is(err, ErrHint) {
			t.Errorf("%s: %v", name, err)
		}
	}
	whole := exampleEntry.with("seq", []byte{0xff, 1})
	for n := range whole {
		if _, err := parseHint(hintWith(whole[:n]), testHintID, testSalt); !errors.Is(err, ErrHint) {
			t.Errorf("%d bytes of an entry: %v", n, err)
		}
	}
	if _, err := parseHint(hintWith(whole), testHintID, testSalt); err != nil {
		t.Errorf("a whole entry: %v", err)
	}
	if _, err := parseHint(hintWith(expiring.with("expiry", make([]byte, expirySize))), testHintID, testSalt); err != nil {
		t.Errorf("an entry that expires: %v", err)
	}
}

func TestHintRefusesKeysOutOfOrder(t *testing.T) {
	entry := func(key string) []byte {
		e := exampleEntry
		e.key = []byte(key)
		return e.with("head", []byte{byte(len(key)) << flagBits})
	}
	for _, c := range []struct {
		keys [2]string
		fine bool
	}{{[2]string{"b", "a"}, false}, {[2]string{"a", "a"}, false}, {[2]string{"", ""}, false}, {[2]string{"", "a"}, true}, {[2]string{"a", "b"}, true}} {
		_, err := parseHint(hintWith(entry(c.keys[0]), entry(c.keys[1])), testHintID, testSalt)
		if fine := err == nil; fine != c.fine || !fine && !errors.Is(err, ErrHint) {
			t.Errorf("%q: %v", c.keys, err)
		}
	}
	data := hintWith(entry("a"), entry("b"))
	data[hintHeaderSize+placeSize]++
	if _, err := parseHint(reseal(data), testHintID, testSalt); !errors.Is(err, ErrHint) {
		t.Errorf("an entry that is not where its place says: %v", err)
	}
}

func TestHintCanBeEncodedTwice(t *testing.T) {
	b := hintOf(100)
	first := b.Encode(testHintID, testSalt, End{1 << 20, 1}, 0)
	b.Add(Entry{Offset: 64, Size: 32, Seq: 101, Key: []byte("another")})
	second := b.Encode(testHintID, testSalt, End{1 << 20, 1}, 0)
	if h, err := parseHint(second, testHintID, testSalt); err != nil || h.Len() != 101 || len(second) <= len(first) {
		t.Errorf("%v", err)
	}
}

func TestHintLeavesOutWhatIsBehindItsEnd(t *testing.T) {
	b := NewHintBuilder()
	for i, key := range []string{"a", "b", "a", "c"} {
		b.Add(Entry{Offset: 64 + 32*int64(i), Size: 32, Seq: uint64(i + 1), Key: []byte(key)})
	}
	for kept, want := range []string{"", "a1 ", "a1 b2 ", "a3 b2 ", "a3 b2 c4 "} {
		end := End{64 + 32*int64(kept), uint64(kept)}
		h, err := parseHint(b.Encode(testHintID, testSalt, end, 0), testHintID, testSalt)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, e := range h.entries {
			got += fmt.Sprint(string(e.Key), e.Seq, " ")
		}
		if got != want {
			t.Errorf("with %d records before its end the hint has %s, want %s", kept, got, want)
		}
	}
}

func TestHintOfAnyBytesWithACommonPrefix(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		common := rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "common")
		b, want := NewHintBuilder(), make(map[string]bool)
		for i, rest := range rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 12), 0, 30).Draw(t, "rests") {
			key := append(bytes.Clone(common), rest...)
			want[string(key)] = true
			b.Add(Entry{Offset: 64 + 32*int64(i), Size: 32, Seq: uint64(i + 1), Key: key})
		}
		h, err := parseHint(b.Encode(testHintID, testSalt, End{1 << 20, 99}, 0), testHintID, testSalt)
		if err != nil || h.Len() != len(want) {
			t.Fatalf("%v, want %d keys", err, len(want))
		}
		for _, e := range h.entries {
			if !want[string(e.Key)] {
				t.Fatalf("%q", e.Key)
			}
		}
	})
}

func TestHintKeepsWhatIsDamaged(t *testing.T) {
	b := NewHintBuilder()
	for i, key := range []string{"whole", "damaged", "behind", "torn"} {
		b.Add(Entry{Offset: 64 + 32*int64(i), Size: 32, Seq: uint64(i + 1), Key: []byte(key)})
	}
	data := b.Encode(testHintID, testSalt, End{192, 4}, 0)
	older, err := OpenTable(bytes.NewReader(data), int64(len(data)), testHintID, testSalt, nil)
	if err != nil {
		t.Fatal(err)
	}
	b = NewHintBuilder()
	b.Add(Entry{Offset: 64, Size: 32, Seq: 1, Key: []byte("whole")})
	b.Add(Entry{Offset: 128, Size: 32, Seq: 3, Key: []byte("behind")})
	older.r = failingReader{io.ErrClosedPipe}
	if err := b.AddLost(older, 184); !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
	older.r = bytes.NewReader(data)
	b.AddDamage(Damage{96, 32})
	b.AddDamage(Damage{160, 24})
	if err := b.AddLost(older, 184); err != nil {
		t.Fatal(err)
	}
	h, err := parseHint(b.Encode(testHintID, testSalt, End{184, 4}, 0), testHintID, testSalt)
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, e := range h.entries {
		got += fmt.Sprint(string(e.Key), e.Offset, e.Size, e.Seq, " ")
	}
	if got != "behind128 32 3 damaged96 32 2 whole64 32 1 " {
		t.Errorf("the hint has %s", got)
	}
}
