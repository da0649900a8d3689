package segment

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files of the current format version")

// The examples of doc.go.
func exampleHeader() []byte {
	return Header{ID: 9, Salt: testSalt, Kind: Merged, Replaces: []ID{3}}.Append(nil)
}

func exampleRecord() []byte {
	return encode(Placement{Salt: testSalt, Offset: 64, Seq: 1}, "key", "value", 0)
}

func exampleHint() []byte {
	b := NewHintBuilder()
	b.Add(Entry{Offset: 64, Size: 32, Seq: 1, Key: []byte("key")})
	b.AddDamage(Damage{Offset: 96, Length: 32})
	return b.Encode(7, testSalt, End{Offset: 128, Seq: 2}, 1)
}

func examplePartial() []byte {
	b := NewHintBuilder()
	b.Add(Entry{Offset: 64, Size: 32, Seq: 1, Key: []byte("key")})
	return b.EncodePartial(7, testSalt, Range{From: End{Offset: 64}, To: End{Offset: 96, Seq: 1}, Last: 64})
}

func exampleManifest() []byte {
	copied := exampleCopy()
	closed := copied
	closed.Edit, closed.LastSeq, closed.Watermark, closed.Clean = 3, 2, 1, true
	closed.Segments = []SegmentInfo{{ID: 7, Salt: testSalt, Kind: Log, End: End{Offset: 128, Seq: 2}}}
	log := copied.EditLog()
	return withEdits(copied.Append(nil), &log, &copied, &closed)
}

// exampleCopy is the full copy in exampleManifest.
func exampleCopy() Manifest {
	return Manifest{
		Salt: 0xfedcba9876543210, Edit: 2, NextID: 8, LastSeq: 1, SealedSeq: 1,
		Segments: []SegmentInfo{{ID: 7, Salt: testSalt, Kind: Log}},
	}
}

// withEdits writes the edits that lead from each state to the next, in both halves.
func withEdits(file []byte, log *EditLog, states ...*Manifest) []byte {
	for i, m := range states[1:] {
		edit := log.Encode(nil, states[i], m)
		for _, place := range log.Places() {
			copy(file[place:], edit)
		}
		log.Wrote(len(edit))
	}
	return file
}

// goldenPath is the golden file of the current format version. The files of older versions stay, to
// test how they are read.
func goldenPath(name string) string {
	version := formatVersion
	switch name {
	case "hint", "hint-parts":
		version = hintVersion
	case "manifest":
		version = manifestVersion
	}
	return filepath.Join("testdata", fmt.Sprint("v", version), name)
}

// golden compares got with the bytes that this format version has always had.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(goldenPath(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(goldenPath(name), got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want := readGolden(t, name); !bytes.Equal(got, want) {
		t.Errorf("%s is\n%swant\n%s", name, hex.Dump(got), hex.Dump(want))
	}
}

func readGolden(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(goldenPath(name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

var exampleLine = regexp.MustCompile(`^//\t([0-9a-f]{4})  ((?:[0-9a-f]{2} )*[0-9a-f]{2})(?:  .*)?$`)

func TestDocExamplesAreTheGoldenBytes(t *testing.T) {
	source, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	var examples [][]byte
	for line := range strings.Lines(string(source)) {
		match := exampleLine.FindStringSubmatch(strings.TrimRight(line, "\n"))
		if match == nil {
			continue
		}
		place, err := hex.DecodeString(match[1])
		if err != nil {
			t.Fatal(err)
		}
		b, err := hex.DecodeString(strings.ReplaceAll(match[2], " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		at := int(place[0])<<8 | int(place[1])
		if at == 0 {
			examples = append(examples, nil)
		}
		last := len(examples) - 1
		if last < 0 || at != len(examples[last]) {
			t.Fatalf("%q does not follow the line before", line)
		}
		examples[last] = append(examples[last], b...)
	}
	names := []string{"header", "record", "hint", "partial", "manifest"}
	if len(examples) != len(names) {
		t.Fatalf("%d examples, want %d", len(examples), len(names))
	}
	// The example shows one half, without the zeros after it.
	examples[4] = bytes.Repeat(append(examples[4], make([]byte, halfUnit-len(examples[4]))...), 2)
	examples[3] = append(examples[3], examplePartial()[partialHeaderSize:]...) // a table, of which there is an example before
	for i, name := range names {
		if want := readGolden(t, name); !bytes.Equal(examples[i], want) {
			t.Errorf("the example of the %s is\n%swant\n%s", name, hex.Dump(examples[i]), hex.Dump(want))
		}
	}
}
