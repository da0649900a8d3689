package crashfs

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestSyncedSurvivesEveryPowerCut(t *testing.T) {
	d := New()
	must(t, d.Mkdir("/sub"))
	must(t, openDir(t, d, "/").Sync())
	f := durableFile(t, d, "f", strings.Repeat("x", 2000))
	sub := openDir(t, d, "/sub")
	g, err := sub.Create("g")
	must(t, err)
	write(t, g, "in sub", 0)
	must(t, g.Datasync())
	must(t, sub.Sync())
	write(t, f, "tail", 2000)
	for seed := range uint64(300) {
		after := d.PowerCut(Random(seed))
		want(t, after, "/sub/g", "in sub")
		if got := after.Bytes("/f"); !strings.HasPrefix(string(got), strings.Repeat("x", 2000)) {
			t.Fatalf("seed %d: synced bytes are gone", seed)
		}
	}
}

// TestAPowerCutInventsNothing checks that a power cut leaves only legal bytes and lengths,
// whatever calls came before.
func TestAPowerCutInventsNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := New()
		dir, _ := d.OpenDir("/")
		f, _ := dir.Create("f")
		if err := dir.Sync(); err != nil {
			t.Fatal(err)
		}
		const maxSize = 3000
		m := newFileModel(maxSize)
		for range rapid.IntRange(0, 12).Draw(t, "calls") {
			switch rapid.IntRange(0, 6).Draw(t, "call") {
			case 0:
				_ = f.Datasync()
				m.sync()
			case 1:
				size := rapid.Int64Range(0, maxSize).Draw(t, "truncate")
				_ = f.Truncate(size)
				m.setLength(size)
			case 2:
				size := rapid.Int64Range(0, maxSize).Draw(t, "allocate")
				_ = f.Allocate(size)
				m.setLength(max(size, m.length()))
			case 3:
				d = d.Kill()
				dir, _ = d.OpenDir("/")
				f, _ = dir.Open("f")
			default:
				offset := rapid.Int64Range(0, maxSize-1).Draw(t, "offset")
				p := rapid.SliceOfN(rapid.Byte(), 1, int(min(maxSize-offset, 1200))).Draw(t, "bytes")
				_, _ = f.WriteAt(p, offset)
				m.write(p, offset)
			}
		}
		if got := d.Bytes("/f"); !slices.Equal(got, m.now) {
			t.Fatalf("the file holds %d bytes that differ from the %d written", len(got), len(m.now))
		}
		if got := d.PowerCut(KeepAll).Bytes("/f"); !slices.Equal(got, m.now) {
			t.Fatal("KeepAll lost something")
		}
		if got := d.PowerCut(KeepNothing).Bytes("/f"); !slices.Equal(got, m.durable) {
			t.Fatal("KeepNothing differs from what was synced")
		}
		before := d.Hash()
		for range 20 {
			after := d.PowerCut(ChooserFunc(func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "choice") }))
			if err := m.legal(after.Bytes("/f")); err != nil {
				t.Fatal(err)
			}
			// After a power cut everything is durable.
			if again := after.PowerCut(Random(1)); again.Hash() != after.Hash() {
				t.Fatal("a second power cut changed what the first one left")
			}
		}
		if d.Hash() != before || !slices.Equal(d.Bytes("/f"), m.now) {
			t.Fatal("a power cut changed the disk that it was taken from")
		}
	})
}

// fileModel knows which values each byte may have after a power cut.
type fileModel struct {
	durable, now      []byte
	ever              int64
	allowed           []map[byte]bool // besides the durable value
	shortest, longest int64
}

func newFileModel(maxSize int) *fileModel {
	m := &fileModel{allowed: make([]map[byte]bool, maxSize)}
	m.sync()
	return m
}

func (m *fileModel) length() int64 { return int64(len(m.now)) }

func (m *fileModel) sync() {
	m.durable = slices.Clone(m.now)
	m.ever = max(m.ever, m.length())
	m.shortest, m.longest = m.length(), m.length()
	for i := range m.allowed {
		m.allowed[i] = map[byte]bool{}
		if int64(i) >= m.length() {
			m.allowed[i][0] = true
		}
	}
}

