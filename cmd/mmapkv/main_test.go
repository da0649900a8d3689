package main

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/mmapkv/mmapkv/mmapkv"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"mmapkv": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits": exits,
			"flip":  flip,
		},
	})
}

// exits CODE COMMAND... checks the exit code of the command, which gets the
// file stdin, if there is one, as its input.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE ARGUMENT...")
	}
	for i, arg := range args {
		if strings.HasPrefix(arg, "@") { // a path of the script
			args[i] = ts.MkAbs(arg[1:])
		}
	}
	code := run(args[1:], strings.NewReader(""), ts.Stdout(), ts.Stderr())
	if fmt.Sprint(code) != args[0] {
		ts.Fatalf("%v exits with %d and not %s", args[1:], code, args[0])
	}
}

// flip changes a byte in the middle of the only segment of a store.
func flip(ts *testscript.TestScript, neg bool, args []string) {
	names, err := filepath.Glob(filepath.Join(ts.MkAbs(args[0]), "*.seg"))
	ts.Check(err)
	if len(names) != 1 {
		ts.Fatalf("there are %d segments", len(names))
	}
	content, err := os.ReadFile(names[0])
	ts.Check(err)
	content[len(content)-8] ^= 1
	ts.Check(os.WriteFile(names[0], content, 0o600))
}

func TestLockedStoreExitsWith3(t *testing.T) {
	dir := t.TempDir()
	s, err := mmapkv.Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var stderr bytes.Buffer
	if code := run([]string{"--dir", dir, "get", "k"}, nil, io.Discard, &stderr); code != exitLocked || stderr.Len() == 0 {
		t.Errorf("exit code %d, %q", code, stderr.String())
	}
}

func TestExportImportIsByteForByte(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	s, err := mmapkv.Open(from, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"": "empty key", "empty value": "", "text": "<&>\u2028 \"quoted\"\n", "ünïcode": "日本",
		"\xff\x00": "binary key", "binary value": "\x80\x81\x00", strings.Repeat("k", 65_535): strings.Repeat("v", 3_000_000),
	}
	for key, value := range want {
		if err := s.Put([]byte(key), []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	var lines, stderr bytes.Buffer
	if code := run([]string{"--dir", from, "export"}, nil, &lines, &stderr); code != exitOK {
		t.Fatalf("export: %d, %s", code, stderr.String())
	}
	if code := run([]string{"--dir", to, "import", "-"}, &lines, io.Discard, &stderr); code != exitOK {
		t.Fatalf("import: %d, %s", code, stderr.String())
	}
	s, err = mmapkv.Open(to, &mmapkv.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	got := map[string]string{}
	if err := s.Range(func(key, value []byte) error { got[string(key)] = string(value); return nil }); err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(got, want) {
		t.Errorf("%d pairs came back of %d, or others", len(got), len(want))
	}
}

// TestTourChecksCanFail shows that the tour would notice a store that loses,
// tears, invents or brings back.
func TestTourChecksCanFail(t *testing.T) {
	content := map[string][]byte{"a": []byte("file a"), "b": []byte("file b"), "c": []byte("file c")}
	plan := slices.Sorted(maps.Keys(content))
	const n = 7 // 1 and 4 are deleted by 3 and 6, 7 is there
	for name, c := range map[string]struct {
		spoil func(s *mmapkv.Store) error
		fails bool
	}{
		"nothing":               {func(*mmapkv.Store) error { return nil }, false},
		"the one in flight":     {func(s *mmapkv.Store) error { return putPlanned(s, plan, content, 8) }, false},
		"one behind it":         {func(s *mmapkv.Store) error { return putPlanned(s, plan, content, 10) }, false}, // beyond what is looked at
		"a missing one":         {func(s *mmapkv.Store) error { return deletePlanned(s, plan, content, 5) }, true},
		"the last one missing":  {func(s *mmapkv.Store) error { return deletePlanned(s, plan, content, 7) }, true},
		"a deleted one is back": {func(s *mmapkv.Store) error { return putPlanned(s, plan, content, 4) }, true},
		"a torn one":            {func(s *mmapkv.Store) error { return tearPlanned(s, plan, content, 2) }, true},
		"one in flight, torn":   {func(s *mmapkv.Store) error { return tearPlanned(s, plan, content, 8) }, true},
		"the stale value of one": {func(s *mmapkv.Store) error {
			key, _, _ := planned(plan, content, 0, 5)
			return s.Put(key, []byte("old"))
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := mmapkv.Open(t.TempDir(), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			for i := 1; i <= n; i++ {
				if err := putPlanned(s, plan, content, i); err != nil {
					t.Fatal(err)
				}
			}
			if err := c.spoil(s); err != nil {
				t.Fatal(err)
			}
			if _, err := checkWriter(s, plan, content, 0, n); (err != nil) != c.fails {
				t.Errorf("the check says %v", err)
			}
		})
	}
}

func putPlanned(s *mmapkv.Store, plan []string, content map[string][]byte, i int) error {
	key, value, isDelete := planned(plan, content, 0, i)
	if isDelete {
		return s.Delete(key)
	}
	return s.Put(key, value)
}

func deletePlanned(s *mmapkv.Store, plan []string, content map[string][]byte, i int) error {
	key, _, _ := planned(plan, content, 0, i)
	return s.Delete(key)
}

func tearPlanned(s *mmapkv.Store, plan []string, content map[string][]byte, i int) error {
	key, value, _ := planned(plan, content, 0, i)
	return s.Put(key, value[:len(value)/2])
}
