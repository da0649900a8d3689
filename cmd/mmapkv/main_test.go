package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/schollz/progressbar/v3"

	"github.com/mmapkv/mmapkv/mmapkv"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"mmapkv": main, "hold": hold})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits":   exits,
			"flip":    flip,
			"head":    head,
			"longkey": longKey,
			"unterminated": func(ts *testscript.TestScript, _ bool, args []string) {
				content := strings.TrimSuffix(ts.ReadFile(args[0]), "\n")
				ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(content), 0o600))
			},
		},
	})
}

// exits CODE ARGUMENT... runs the command with empty input and checks its exit code.
// An argument @PATH is a path in the script's directory.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE ARGUMENT...")
	}
	for i, arg := range args {
		if strings.HasPrefix(arg, "@") {
			args[i] = ts.MkAbs(arg[1:])
		}
	}
	code := run(args[1:], strings.NewReader(""), ts.Stdout(), ts.Stderr())
	if fmt.Sprint(code) != args[0] {
		ts.Fatalf("%v exits with %d and not %s", args[1:], code, args[0])
	}
}

// flip DIR [BYTES [hint]] changes the byte that many bytes before the end of a store's only
// segment, or of its hint. The default, 8, is in the last value.
func flip(ts *testscript.TestScript, neg bool, args []string) {
	kind := "seg"
	if len(args) > 2 {
		kind = args[2]
	}
	names, err := filepath.Glob(filepath.Join(ts.MkAbs(args[0]), "*."+kind))
	ts.Check(err)
	if len(names) != 1 {
		ts.Fatalf("there are %d files of kind %s", len(names), kind)
	}
	content, err := os.ReadFile(names[0])
	ts.Check(err)
	before := 8
	if len(args) > 1 {
		before, err = strconv.Atoi(args[1])
		ts.Check(err)
	}
	content[len(content)-before] ^= 1
	ts.Check(os.WriteFile(names[0], content, 0o600))
}

// head LINES FROM TO copies the first lines of a file.
func head(ts *testscript.TestScript, neg bool, args []string) {
	lines, err := strconv.Atoi(args[0])
	ts.Check(err)
	content := strings.SplitAfter(ts.ReadFile(args[1]), "\n")
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), []byte(strings.Join(content[:lines], "")), 0o600))
}

// longKey ARGUMENT... runs the command with "-" replaced by a key that is too long,
// and checks that it is refused.
func longKey(ts *testscript.TestScript, neg bool, args []string) {
	for i, arg := range args {
		switch arg {
		case "--dir":
			args[i+1] = ts.MkAbs(args[i+1])
		case "-":
			args[i] = strings.Repeat("k", mmapkv.MaxKeySize+1)
		}
	}
	if code := run(args, strings.NewReader(""), ts.Stdout(), ts.Stderr()); code != exitUsage {
		ts.Fatalf("a key that is too long: exit code %d", code)
	}
}

// hold runs as a separate process and keeps the store in a directory open until its
// input ends.
func hold() {
	s, err := mmapkv.Open(os.Args[1], nil)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("held")
	_, _ = io.Copy(io.Discard, os.Stdin)
	if err := s.Close(); err != nil {
		os.Exit(1)
	}
}

// TestLockedStoreExitsWith3: while another process holds the store, readers and
// writers find it locked. Killing that process releases the lock.
func TestLockedStoreExitsWith3(t *testing.T) {
	dir := t.TempDir()
	holder := exec.Command("hold", dir)
	stdin, err := holder.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	stdout, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	end := sync.OnceFunc(func() {
		_ = holder.Process.Kill()
		_ = holder.Wait()
	})
	defer end()
	if word, err := bufio.NewReader(stdout).ReadString('\n'); word != "held\n" {
		t.Fatalf("the holder says %q, %v", word, err)
	}
	for _, args := range [][]string{{"get", "k"}, {"count"}, {"scan"}, {"put", "k", "v"}, {"compact"}} {
		var stderr bytes.Buffer
		if code := run(append([]string{"--dir", dir}, args...), nil, io.Discard, &stderr); code != exitLocked || stderr.Len() == 0 {
			t.Errorf("%v: exit code %d, %q", args, code, stderr.String())
		}
	}
	end()
	if code := run([]string{"--dir", dir, "put", "k", "v"}, nil, io.Discard, io.Discard); code != exitOK {
		t.Errorf("after the holder was killed: exit code %d", code)
	}
}

