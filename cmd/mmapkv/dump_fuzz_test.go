package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mmapkv/mmapkv/mmapkv"
	"github.com/mmapkv/mmapkv/segment"
)

// FuzzDump dumps arbitrary bytes under each name of a store's files: at worst they are
// an error.
func FuzzDump(f *testing.F) {
	dir := f.TempDir()
	s, err := mmapkv.Open(dir, nil)
	if err != nil {
		f.Fatal(err)
	}
	for _, key := range []string{"", "a", "key"} {
		if err := s.Put([]byte(key), []byte("value")); err != nil {
			f.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		f.Fatal(err)
	}
	names := []string{segment.FileName(1), segment.HintName(1), segment.ManifestName}
	for i, name := range names {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			f.Fatal(err)
		}
		for j := range names {
			f.Add(content, (i+j)%len(names), j%2 == 0)
		}
	}
	f.Fuzz(func(t *testing.T, content []byte, name int, json bool) {
		to := t.TempDir()
		if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(to, names[uint(name)%uint(len(names))])
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		var stderr bytes.Buffer
		args := []string{"dump", path}
		if json {
			args = append(args, "--json")
		}
		code := run(args, strings.NewReader(""), io.Discard, &stderr)
		if code != exitOK && code != exitCorrupt && code != exitUsage || (code == 0) != (stderr.Len() == 0) {
			t.Errorf("exit code %d, and %q", code, stderr.String())
		}
	})
}
