package mmapkv

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mmapkv/mmapkv/segment"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		runChild()
		return
	}
	code := m.Run()
	// A store's background work, such as its last events, may end late.
	var leak error
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if leak = goleak.Find(); leak == nil && segment.Held() != 0 {
			leak = fmt.Errorf("%d segments were never released", segment.Held())
		}
		if leak == nil {
			break
		}
	}
	if leak != nil && code == 0 {
		fmt.Fprintln(os.Stderr, leak)
		code = 1
	}
	os.Exit(code)
}

// tiny makes rotation, hints and recovery happen hundreds of times.
func tiny() *Options { return &Options{SegmentSize: minSegmentSize} }

func open(t testing.TB, dir string, o *Options) *Store {
	t.Helper()
	s, err := Open(dir, o)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func put(t testing.TB, s *Store, key, value string) {
	t.Helper()
	if err := s.Put([]byte(key), []byte(value)); err != nil {
		t.Fatalf("Put(%q): %v", key, err)
	}
}

func wantValue(t testing.TB, s *Store, key, want string) {
	t.Helper()
	got, err := s.Get([]byte(key))
	if err != nil || string(got) != want {
		t.Fatalf("Get(%q) = %.40q, %v; want %.40q", key, got, err, want)
	}
}

func wantAbsent(t testing.TB, s *Store, key string) {
	t.Helper()
	if got, err := s.Get([]byte(key)); !errors.Is(err, ErrNotFound) {
		t.Fatalf("Get(%q) = %.40q, %v; want ErrNotFound", key, got, err)
	}
}

func closeStore(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
}

// numbered returns the i-th key and its value of size bytes.
func numbered(i, size int) (key, value []byte) {
	key = fmt.Appendf(nil, "key-%07d", i)
	value = bytes.Repeat(fmt.Appendf(nil, "%07d ", i), size/8+1)[:size]
	return key, value
}

func fill(t testing.TB, s *Store, from, to, size int) {
	t.Helper()
	for i := from; i < to; i++ {
		key, value := numbered(i, size)
		if err := s.Put(key, value); err != nil {
			t.Fatalf("Put %d: %v", i, err)
		}
	}
}

func wantFilled(t testing.TB, s *Store, from, to, size int) {
	t.Helper()
	for i := from; i < to; i++ {
		key, value := numbered(i, size)
		if got, err := s.Get(key); err != nil || !bytes.Equal(got, value) {
			t.Fatalf("key %d: %d bytes, %v; want %d bytes", i, len(got), err, len(value))
		}
	}
}

func diskUse(t testing.TB, dir string) (bytes int64, files int) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // it was renamed or removed after ReadDir
		}
		if err != nil {
			t.Fatal(err)
		}
		bytes += info.Size()
		files++
	}
	return bytes, files
}

func segmentFiles(t testing.TB, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.seg"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// checkAccounts compares each segment's account of live bytes with a recount, and the bits with
// the index.
func checkAccounts(t testing.TB, s *Store) {
	t.Helper()
	if wrong := s.catalog.FindWrongBits(); wrong != "" {
		t.Error(wrong)
	}
	type account struct{ records, hints int64 }
	live := s.catalog.Set()
	want := map[segment.ID]account{}
	for key := range s.Keys() {
		loc := live.Keys.Get(s.hasher.Fingerprint(key))
		f := live.File(loc)
		a := want[f.ID]
		want[f.ID] = account{a.records + f.RecordSize(loc), a.hints + segment.HintEntrySize(len(key))}
	}
	for _, f := range live.Order {
		if got := (account{f.LiveBytes.Load(), f.LiveHints.Load()}); got != want[f.ID] {
			t.Errorf("segment %d has %d live bytes by its account, %d by counting", f.ID, got, want[f.ID])
		}
	}
}

// killed copies an open store as SIGKILL would leave it. The manifest does not change
// during the copy, however busy the background is.
func killed(t testing.TB, s *Store, dir string) string {
	t.Helper()
	s.catalog.Manifest.Mu.Lock()
	defer s.catalog.Manifest.Mu.Unlock()
	return copyDir(t, dir)
}

// copyDir copies a directory whose manifest does not change.
func copyDir(t testing.TB, dir string) string {
	t.Helper()
	for {
		to := t.TempDir()
		err := os.CopyFS(to, os.DirFS(dir))
		if err == nil {
			return to
		}
		if !errors.Is(err, fs.ErrNotExist) { // a file was renamed or removed: again
			t.Fatal(err)
		}
	}
}