// TestCompactEndsWhenInterrupted runs compact with a context that has ended, as Ctrl-C
// ends it.
func TestCompactEndsWhenInterrupted(t *testing.T) {
	dir := t.TempDir()
	for _, value := range []string{"old", "new"} {
		if code := run([]string{"--dir", dir, "put", "k", value}, nil, io.Discard, io.Discard); code != exitOK {
			t.Fatalf("put: %d", code)
		}
	}
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	var stdout bytes.Buffer
	root := newRoot()
	root.SetArgs([]string{"--dir", dir, "compact"})
	root.SetOut(&stdout)
	if err := root.ExecuteContext(ctx); exitCode(err) != exitInterrupted {
		t.Errorf("compact: %v, exit code %d", err, exitCode(err))
	}
	if !strings.Contains(stdout.String(), "the store takes") {
		t.Errorf("it says %q", stdout.String())
	}
	stdout.Reset()
	if code := run([]string{"--dir", dir, "get", "k"}, nil, &stdout, io.Discard); code != exitOK || stdout.String() != "new" {
		t.Errorf("get: %d, %q", code, stdout.String())
	}
}

// TestVerifyAndSalvageEndWhenInterrupted runs them with a context that has ended, as
// Ctrl-C ends it.
func TestVerifyAndSalvageEndWhenInterrupted(t *testing.T) {
	dir, to := t.TempDir(), filepath.Join(t.TempDir(), "to")
	if code := run([]string{"--dir", dir, "put", "k", "v"}, nil, io.Discard, io.Discard); code != exitOK {
		t.Fatalf("put: %d", code)
	}
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	for _, args := range [][]string{{"--dir", dir, "verify"}, {"salvage", dir, to}} {
		root := newRoot()
		root.SetArgs(args)
		root.SetOut(io.Discard)
		err := root.ExecuteContext(ctx)
		if exitCode(err) != exitInterrupted || !strings.HasPrefix(fmt.Sprint(err), "interrupted; ") {
			t.Errorf("%v: %v, exit code %d", args, err, exitCode(err))
		}
	}
}

// TestCompactBarEndsWithTheLog: segments that compaction skips count as done.
func TestCompactBarEndsWithTheLog(t *testing.T) {
	log := []mmapkv.SegmentStats{{File: "1", LiveBytes: 10}, {File: "2", LiveBytes: 5, DeadBytes: 15}, {File: "3", LiveBytes: 70}}
	bar := newCompactBar(io.Discard, log)
	bar.bar = progressbar.NewOptions64(bar.through["3"], progressbar.OptionSetWriter(io.Discard))
	for _, c := range []struct {
		files []string
		want  int64
	}{{[]string{"1"}, 10}, {[]string{"2", "3"}, 100}, {[]string{"2"}, 100}} {
		bar.ended(mmapkv.CompactionEnded{Files: c.files})
		if got := bar.bar.State().CurrentNum; got != c.want {
			t.Errorf("after %v the bar is at %d, not %d", c.files, got, c.want)
		}
	}
}

// TestExpiryIsTheSameAfterImport imports and exports values that expire, three times
// over, and compares the lines.
func TestExpiryIsTheSameAfterImport(t *testing.T) {
	var lines strings.Builder
	for i := range int64(200) {
		fmt.Fprintf(&lines, "{\"key\":\"%03d\",\"value\":\"v\",\"expires\":%d}\n", i, time.Now().Add(time.Hour).UnixMilli()+i)
	}
	fmt.Fprintln(&lines, `{"count":200}`)
	var input io.Reader = strings.NewReader(lines.String())
	for range 3 {
		dir := t.TempDir()
		var out, stderr bytes.Buffer
		if code := run([]string{"--dir", dir, "import"}, input, io.Discard, &stderr); code != exitOK {
			t.Fatalf("import: %d, %s", code, stderr.String())
		}
		if code := run([]string{"--dir", dir, "export"}, nil, &out, &stderr); code != exitOK {
			t.Fatalf("export: %d, %s", code, stderr.String())
		}
		if out.String() != lines.String() {
			t.Fatalf("export printed\n%snot\n%s", out.String(), lines.String())
		}
		input = &out
	}
}