func (m *fileModel) setLength(size int64) {
	for i := size; i < int64(len(m.allowed)); i++ {
		m.allowed[i][0] = true
	}
	if size <= m.length() {
		m.now = m.now[:size]
	} else {
		m.now = append(m.now, make([]byte, size-m.length())...)
	}
	m.shortest, m.longest = min(m.shortest, size), max(m.longest, size)
}

func (m *fileModel) write(p []byte, offset int64) {
	if end := offset + int64(len(p)); end > m.length() {
		m.now = append(m.now, make([]byte, end-m.length())...)
		m.longest = max(m.longest, end)
	}
	copy(m.now[offset:], p)
	for i, b := range p {
		m.allowed[offset+int64(i)][b] = true
	}
}

func (m *fileModel) legal(got []byte) error {
	if n := int64(len(got)); n < m.shortest || n > m.longest {
		return fmt.Errorf("length %d is outside %d to %d", n, m.shortest, m.longest)
	}
	for i, b := range got {
		if i < len(m.durable) && b == m.durable[i] || m.allowed[i][b] || int64(i) >= m.ever {
			continue
		}
		return fmt.Errorf("byte %d is %d, which nobody wrote", i, b)
	}
	return nil
}

// TestTornWritesAreTornAtSectors: within a sector a write is there whole or not at all.
func TestTornWritesAreTornAtSectors(t *testing.T) {
	d := New()
	f := durableFile(t, d, "f", strings.Repeat("-", 1500))
	write(t, f, strings.Repeat("x", 1000), 100)
	whole, torn := false, false
	for after := range d.PowerCuts(16) {
		got := string(after.Bytes("/f"))
		for _, piece := range []string{got[100:512], got[512:1024], got[1024:1100]} {
			if strings.Trim(piece, "x") != "" && strings.Trim(piece, "-") != "" {
				t.Fatalf("a sector is torn: %q", piece)
			}
		}
		whole = whole || !strings.Contains(got[100:1100], "-")
		torn = torn || got[100:512][0] == '-' && got[512] == 'x' && got[1024] == '-'
	}
	if !whole || !torn {
		t.Errorf("arrived whole: %v, only the middle: %v", whole, torn)
	}
}

func TestSomePowerCutsLeaveAHole(t *testing.T) {
	d := New()
	f := durableFile(t, d, "f", "")
	must(t, f.Allocate(2048))
	must(t, f.Datasync())
	write(t, f, "good", 0)
	write(t, f, "lost", 4)
	write(t, f, strings.Repeat("l", 600), 600)
	write(t, f, "good again", 1500)
	count := 0
	const cuts = 4000
	for seed := range uint64(cuts) {
		got := string(d.PowerCut(Random(seed)).Bytes("/f"))
		if strings.HasPrefix(got, "good\x00") && strings.Trim(got[4:1500], "\x00") == "" && got[1500:1510] == "good again" {
			count++
		}
	}
	if count < cuts/100 {
		t.Errorf("%d of %d power cuts left good, zeros, good", count, cuts)
	}
}

// TestEveryShapeOfATailComes names the states that recovery must handle.
func TestEveryShapeOfATailComes(t *testing.T) {
	d := New()
	old := durableFile(t, d, "old", strings.Repeat("s", 4096))
	must(t, old.Datasync())
	f := durableFile(t, d, "f", "head")
	write(t, f, strings.Repeat("a", 508), 4)
	write(t, f, strings.Repeat("b", 512), 512)
	write(t, f, strings.Repeat("c", 1000), 1024)
	shapes := map[string]bool{}
	for seed := range uint64(5000) {
		got := string(d.PowerCut(Random(seed)).Bytes("/f"))
		if !strings.HasPrefix(got, "head") {
			t.Fatalf("%q", got[:4])
		}
		tail := got[4:]
		shapes["nothing"] = shapes["nothing"] || tail == ""
		shapes["all"] = shapes["all"] || len(got) == 2024 && !strings.ContainsAny(tail, "\x00s")
		shapes["only zeros"] = shapes["only zeros"] || len(got) == 2024 && strings.Trim(tail, "\x00") == ""
		shapes["cut in a write"] = shapes["cut in a write"] || len(got) > 1100 && len(got)%512 != 0 && len(got) != 2024
		shapes["stale bytes of another file"] = shapes["stale bytes of another file"] || strings.Contains(tail, "ss")
		shapes["first lost, second there"] = shapes["first lost, second there"] || strings.HasPrefix(tail, strings.Repeat("\x00", 508)+"b")
		shapes["torn"] = shapes["torn"] || len(got) >= 1536 && got[1024] == 'c' && got[1536:] != "" && got[1536] == 0
	}
	for _, shape := range []string{"nothing", "all", "only zeros", "cut in a write", "stale bytes of another file", "first lost, second there", "torn"} {
		if !shapes[shape] {
			t.Errorf("never: %s", shape)
		}
	}
}

