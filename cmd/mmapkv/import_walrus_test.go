package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mmapkv/mmapkv/cmd/mmapkv/internal/walrus/walrustest"
	"github.com/mmapkv/mmapkv/mmapkv"
)

// importFrom imports the data files, and returns what the store then holds.
func importFrom(t *testing.T, files map[string][]byte, more ...string) (content map[string]string, code int, stdout, stderr string) {
	t.Helper()
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "store")
	for name, bytes := range files {
		if err := os.WriteFile(filepath.Join(from, name), bytes, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out, errOut strings.Builder
	code = run(append([]string{"--dir", to, "import", "--walrus", from}, more...), strings.NewReader(""), &out, &errOut)
	s, err := mmapkv.Open(to, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	content = map[string]string{}
	if err := s.Range(func(key, value []byte) error { content[string(key)] = string(value); return nil }); err != nil {
		t.Fatal(err)
	}
	for name, bytes := range files {
		if now, err := os.ReadFile(filepath.Join(from, name)); err != nil || !slices.Equal(now, bytes) {
			t.Errorf("%s has changed (%v)", name, err)
		}
	}
	return content, code, out.String(), errOut.String()
}

func TestImportWalrus(t *testing.T) {
	const block = 10 << 20
	put := func(to *[]byte, key, value string) { *to = walrustest.AppendRecord(*to, key, value, false) }
	want := map[string]string{}
	var first, second, third []byte
	for i := range 3000 {
		key, value := fmt.Sprint("key", i), fmt.Sprintf("%0*d", i, i)
		if want[key] = value; len(first)%block+len(value)+100 > block {
			first = append(first, make([]byte, block-len(first)%block)...) // the gap at which walrus stops
		}
		put(&first, key, value)
	}
	put(&second, "key1", "overwritten")
	put(&second, "key1", "and again")
	put(&second, "large", strings.Repeat("large ", 1<<19))
	second = walrustest.AppendRecord(second, "key2", "", true)
	want["key1"], want["large"] = "and again", strings.Repeat("large ", 1<<19)
	delete(want, "key2")
	put(&third, "\xff", "a key that is no text")
	want["\xff"] = "a key that is no text"
	torn := walrustest.AppendRecord(nil, "torn", "never acknowledged", false)
	third = append(third, torn[:len(torn)-3]...)
	files := map[string][]byte{"1700000000000": first, "1700000000005": second, "1700000000009": third, "1700000000000.hint": {1, 2, 3}}

	got, code, _, stderr := importFrom(t, files)
	if code != exitOK {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	compareContent(t, got, want)
	for _, part := range []string{"3001 keys imported, from 3005 records in 3 files; 1 more deleted", "a write that was cut short",
		`"key1" is in several files`, `"key2" is in several files`} {
		if !strings.Contains(stderr, part) {
			t.Errorf("%q is not reported:\n%.2000s", part, stderr)
		}
	}

	// Damage is listed; the rest is imported.
	files["1700000000000"] = slices.Clone(first)
	files["1700000000000"][12] ^= 1
	delete(want, "key0")
	got, code, stdout, stderr := importFrom(t, files, "--json")
	if code != exitCorrupt || !strings.Contains(stderr, "the rest is imported") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	var report walrusImport
	if err := json.Unmarshal([]byte(stdout), &report); err != nil {
		t.Fatal(err)
	}
	if len(report.Damages) != 2 || report.Damages[0].Torn || !report.Damages[1].Torn || report.Keys != len(got) {
		t.Errorf("the report is %+v", report)
	}
	compareContent(t, got, want)
}

func compareContent(t *testing.T, got, want map[string]string) {
	t.Helper()
	for key, value := range want {
		if got[key] != value {
			t.Errorf("%q is %.30q, not %.30q", key, got[key], value)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d keys, not %d", len(got), len(want))
	}
}

func TestImportWalrusRefuses(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "1700000000000")); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"--walrus", dir}, {"--walrus", filepath.Join(dir, "absent")}, {"--walrus", dir, "--files", dir}, {"--walrus", dir, "lines.jsonl"},
	} {
		to := filepath.Join(t.TempDir(), "store")
		if code := run(append([]string{"--dir", to, "import"}, args...), strings.NewReader(""), new(strings.Builder), new(strings.Builder)); code == exitOK {
			t.Errorf("%q succeeds", args)
		}
		if _, err := os.Stat(to); err == nil {
			t.Errorf("%q has created a store", args)
		}
	}
}