// TestImportTakesNoBytesAsText: import refuses bytes that are not Unicode; the decoder
// would replace them with U+FFFD.
func TestImportTakesNoBytesAsText(t *testing.T) {
	lines := strings.NewReader("{\"key\":\"a\",\"value\":\"1\"}\n{\"key\":\"\xff\",\"value\":\"2\"}\n")
	var stderr bytes.Buffer
	code := run([]string{"--dir", t.TempDir(), "import"}, lines, io.Discard, &stderr)
	if code != exitUsage || !strings.Contains(stderr.String(), "line 2: the text is not Unicode") {
		t.Errorf("exit code %d, %q", code, stderr.String())
	}
}

// TestImportFailureIsNoBadInput imports into a closed store: the error does not blame
// a line, and nothing counts as imported.
func TestImportFailureIsNoBadInput(t *testing.T) {
	s, err := mmapkv.Open(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	lines := strings.Repeat("{\"key\":\"k\",\"value\":\"v\"}\n", 2*batchPairs)
	imported, _, err := importLines(func() (*mmapkv.Store, error) { return s, nil }, strings.NewReader(lines), false, &progress{})
	if imported != 0 || !errors.Is(err, mmapkv.ErrClosed) || exitCode(err) != exitIO {
		t.Errorf("%d pairs imported, exit code %d, %v", imported, exitCode(err), err)
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
		t.Errorf("%d pairs came back of %d, or different ones", len(got), len(want))
	}
}

// TestTourChecksCanFail shows that the tour would notice a store that loses, tears or
// invents values, or brings old ones back.
func TestTourChecksCanFail(t *testing.T) {
	files := map[string][]byte{}
	for _, name := range strings.Split("abcdefgh", "") {
		files[name] = []byte("file " + name)
	}
	acknowledged := []int{8, 5, 0, 6} // the first writer's next one is a delete
	first, second, last := plans(files)[0], plans(files)[1], plans(files)[3]
	put := func(p plan, n int) step { d := p.step(n); d.isDelete = false; return d }
	remove := func(p plan, n int) step { return step{key: p.step(n).key, isDelete: true} }
	torn := func(p plan, n int) step { d := p.step(n); d.value = d.value[:len(d.value)/2]; return d }
	for name, c := range map[string]struct {
		spoil []step
		fails bool
	}{
		"nothing":                      {nil, false},
		"the ones in flight":           {[]step{first.step(9), second.step(6)}, false},
		"one after those in flight":    {[]step{first.step(10)}, true},
		"two of one writer":            {[]step{first.step(9), first.step(10)}, true},
		"one far after":                {[]step{first.step(100)}, true},
		"an acknowledged one missing":  {[]step{remove(first, 4)}, true},
		"the last one missing":         {[]step{remove(first, 8)}, true},
		"a deleted one is back":        {[]step{put(first, 1)}, true},
		"a deleted file is back":       {[]step{last.step(5)}, true},
		"a torn one":                   {[]step{torn(first, 4)}, true},
		"one in flight, torn":          {[]step{torn(last, 7)}, true},
		"an overwritten one is old":    {[]step{{key: second.own[0], value: files[second.own[0]]}}, true},
		"an untouched file is missing": {[]step{{key: "g", isDelete: true}}, true},
		"an untouched file is changed": {[]step{{key: "g", value: []byte("file")}}, true},
		"an invented key":              {[]step{{key: "nobody's"}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := mmapkv.Open(t.TempDir(), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			steps := []step{}
			for key, value := range files {
				steps = append(steps, step{key: key, value: value})
			}
			for w, p := range plans(files) {
				for n := 1; n <= acknowledged[w]; n++ {
					steps = append(steps, p.step(n))
				}
			}
			for _, d := range append(steps, c.spoil...) {
				if err := d.do(s); err != nil {
					t.Fatal(err)
				}
			}
			_, err = checkKilled(s, files, maps.Clone(files), acknowledged)
			if (err != nil) != c.fails || err != nil && exitCode(err) != exitCorrupt {
				t.Errorf("the check says %v", err)
			}
		})
	}
}
