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

// A whole hint of an older version is not damaged, and dump says which version it has. One with
// a changed byte is damaged.
func TestDumpOfAnOlderHint(t *testing.T) {
	for _, version := range []string{"1", "2"} {
		content, err := os.ReadFile(filepath.Join("..", "..", "segment", "testdata", "v"+version, "hint"))
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), segment.HintName(7))
		dump := func() (code int, out string) {
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			var stdout, stderr bytes.Buffer
			code = run([]string{"dump", "--salt", "0123456789abcdef", path}, strings.NewReader(""), &stdout, &stderr)
			return code, fmt.Sprint(&stdout, &stderr)
		}
		if code, out := dump(); code != exitOK || !strings.Contains(out, "format version "+version) {
			t.Errorf("version %s: exit code %d, %q", version, code, out)
		}
		content[len(content)-20] ^= 1
		if code, out := dump(); code != exitCorrupt {
			t.Errorf("version %s, damaged: exit code %d, %q", version, code, out)
		}
	}
}