func TestRenameIsThereOrNot(t *testing.T) {
	d := New()
	durableFile(t, d, "MANIFEST", "old")
	f := create(t, d, "MANIFEST.tmp")
	write(t, f, "new", 0)
	must(t, f.Datasync())
	must(t, openDir(t, d, "/").Rename("MANIFEST.tmp", "MANIFEST"))
	seen := map[string]bool{}
	for after := range d.PowerCuts(8) {
		seen[fmt.Sprint(after.Files(), string(after.Bytes("MANIFEST")))] = true
	}
	for _, state := range []string{"[/MANIFEST]old", "[/MANIFEST /MANIFEST.tmp]old", "[/MANIFEST]new"} {
		if !seen[state] {
			t.Errorf("never: %s", state)
		}
		delete(seen, state)
	}
	if len(seen) > 0 {
		t.Errorf("illegal: %v", seen)
	}
	must(t, openDir(t, d, "/").Sync())
	want(t, d.PowerCut(KeepNothing), "MANIFEST", "new")
}

func TestUnsyncedDataBehindASyncedRename(t *testing.T) {
	d := New()
	durableFile(t, d, "f", "old")
	g := create(t, d, "g")
	write(t, g, "new", 0)
	must(t, openDir(t, d, "/").Rename("g", "f"))
	must(t, openDir(t, d, "/").Sync())
	want(t, d.PowerCut(KeepNothing), "f", "")
	want(t, d.PowerCut(KeepAll), "f", "new")
}

// TestNamesChangeInOrder: any subset of the changes may survive, but never a later change of a
// name without the earlier ones.
func TestNamesChangeInOrder(t *testing.T) {
	d := New()
	durableFile(t, d, "a", "first a")
	dir := openDir(t, d, "/")
	must(t, dir.Remove("a"))
	second := create(t, d, "a")
	write(t, second, "second a", 0)
	must(t, second.Datasync())
	b := create(t, d, "b")
	must(t, b.Datasync())
	seen := map[string]bool{}
	for after := range d.PowerCuts(8) {
		seen[fmt.Sprintf("%q%v", after.Bytes("a"), after.Bytes("b") != nil)] = true
	}
	want := []string{`""false`, `""true`, `"first a"false`, `"first a"true`, `"second a"false`, `"second a"true`}
	for _, state := range want {
		if !seen[state] {
			t.Errorf("never: %s", state)
		}
		delete(seen, state)
	}
	if len(seen) > 0 {
		t.Errorf("illegal: %v", seen)
	}
}

func TestALostDirectoryTakesItsFilesAlong(t *testing.T) {
	d := New()
	must(t, d.Mkdir("/sub"))
	sub := openDir(t, d, "/sub")
	f, err := sub.Create("f")
	must(t, err)
	must(t, f.Datasync())
	must(t, sub.Sync())
	if files := d.PowerCut(KeepNothing).Files(); len(files) != 0 {
		t.Errorf("%q", files)
	}
	if files := d.PowerCut(KeepAll).Files(); len(files) != 1 {
		t.Errorf("%q", files)
	}
}

