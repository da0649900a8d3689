package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mmapkv/mmapkv/segment"
)

// A dump of a partial hint says what it covers, and lists its records. It takes the salt from the
// segment beside it. A partial hint that is damaged, or of another segment, is reported as damage.
func TestDumpOfAPartialHint(t *testing.T) {
	dir := t.TempDir()
	header := segment.Header{ID: 7, Salt: 5, Kind: segment.Log}
	b := segment.NewHintBuilder()
	b.Add(segment.Entry{Offset: 96, Size: 40, Seq: 2, Key: []byte("alpha"), Expiry: 1_000, Flags: segment.Expires})
	b.Add(segment.Entry{Offset: 136, Size: 32, Seq: 3, Key: []byte("beta"), Flags: segment.Tombstone})
	r := segment.Range{From: segment.End{Offset: 96, Seq: 1}, To: segment.End{Offset: 168, Seq: 3}, Last: 136}
	content := b.EncodePartial(header.ID, header.Salt, r)
	path := filepath.Join(dir, segment.PartialName(header.ID, 1))
	dump := func(content []byte, args ...string) (code int, out string) {
		t.Helper()
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		var stdout, stderr bytes.Buffer
		code = run(append(append([]string{"dump"}, args...), path), strings.NewReader(""), &stdout, &stderr)
		return code, fmt.Sprint(&stdout, &stderr)
	}
	if code, out := dump(content); code == exitOK {
		t.Errorf("without a segment or a salt: %q", out)
	}
	if code, out := dump(content, "--salt", "0000000000000005"); code != exitOK {
		t.Errorf("with a salt: exit code %d, %q", code, out)
	}
	if err := os.WriteFile(filepath.Join(dir, segment.FileName(header.ID)), header.Append(nil), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out := dump(content)
	if code != exitOK {
		t.Errorf("exit code %d, %q", code, out)
	}
	for _, want := range []string{"2 keys, covers the bytes from 96 to 168, #2 to #3", "alpha", "tombstone", "beta"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in %q", want, out)
		}
	}
	if code, out := dump(content, "--salt", "0000000000000006"); code != exitCorrupt {
		t.Errorf("of another segment: exit code %d, %q", code, out)
	}
	for at := range content {
		damaged := bytes.Clone(content)
		damaged[at] ^= 1
		if code, out := dump(damaged); code == exitOK {
			t.Errorf("byte %d is damaged: %q", at, out)
		}
	}
	for size := range content {
		if code, out := dump(content[:size]); code == exitOK {
			t.Errorf("cut to %d bytes: %q", size, out)
		}
	}
}
