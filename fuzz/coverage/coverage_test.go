package main

import (
	"os"
	"path/filepath"
	"testing"
)

const source = `package p

func (t *T) one() error {
	if err := call(); err != nil {
		return err
	}
	switch err := call(); {
	case err != nil && !t.done:
		return err
	}
	if t != nil {
		return nil
	}
	return nil
}
`

// Tests take the first place and not the second. The last if is not about an error.
const cover = `mode: set
github.com/mmapkv/mmapkv/FILE:3.27,4.35 1 1
github.com/mmapkv/mmapkv/FILE:4.35,6.3 1 0
github.com/mmapkv/mmapkv/FILE:4.35,6.3 1 1
github.com/mmapkv/mmapkv/FILE:7.2,7.24 1 1
github.com/mmapkv/mmapkv/FILE:8.28,9.13 1 0
github.com/mmapkv/mmapkv/FILE:11.2,11.14 1 0
`

func TestPlacesThatNoTestTakes(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, content := range map[string]string{"FILE": source, "profile": cover} {
		if err := os.WriteFile(filepath.Join(".", name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	blocks := profile{}
	if err := blocks.read("profile"); err != nil {
		t.Fatal(err)
	}
	places, err := errorPlaces(blocks)
	if err != nil || len(places) != 2 {
		t.Fatalf("%d places, %v", len(places), err)
	}
	if first := places[0]; !first.taken || first.line != 4 || first.key() != "FILE *T.one: err != nil #1" {
		t.Errorf("the first place is %+v", first)
	}
	if second := places[1]; second.taken || second.line != 8 || second.condition != "err != nil && !t.done" {
		t.Errorf("the second place is %+v", second)
	}
}
