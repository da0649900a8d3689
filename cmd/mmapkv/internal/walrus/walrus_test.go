package walrus

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mmapkv/mmapkv/cmd/mmapkv/internal/walrus/walrustest"
)

func record(key, value string, flags byte) []byte {
	return walrustest.AppendRecord(nil, key, value, flags != 0)
}

// write creates a namespace with the given data files.
func write(t testing.TB, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// read returns the records and damages that Scan finds, in order.
func read(t testing.TB, dir string) (found, damages []string) {
	t.Helper()
	d, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var all []Record
	err = d.Scan(func(r Record) error {
		r.Key = bytes.Clone(r.Key)
		all = append(all, r)
		return nil
	}, func(bad Damage) {
		damages = append(damages, fmt.Sprintf("%d: %d+%d tail %v", bad.File, bad.Offset, bad.Size, bad.Tail))
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range all {
		value, err := d.Value(r)
		if err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprintf("%.20s=%.20s", r.Key, value)
		if r.Deleted {
			text = fmt.Sprintf("%.20s deleted", r.Key)
		}
		found = append(found, text)
	}
	return found, damages
}

func TestRecordBytes(t *testing.T) {
	const want = "00060005000000757365723a31616c696365323da0eb"
	if got := hex.EncodeToString(record("user:1", "alice", 0)); got != want {
		t.Errorf("%s, not %s", got, want)
	}
}

func TestScanFindsEverything(t *testing.T) {
	long := strings.Repeat("long ", 5<<20) // two blocks and a half
	var first []byte
	first = append(first, record("a", "1", 0)...)
	first = append(first, record("", "of the empty key", 0)...)
	first = append(first, record(strings.Repeat("k", 256), "a key whose size has a zero", 0)...)
	first = append(first, make([]byte, 5000)...) // a gap that is not the end of the block
	first = append(first, record("behind", "the gap", 0)...)
	first = append(first, make([]byte, blockSize-len(first))...)
	first = append(first, record("long", long, 0)...)
	first = append(first, make([]byte, 4*blockSize-len(first))...)
	first = append(first, record("last", "block", 0)...)
	first = append(first, record("a", "", 1)...)
	dir := write(t, map[string][]byte{
		"1700000000000":      first,
		"1700000000001":      record("b", "2", 0),
		"999":                record("older", "by its number", 0),
		"1700000000000.hint": []byte("never read"),
		"other":              []byte("not either"),
	})
	found, damages := read(t, dir)
	want := []string{"older=by its number", "a=1", "=of the empty key", "kkkkkkkkkkkkkkkkkkkk=a key whose size has",
		"behind=the gap", "long=long long long long ", "last=block", "a deleted", "b=2"}
	if !slices.Equal(found, want) || damages != nil {
		t.Errorf("found %q\nwant %q\ndamages %q", found, want, damages)
	}
}

// After damage of any kind the rest is found, and a torn end is told apart from damage.
func TestScanContinuesAfterDamage(t *testing.T) {
	file := func(middle []byte) []byte {
		return slices.Concat(record("before", "1", 0), middle, record("after", "2", 0))
	}
	damaged := record("middle", strings.Repeat("x", 1000), 0)
	for at := range len(damaged) {
		broken := bytes.Clone(damaged)
		broken[at] ^= 0x55
		found, damages := read(t, write(t, map[string][]byte{"1": file(broken)}))
		if !slices.Equal(found, []string{"before=1", "after=2"}) {
			t.Fatalf("with byte %d broken: %q", at, found)
		}
		if len(damages) != 1 || !strings.HasSuffix(damages[0], "tail false") {
			t.Fatalf("with byte %d broken: %q", at, damages)
		}
	}
	for cut := 1; cut < len(damaged); cut++ {
		content := slices.Concat(record("before", "1", 0), damaged[:cut], make([]byte, 3000))
		found, damages := read(t, write(t, map[string][]byte{"1": content, "2": record("other", "file", 0)}))
		if !slices.Equal(found, []string{"before=1", "other=file"}) {
			t.Fatalf("cut at %d: %q", cut, found)
		}
		if cut > 1 && (len(damages) != 1 || !strings.HasSuffix(damages[0], "tail true")) {
			t.Fatalf("cut at %d: %q", cut, damages)
		}
	}
}

// Numbers in the value look like headers, and the scan would sum each of them. The
// length of the damaged record says where the next one begins.
func TestManyRecordsAfterADamagedKey(t *testing.T) {
	var value []byte
	for i := range 200 {
		value = binary.LittleEndian.AppendUint64(value, uint64(i))
	}
	content := record("first", string(value), 0)
	content[8] ^= 1 // in the key
	const n = 40_000
	for i := range n {
		content = append(content, record(fmt.Sprintf("key-%05d", i), strings.Repeat("v", 200), 0)...)
	}
	found, damages := read(t, write(t, map[string][]byte{"1": content}))
	if len(found) != n || len(damages) != 1 {
		t.Errorf("%d of %d records are found; damages: %v", len(found), n, damages)
	}
}

// The header at the start of each block claims a record as long as the rest of the file.
func TestHeadersOfLongRecordsEndNowhere(t *testing.T) {
	const blocks = 8
	path := filepath.Join(t.TempDir(), "1")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(blocks * blockSize); err != nil {
		t.Fatal(err)
	}
	for i := range blocks {
		header := make([]byte, headerSize)
		binary.LittleEndian.PutUint32(header[3:], uint32((blocks-i)*blockSize-minRecordSize))
		if _, err := f.WriteAt(header, int64(i)*blockSize); err != nil {
			t.Fatal(err)
		}
	}
	s := scan{record: func(Record) error { return nil }, damage: func(Damage) {}, block: make([]byte, blockSize)}
	s.file = &dataFile{File: f, size: blocks * blockSize}
	if err := s.run(); err != nil {
		t.Fatal(err)
	}
	summed := 2*s.file.size - s.longLeft
	if summed > 3*s.file.size {
		t.Errorf("%d bytes were summed, of %d", summed, s.file.size)
	}
}

func TestOnlyRegularFilesAreRead(t *testing.T) {
	dir := write(t, nil)
	if err := os.Symlink("/dev/zero", filepath.Join(dir, "1700000000000")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); err == nil {
		t.Error("a link is read")
	}
	if _, err := Open(filepath.Join(dir, "absent")); !os.IsNotExist(err) {
		t.Errorf("of an absent directory: %v", err)
	}
}

func FuzzScan(f *testing.F) {
	f.Add(record("user:1", "alice", 0))
	f.Add(slices.Concat(record("a", "", 1), make([]byte, 20), record("b", "2", 0)))
	f.Add(slices.Concat([]byte("garbage, and then"), record("", "", 0)))
	f.Fuzz(func(t *testing.T, content []byte) {
		found, _ := read(t, write(t, map[string][]byte{"1": slices.Concat(content, make([]byte, minRecordSize), record("key", "value", 0))}))
		if len(found) == 0 || found[len(found)-1] != "key=value" {
			t.Errorf("%q is found, and not the record at the end", found)
		}
	})
}