func TestARemovedFileComesBackWhole(t *testing.T) {
	d := New()
	f := durableFile(t, d, "f", "content")
	must(t, openDir(t, d, "/").Remove("f"))
	write(t, f, "!", 7)
	must(t, f.Datasync())
	after := d.PowerCut(KeepNothing)
	want(t, after, "f", "content!")
	if after.Used() != 7 && after.Used() != 8 {
		t.Errorf("used %d", after.Used())
	}
	must(t, openDir(t, d, "/").Sync())
	if d.PowerCut(KeepNothing).Bytes("f") != nil {
		t.Error("a removed name came back")
	}
}

func TestTheSameSeedLeavesTheSameDisk(t *testing.T) {
	d := New()
	f := create(t, d, "f")
	for i := range 20 {
		write(t, f, strings.Repeat("r", 300), int64(i*300))
	}
	distinct := map[uint64]bool{}
	for seed := range uint64(50) {
		a, b := d.PowerCut(Random(seed)), d.Kill().PowerCut(Random(seed))
		if a.Hash() != b.Hash() || !slices.Equal(a.Bytes("f"), b.Bytes("f")) {
			t.Fatalf("seed %d leaves two disks", seed)
		}
		distinct[a.Hash()] = true
	}
	if len(distinct) < 15 {
		t.Errorf("50 seeds leave %d disks", len(distinct))
	}
}

func TestEnumeratorTakesEveryPath(t *testing.T) {
	seen := map[string]bool{}
	rounds := 0
	for e := Enumerate(7); e.Next(); rounds++ {
		path := fmt.Sprint(e.Intn(3))
		if path == "1" {
			path += fmt.Sprint(e.Intn(2), e.Intn(2))
		}
		path += fmt.Sprint(" ", e.Intn(1), e.Intn(1_000_001))
		seen[path] = true
	}
	if rounds != 6*7 || len(seen) != rounds {
		t.Errorf("%d rounds, %d paths", rounds, len(seen))
	}
	for _, path := range []string{"0 0 0", "11 1 0 1000000", "2 0 500000"} {
		if !seen[path] {
			t.Errorf("never: %s in %v", path, seen)
		}
	}
}

func BenchmarkPowerCut(b *testing.B) {
	d := New()
	for i := range 6 {
		f := durableFile(b, d, fmt.Sprintf("%d.seg", i), strings.Repeat("x", 16<<10))
		if i == 5 {
			must(b, f.Allocate(64<<10))
			must(b, f.Datasync())
			for n := range 8 {
				write(b, f, strings.Repeat("r", 200), int64(16<<10+200*n))
			}
		}
	}
	for _, c := range []struct {
		name   string
		choose Chooser
	}{{"nothing", KeepNothing}, {"all", KeepAll}, {"random", Random(1)}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				d.PowerCut(c.choose).Hash()
			}
		})
	}
	b.Run("recovery", func(b *testing.B) { // read all, map the last
		b.ReportAllocs()
		buf := make([]byte, 64<<10)
		for b.Loop() {
			after := d.PowerCut(Random(2))
			dir, _ := after.OpenDir("/")
			for i := range 6 {
				f, _ := dir.Open(fmt.Sprintf("%d.seg", i))
				_, _ = f.ReadAt(buf, 0)
				_, _ = f.Map(64 << 10)
			}
		}
	})
	b.Run("kill", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			d.Kill()
		}
	})
}

func TestWholeWritesAreThereInEverySubset(t *testing.T) {
	d := New()
	f, g := durableFile(t, d, "f", "----"), durableFile(t, d, "g", "")
	write(t, f, "ab", 0)
	write(t, f, "cd", 2)
	write(t, g, strings.Repeat("g", 3*sectorSize), 0)
	var seen []string
	for e := Enumerate(1000); e.Next(); {
		after := d.PowerCutWhole(e)
		seen = append(seen, fmt.Sprint(string(after.Bytes("/f")), len(after.Bytes("/g"))))
	}
	slices.Sort(seen)
	if got, all := strings.Join(seen, " "), "----0 ----1536 --cd0 --cd1536 ab--0 ab--1536 abcd0 abcd1536"; got != all {
		t.Errorf("the states are %s; want %s", got, all)
	}
}
