package mmapkv

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mmapkv/mmapkv/segment"
)

// Partial hints say what was on disk of a killed store, and which keys lay where nothing can be read.
// So Salvage goes on behind the damage, brings over all that Open would, and brings nothing back.
func TestSalvageAsksPartialHints(t *testing.T) {
	for _, manifest := range []bool{true, false} {
		for _, how := range []string{"synced", "written on", "cut"} {
			t.Run(fmt.Sprintf("manifest=%v,%s", manifest, how), func(t *testing.T) {
				s := open(t, t.TempDir(), partialOptions())
				put(t, s, "deleted", "a value to be deleted")
				put(t, s, "rotten", "old")
				put(t, s, "whole", "old")
				s.endForTest(t)
				put(t, s, "first", "value")
				if err := s.Delete([]byte("deleted")); err != nil {
					t.Fatal(err)
				}
				file, offset := putUnderPartial(t, s)
				last := "old"
				if how != "synced" {
					last = "new" // its record says what was synced
					put(t, s, "whole", last)
				}
				dir := killed(t, s, s.path)
				if !manifest {
					remove(t, dir, segment.ManifestName)
				}
				name := filepath.Join(dir, file)
				content, err := os.ReadFile(name)
				if err != nil {
					t.Fatal(err)
				}
				overwrite(t, name, int64(strings.LastIndex(string(content), "deleted")), []byte("X"))
				overwrite(t, name, offset, []byte("XXXX"))
				if how == "cut" {
					if err := os.Truncate(name, offset+8); err != nil {
						t.Fatal(err)
					}
				}
				after, report := salvaged(t, dir, nil)
				wantAbsent(t, after, "deleted")
				wantAbsent(t, after, "rotten")
				wantFilled(t, after, 0, 20, 100)
				if report.KeysLost == 0 || len(report.LostRanges) == 0 {
					t.Errorf("%+v", report)
				}
				if how == "cut" {
					return
				}
				if report.KeysLost != 1 || string(report.LostKeys[0].Key) != "rotten" {
					t.Errorf("%+v", report)
				}
				wantFilled(t, after, 20, 40, 100)
				wantValue(t, after, "whole", last)
			})
		}
	}
}
