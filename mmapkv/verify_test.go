package mmapkv

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/segment"
)

// verified is what Verify reports. Verify must not return an error.
func verified(t testing.TB, dir string) Report {
	t.Helper()
	r, err := Verify(t.Context(), dir, nil)
	if err != nil {
		t.Fatalf("Verify: %v", err)
	}
	return r
}

func wantSound(t testing.TB, r Report) {
	t.Helper()
	if r.Err() != nil || r.Omitted != 0 {
		for _, d := range r.Damages[:min(len(r.Damages), 5)] {
			t.Errorf("%s %s at %d, %d bytes, key %.40q: %s", d.Kind, d.File, d.Offset, d.Size, d.Key, d.Reason)
		}
		t.Fatalf("%d damages", len(r.Damages)+r.Omitted)
	}
}

// withEverything makes a store of many tiny segments with all kinds of writes and a
// compaction. It calls mid after the writes, while the store is open.
func withEverything(t testing.TB, dir string, mid func(s *Store)) {
	t.Helper()
	s := open(t, dir, tiny())
	for round := range 3 {
		fill(t, s, 0, 300, 20+round*30)
		for i := round; i < 300; i += 7 {
			key, value := numbered(i, 30)
			if err := s.Delete(key); err != nil {
				t.Fatal(err)
			}
			key = append(key, 'x')
			if err := s.PutWithTTL(key, value, 1+time.Hour*time.Duration(i%2)); err != nil {
				t.Fatal(err)
			}
		}
		key, value := numbered(1000+round, 20_000)
		if err := s.Put(key, value); err != nil {
			t.Fatal(err)
		}
		if round == 1 {
			if err := s.Compact(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		b := new(Batch)
		for i := range 20 {
			key, value := numbered(2000+i, 10*i)
			b.Put(key, value)
		}
		if err := s.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	mid(s)
	closeStore(t, s)
}

func TestVerifyFindsNothingInSoundStores(t *testing.T) {
	dir := quickDir(t)
	withEverything(t, dir, func(s *Store) {
		wantSound(t, verified(t, dir))
		r, err := s.Verify(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		wantSound(t, r)
		wantSound(t, verified(t, killed(t, s, dir))) // as after SIGKILL
	})
	r := verified(t, dir)
	wantSound(t, r)
	if !r.Clean || r.Segments < 10 || r.Records < 300 || r.Hints < r.Segments || r.Bytes < 50_000 || len(r.Remarks) != 0 {
		t.Errorf("the report is %+v", r)
	}
	s := open(t, dir, &Options{ReadOnly: true})
	r, err := s.Verify(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	wantSound(t, r)
	closeStore(t, s)
	if _, err := s.Verify(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("Verify of a closed store: %v", err)
	}
}

func TestVerifyOfWhatIsNoStore(t *testing.T) {
	if _, err := Verify(t.Context(), t.TempDir()+"/absent", nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
	if _, err := Verify(t.Context(), t.TempDir(), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an empty directory: %v", err)
	}
	dir := t.TempDir()
	closeStore(t, open(t, dir, nil))
	wantSound(t, verified(t, dir))
	t.Setenv("MMAPKV_DIR", filepath.Dir(dir))
	r, err := VerifyNamespace(t.Context(), filepath.Base(dir), nil)
	if err != nil {
		t.Fatal(err)
	}
	wantSound(t, r)
	if _, err := VerifyNamespace(t.Context(), "a/b", nil); !errors.Is(err, ErrNamespace) {
		t.Errorf("no namespace: %v", err)
	}
	content := bytesOf(t, dir, segment.ManifestName)
	content[8], content[len(content)/2+8] = 3, 3
	newer := t.TempDir()
	replaceBytes(t, newer, segment.ManifestName, content)
	if _, err := Verify(t.Context(), newer, nil); !errors.Is(err, ErrVersion) {
		t.Errorf("another version: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Verify(ctx, dir, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled context: %v", err)
	}
}

// manifestOf reads the manifest of a store.
func manifestOf(t testing.TB, dir string) *segment.Manifest {
	t.Helper()
	m, err := segment.ParseManifest(bytesOf(t, dir, segment.ManifestName))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func bytesOf(t testing.TB, dir, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func replaceBytes(t testing.TB, dir, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func flipAt(t testing.TB, dir, name string, at int64) {
	t.Helper()
	content := bytesOf(t, dir, name)
	content[at] ^= 0x10
	replaceBytes(t, dir, name, content)
}

// entriesOf lists the records of a listed file.
func entriesOf(t testing.TB, dir string, info segment.SegmentInfo) (list []segment.Entry) {
	t.Helper()
	content := bytesOf(t, dir, segment.FileName(info.ID))
	header, err := segment.ReadHeader(strings.NewReader(string(content)), int64(len(content)))
	if err != nil {
		t.Fatal(err)
	}
	err = segment.Scan(strings.NewReader(string(content)), info.Salt, header.Size(), info.End.Offset,
		func(e segment.Entry) { e.Key = slices.Clone(e.Key); list = append(list, e) }, func(segment.Damage) {})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// middle is the second file of a store that fill has filled, and a record in the
// middle of that file.
func middle(t testing.TB, dir string) (segment.SegmentInfo, segment.Entry) {
	t.Helper()
	info := manifestOf(t, dir).Segments[1]
	list := entriesOf(t, dir, info)
	return info, list[len(list)/2]
}

// replaceHint gives a file a hint of changed entries with a valid checksum.
func replaceHint(t testing.TB, dir string, info segment.SegmentInfo, change func(list []segment.Entry) []segment.Entry) {
	t.Helper()
	b := segment.NewHintBuilder()
	for _, e := range change(entriesOf(t, dir, info)) {
		b.Add(e)
	}
	replaceBytes(t, dir, segment.HintName(info.ID), b.Encode(info.ID, info.Salt, info.End, info.End.Seq))
}

func listed(damages []Damage) string {
	var b strings.Builder
	for _, d := range damages {
		fmt.Fprintf(&b, "%s of %s at %d, %d bytes, %q\n", d.Kind, d.File, d.Offset, d.Size, d.Key)
	}
	return b.String()
}

// firstPart is where the first part of a hint begins.
const firstPart = 80

func TestVerifyNamesDamage(t *testing.T) {
	whole := t.TempDir()
	s := open(t, whole, &Options{SegmentSize: 32 << 10})
	fill(t, s, 0, 300, 100)
	if err := s.PutWithTTL([]byte("key that expires"), make([]byte, 100), time.Hour); err != nil {
		t.Fatal(err)
	}
	fill(t, s, 300, 2000, 100)
	closeStore(t, s)

	// hint changes one entry, the sixth by offset, of the second file's hint.
	hint := func(change func(e *segment.Entry)) func(t *testing.T, dir string) []Damage {
		return func(t *testing.T, dir string) []Damage {
			info := manifestOf(t, dir).Segments[1]
			replaceHint(t, dir, info, func(list []segment.Entry) []segment.Entry { change(&list[5]); return list })
			return []Damage{{Kind: WrongHint, File: segment.HintName(info.ID), Key: entriesOf(t, dir, info)[5].Key}}
		}
	}
	for name, spoil := range map[string]func(t *testing.T, dir string) []Damage{
		"a bit of a value": func(t *testing.T, dir string) []Damage {
			info, e := middle(t, dir)
			flipAt(t, dir, segment.FileName(info.ID), e.Offset+e.Size-20)
			return []Damage{{Kind: DamagedValue, File: segment.FileName(info.ID), Offset: e.Offset, Size: e.Size, Key: e.Key}}
		},
		"a bit of a key": func(t *testing.T, dir string) []Damage {
			info, e := middle(t, dir)
			flipAt(t, dir, segment.FileName(info.ID), e.Offset+e.Size-e.ValueSize-6)
			return []Damage{
				{Kind: DamagedRange, File: segment.FileName(info.ID), Offset: e.Offset, Size: e.Size},
				{Kind: DamagedRecord, File: segment.FileName(info.ID), Offset: e.Offset, Size: e.Size, Key: e.Key},
			}
		},
		"a bit of a header, and the hint": func(t *testing.T, dir string) []Damage {
			info, e := middle(t, dir)
			flipAt(t, dir, segment.FileName(info.ID), e.Offset+9)
			flipAt(t, dir, segment.HintName(info.ID), 100)
			return []Damage{
				{Kind: DamagedHint, File: segment.HintName(info.ID), Offset: firstPart},
				{Kind: DamagedRange, File: segment.FileName(info.ID), Offset: e.Offset, Size: e.Size},
			}
		},
		"a range that Open has found": func(t *testing.T, dir string) []Damage {
			info, e := middle(t, dir)
			flipAt(t, dir, segment.FileName(info.ID), e.Offset+9)
			if err := os.Remove(filepath.Join(dir, segment.HintName(info.ID))); err != nil {
				t.Fatal(err)
			}
			closeStore(t, open(t, dir, nil))
			return []Damage{{Kind: DamagedRange, File: segment.FileName(info.ID), Offset: e.Offset, Size: e.Size}}
		},
		"a range that can be read again": func(t *testing.T, dir string) []Damage {
			info, e := middle(t, dir)
			flipAt(t, dir, segment.FileName(info.ID), e.Offset+9)
			replaceHint(t, dir, info, func(list []segment.Entry) []segment.Entry { return list })
			b, err := segment.BuildHint(strings.NewReader(string(bytesOf(t, dir, segment.FileName(info.ID)))), info.Salt, segment.HeaderSize, info.End.Offset, nil)
			if err != nil {
				t.Fatal(err)
			}
			replaceBytes(t, dir, segment.HintName(info.ID), b.Encode(info.ID, info.Salt, info.End, info.End.Seq))
			flipAt(t, dir, segment.FileName(info.ID), e.Offset+9)
			return []Damage{
				{Kind: WrongHint, File: segment.HintName(info.ID), Key: e.Key}, // no entry
				{Kind: WrongHint, File: segment.HintName(info.ID)},             // no such damage
			}
		},
		"a byte of a hint": func(t *testing.T, dir string) []Damage {
			info, _ := middle(t, dir)
			flipAt(t, dir, segment.HintName(info.ID), 300)
			return []Damage{{Kind: DamagedHint, File: segment.HintName(info.ID), Offset: firstPart}}
		},
		"a byte of a hint's directory": func(t *testing.T, dir string) []Damage {
			info, _ := middle(t, dir)
			name := segment.HintName(info.ID)
			flipAt(t, dir, name, int64(len(bytesOf(t, dir, name)))-20)
			return []Damage{{Kind: DamagedHint, File: name}}
		},
		"the version of a hint": func(t *testing.T, dir string) []Damage {
			info, _ := middle(t, dir)
			flipAt(t, dir, segment.HintName(info.ID), 9)
			return []Damage{{Kind: DamagedHint, File: segment.HintName(info.ID)}}
		},
		"another segment's hint": func(t *testing.T, dir string) []Damage {
			list := manifestOf(t, dir).Segments
			replaceBytes(t, dir, segment.HintName(list[2].ID), bytesOf(t, dir, segment.HintName(list[1].ID)))
			return []Damage{{Kind: DamagedHint, File: segment.HintName(list[2].ID)}}
		},
		"a hint without an entry": func(t *testing.T, dir string) []Damage {
			info := manifestOf(t, dir).Segments[1]
			replaceHint(t, dir, info, func(list []segment.Entry) []segment.Entry { return slices.Delete(list, 5, 6) })
			return []Damage{{Kind: WrongHint, File: segment.HintName(info.ID), Key: entriesOf(t, dir, info)[5].Key}}
		},
		"a hint with an entry too many": func(t *testing.T, dir string) []Damage {
			info := manifestOf(t, dir).Segments[1]
			replaceHint(t, dir, info, func(list []segment.Entry) []segment.Entry {
				return append(list, segment.Entry{Offset: list[5].Offset, Size: list[5].Size, Seq: list[5].Seq, Key: []byte("zzz")})
			})
			return []Damage{{Kind: WrongHint, File: segment.HintName(info.ID), Key: []byte("zzz")}}
		},
		"a hint with another offset":   hint(func(e *segment.Entry) { e.Offset += 8 }),
		"a hint with another size":     hint(func(e *segment.Entry) { e.Size += 8 }),
		"a hint with another flag":     hint(func(e *segment.Entry) { e.Flags ^= segment.Tombstone }),
		"a hint with an older number":  hint(func(e *segment.Entry) { e.Seq-- }),
		"a hint with a younger number": hint(func(e *segment.Entry) { e.Seq++ }),
		"a hint with another expiry": func(t *testing.T, dir string) []Damage {
			info := manifestOf(t, dir).Segments[1]
			replaceHint(t, dir, info, func(list []segment.Entry) []segment.Entry {
				i := slices.IndexFunc(list, func(e segment.Entry) bool { return e.Flags&segment.Expires != 0 })
				list[i].Expiry++
				return list
			})
			return []Damage{{Kind: WrongHint, File: segment.HintName(info.ID), Key: []byte("key that expires")}}
		},
		"one copy of the manifest": func(t *testing.T, dir string) []Damage {
			at := int64(len(bytesOf(t, dir, segment.ManifestName)) / 2)
			flipAt(t, dir, segment.ManifestName, at+40)
			return []Damage{{Kind: DamagedCopy, File: segment.ManifestName, Offset: at + 40}}
		},
		"both copies of the manifest": func(t *testing.T, dir string) []Damage {
			at := int64(len(bytesOf(t, dir, segment.ManifestName)) / 2)
			flipAt(t, dir, segment.ManifestName, 40)
			flipAt(t, dir, segment.ManifestName, at+50)
			return []Damage{{Kind: DamagedManifest, File: segment.ManifestName}}
		},
		"a missing manifest": func(t *testing.T, dir string) []Damage {
			if err := os.Remove(filepath.Join(dir, segment.ManifestName)); err != nil {
				t.Fatal(err)
			}
			return []Damage{{Kind: DamagedManifest, File: segment.ManifestName}}
		},
		"a missing segment": func(t *testing.T, dir string) []Damage {
			name := segment.FileName(manifestOf(t, dir).Segments[1].ID)
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
			return []Damage{{Kind: MissingSegment, File: name}}
		},
		"a segment with another one's content": func(t *testing.T, dir string) []Damage {
			list := manifestOf(t, dir).Segments
			replaceBytes(t, dir, segment.FileName(list[2].ID), bytesOf(t, dir, segment.FileName(list[1].ID)))
			return []Damage{{Kind: DamagedSegment, File: segment.FileName(list[2].ID)}}
		},
		"a segment that was cut, and its hint": func(t *testing.T, dir string) []Damage {
			info, e := middle(t, dir)
			name := segment.FileName(info.ID)
			replaceBytes(t, dir, name, bytesOf(t, dir, name)[:e.Offset])
			flipAt(t, dir, segment.HintName(info.ID), 300)
			return []Damage{
				{Kind: DamagedHint, File: segment.HintName(info.ID), Offset: firstPart},
				{Kind: DamagedRange, File: name, Offset: e.Offset, Size: info.End.Offset - e.Offset},
			}
		},
		"segments listed in another order": func(t *testing.T, dir string) []Damage {
			m := manifestOf(t, dir)
			m.Segments[1], m.Segments[2] = m.Segments[2], m.Segments[1]
			replaceBytes(t, dir, segment.ManifestName, m.Append(nil))
			first := entriesOf(t, dir, m.Segments[2])[0]
			return []Damage{{Kind: DamagedOrder, File: segment.FileName(m.Segments[2].ID), Offset: first.Offset, Key: first.Key}}
		},
		"a file with a number too many by the manifest": func(t *testing.T, dir string) []Damage {
			m := manifestOf(t, dir)
			list := entriesOf(t, dir, m.Segments[1])
			m.Segments[1].End.Seq--
			replaceBytes(t, dir, segment.ManifestName, m.Append(nil))
			last := list[len(list)-1]
			return []Damage{{Kind: DamagedOrder, File: segment.FileName(m.Segments[1].ID), Offset: last.Offset, Key: last.Key}}
		},
		"a file that ends too early by the manifest": func(t *testing.T, dir string) []Damage {
			m := manifestOf(t, dir)
			list := entriesOf(t, dir, m.Segments[1])
			m.Segments[1].End.Offset = list[len(list)-1].Offset
			replaceBytes(t, dir, segment.ManifestName, m.Append(nil))
			return []Damage{{Kind: DamagedOrder, File: segment.FileName(m.Segments[1].ID), Offset: list[len(list)-1].Offset}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := copyDir(t, whole)
			want := spoil(t, dir)
			before := fmt.Sprint(os.ReadDir(dir))
			r := verified(t, dir)
			if after := fmt.Sprint(os.ReadDir(dir)); after != before {
				t.Errorf("Verify has changed %s to %s", before, after)
			}
			if !errors.Is(r.Err(), ErrCorrupt) {
				t.Errorf("Err: %v", r.Err())
			}
			for i := range r.Damages {
				d := &r.Damages[i]
				if d.Reason == "" || d.Meaning() == "" {
					t.Errorf("%+v has no reason or meaning", d)
				}
				d.Reason = ""
				if d.Kind == WrongHint {
					d.Offset = 0
				}
			}
			if got, want := listed(r.Damages), listed(want); got != want {
				t.Errorf("found\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// TestVerifyNamesTheKeysOfAnOverwrittenRange overwrites 4 KiB in the middle of a
// sealed segment. Verify names the same keys that reads call damaged.
func TestVerifyNamesTheKeysOfAnOverwrittenRange(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, &Options{SegmentSize: 128 << 10})
	fill(t, s, 0, 10_000, 50)
	closeStore(t, s)
	info := manifestOf(t, dir).Segments[2]
	name := segment.FileName(info.ID)
	content := bytesOf(t, dir, name)
	random := rand.New(rand.NewPCG(4, 4))
	for i := range 4 << 10 {
		content[len(content)/2+i] = byte(random.Uint32())
	}
	replaceBytes(t, dir, name, content)

	named := map[string]bool{}
	for _, d := range verified(t, dir).Damages {
		if d.File != name || d.Offset < int64(len(content)/2-200) || d.Offset > int64(len(content)/2+4<<10) {
			t.Errorf("%+v", d)
		}
		if d.Key != nil {
			named[string(d.Key)] = true
		}
	}
	s = open(t, dir, nil)
	defer s.Close()
	damaged := 0
	for i := range 10_000 {
		key, _ := numbered(i, 50)
		_, err := s.Get(key)
		if err != nil {
			damaged++
		}
		if errors.Is(err, ErrCorrupt) != named[string(key)] {
			t.Errorf("%s: %v; named %v", key, err, named[string(key)])
		}
	}
	if damaged != len(named) || damaged < 20 {
		t.Errorf("%d keys damaged, %d named", damaged, len(named))
	}
}

func TestVerifyRemarksOnStraysAndMissingHints(t *testing.T) {
	dir := quickDir(t)
	withEverything(t, dir, func(*Store) {})
	hint := segment.HintName(manifestOf(t, dir).Segments[2].ID)
	if err := os.Remove(filepath.Join(dir, hint)); err != nil {
		t.Fatal(err)
	}
	strays := []string{segment.FileName(1 << 20), segment.HintName(1 << 21), segment.ManifestName + ".tmp"}
	for _, name := range append(strays, "notes.txt") {
		replaceBytes(t, dir, name, []byte("what"))
	}
	r := verified(t, dir)
	wantSound(t, r)
	var got []string
	for _, remark := range r.Remarks {
		got = append(got, remark.File)
	}
	if want := append([]string{hint}, strays...); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("remarks on %v, want %v", got, want)
	}
}

// quickDir is a directory in memory, if the system has one: syncs cost nothing there.
func quickDir(t testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "verify")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// TestVerifyBesideAWriter verifies an open store, with its own method and from outside,
// while a writer rotates and compacts thousands of times. Nothing is damaged.
func TestVerifyBesideAWriter(t *testing.T) {
	dir := quickDir(t)
	s := open(t, dir, &Options{SegmentSize: minSegmentSize, Compaction: Compaction{GarbageRatio: 0.3}})
	until := time.Now().Add(1500 * time.Millisecond)
	written := make(chan error)
	go func() {
		var err error
		for n := 0; err == nil && time.Now().Before(until); n++ {
			key, value := numbered(n%200, 20+n%700)
			switch {
			case n%97 == 0:
				err = s.Delete(key)
			case n%501 == 0:
				err = s.Put(key, make([]byte, 9000))
			default:
				err = s.Put(key, value)
			}
		}
		written <- err
	}()
	var runs, records int
	for verify := range alternate(dir, s) {
		r, err := verify(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		wantSound(t, r)
		runs, records = runs+1, records+r.Records
		if !time.Now().Before(until) {
			break
		}
	}
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	t.Logf("%d runs read %d records; the writer has made %d files and %d compactions",
		runs, records, manifestOf(t, dir).NextID, s.Stats().Compaction.Runs)
}

// alternate yields the two ways to verify a store, in turn.
func alternate(dir string, s *Store) func(func(func(context.Context) (Report, error)) bool) {
	return func(yield func(func(context.Context) (Report, error)) bool) {
		for yield(func(ctx context.Context) (Report, error) { return Verify(ctx, dir, nil) }) && yield(s.Verify) {
		}
	}
}

// TestVerifyOfALogThatWasNotClosed damages records that were known to be on disk, and
// records that were not.
func TestVerifyOfALogThatWasNotClosed(t *testing.T) {
	whole := t.TempDir()
	s := open(t, whole, &Options{SegmentSize: 1 << 20, Sync: fsync.Never})
	fill(t, s, 0, 100, 50)
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	fill(t, s, 100, 200, 50) // the first one carries the watermark
	list := entriesOf(t, whole, segment.SegmentInfo{ID: s.log.Tail.File.ID, Salt: s.log.Tail.File.Salt, End: s.log.Tail.End})
	name := segment.FileName(s.log.Tail.File.ID)
	for _, c := range []struct {
		record int
		at     int64 // in the record
		want   string
	}{
		{50, 9, "range"}, {50, 60, "value"}, {150, 9, ""}, {150, 60, ""}, {99, 9, "range"}, {100, 9, ""},
	} {
		dir := copyDir(t, whole)
		flipAt(t, dir, name, list[c.record].Offset+c.at)
		r := verified(t, dir)
		var got string
		if len(r.Damages) > 0 {
			got = string(r.Damages[0].Kind)
		}
		if got != c.want || len(r.Damages) > 1 {
			t.Errorf("record %d, at %d: %+v", c.record, c.at, r.Damages)
		}
		// Open finds the same.
		opened := open(t, dir, nil)
		if found := opened.Stats().Recovery.Damages; len(found) != len(r.Damages) || len(found) > 0 && found[0].Offset != r.Damages[0].Offset {
			t.Errorf("record %d, at %d: Open finds %v", c.record, c.at, found)
		}
		closeStore(t, opened)
		if c.want == "" {
			wantSound(t, verified(t, dir))
		}
	}
	// The open store knows that more records count.
	flipAt(t, whole, name, list[150].Offset+9)
	r, err := s.Verify(t.Context())
	if err != nil || len(r.Damages) != 1 || r.Damages[0].Offset != list[150].Offset {
		t.Errorf("%+v, %v", r.Damages, err)
	}
}

func TestVerifyOfReadOnlyMedia(t *testing.T) {
	dir := quickDir(t)
	withEverything(t, dir, func(*Store) {})
	if err := os.Remove(filepath.Join(dir, segment.LockName)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(dir, 0o700)
	wantSound(t, verified(t, dir))
	if _, err := os.Stat(filepath.Join(dir, segment.LockName)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("there is a lock file: %v", err)
	}
}

func TestVerifyTellsItsProgressAndStops(t *testing.T) {
	dir := quickDir(t)
	withEverything(t, dir, func(*Store) {})
	var last, total int64
	o := &VerifyOptions{Progress: func(d, of int64) {
		if d < last || d > of {
			t.Errorf("%d of %d behind %d", d, of, last)
		}
		last, total = d, of
	}}
	r, err := Verify(t.Context(), dir, o)
	if err != nil || last != total || last != r.Bytes || last == 0 {
		t.Errorf("%d of %d, %d read, %v", last, total, r.Bytes, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	o.Progress = func(int64, int64) { cancel() }
	if _, err := Verify(ctx, dir, o); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled in between: %v", err)
	}
}
