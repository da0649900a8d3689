// Package vfstest checks that a file system, real or test disk, keeps the promises of package
// vfs.
//
// What must hold: every promise that a program can observe without a power cut has a subtest
// here. The real file system's own tests check what only it refuses, symbolic links for
// instance. The tests of crashfs check what a power cut leaves.
package vfstest

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/mmapkv/mmapkv/internal/vfs"
)

// Run checks the file systems that newFS makes. Each subtest asks for its own, with an empty
// directory, root, in it.
func Run(t *testing.T, newFS func(t *testing.T) (fsys vfs.FS, root string)) {
	for _, c := range []struct {
		name string
		run  func(d *disk)
	}{
		{"NamesThatReachOutAreRefused", namesThatReachOutAreRefused},
		{"OddNamesAreNames", oddNamesAreNames},
		{"WhatIsAbsentIsErrNotExist", whatIsAbsentIsErrNotExist},
		{"WhatIsTakenIsErrExist", whatIsTakenIsErrExist},
		{"DirectoriesAreNotFiles", directoriesAreNotFiles},
		{"NamesAreSorted", namesAreSorted},
		{"RenameReplaces", renameReplaces},
		{"IdentityIsOfTheFile", identityIsOfTheFile},
		{"HandlesOutliveTheirNames", handlesOutliveTheirNames},
		{"ReadsEndWithTheFile", readsEndWithTheFile},
		{"HandlesShareTheFile", handlesShareTheFile},
		{"ReadOnlyChangesNothing", readOnlyChangesNothing},
		{"NegativeNumbersAreRefused", negativeNumbersAreRefused},
		{"TruncateCutsAndExtends", truncateCutsAndExtends},
		{"AllocateExtendsAndNeverShortens", allocateExtendsAndNeverShortens},
		{"MappingShowsLaterWrites", mappingShowsLaterWrites},
		{"MappingShowsWhatTheFileGrowsBy", mappingShowsWhatTheFileGrowsBy},
		{"MappingShowsTruncation", mappingShowsTruncation},
		{"MappingOutlivesFileAndName", mappingOutlivesFileAndName},
		{"UnmapIsForOneMapping", unmapIsForOneMapping},
		{"LockExcludes", lockExcludes},
		{"LockKeepsItsFile", lockKeepsItsFile},
		{"MkdirAllMakesParents", mkdirAllMakesParents},
		{"ManyGoroutines", manyGoroutines},
	} {
		t.Run(c.name, func(t *testing.T) {
			fsys, root := newFS(t)
			d := &disk{T: t, fsys: fsys, root: root}
			d.dir = d.openDir(root)
			c.run(d)
		})
	}
}

func manyGoroutines(d *disk) {
	const writers, pieces, pieceSize = 4, 20, 1000
	f := d.create("shared", "")
	m := d.mapFile(f, writers*pieces*pieceSize)
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := range pieces {
				piece := bytes.Repeat([]byte{byte(1 + w)}, pieceSize)
				offset := (i*writers + w) * pieceSize
				if _, err := vfs.WriteFull(f, piece, int64(offset)); err != nil {
					d.Error(err)
				}
				if !bytes.Equal(m.Bytes()[offset:][:pieceSize], piece) {
					d.Errorf("writer %d does not see piece %d in the mapping", w, i)
				}
			}
			name := fmt.Sprint("own", w)
			own, err := d.dir.Create(name)
			if err != nil {
				d.Error(err)
				return
			}
			if err := errors.Join(own.Datasync(), own.Close(), d.dir.Sync(), d.dir.Rename(name, name+"x")); err != nil {
				d.Error(err)
			}
		})
	}
	all.Wait()
	for i := range writers * pieces {
		d.wantBytes(m, i*pieceSize, strings.Repeat(string(rune(1+i%writers)), pieceSize))
	}
	d.must(m.Unmap())
	d.wantNames("own0x", "own1x", "own2x", "own3x", "shared")
}
