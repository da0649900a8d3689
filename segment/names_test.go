package segment

import (
	"testing"

	"pgregory.net/rapid"
)

func TestNamesAreParsedAsGiven(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := ID(rapid.Uint64Min(1).Draw(t, "id"))
		for name, want := range map[string]FileKind{
			FileName(id): SegmentFile, HintName(id): HintFile, PartialName(id, 0): PartialFile, PartialName(id, 255) + ".tmp": TemporaryFile, FileName(id) + ".tmp": TemporaryFile, HintName(id) + ".tmp": TemporaryFile,
		} {
			if got, kind, ok := ParseFileName(name); got != id || kind != want || !ok {
				t.Fatalf("%s: %d, %d, %v", name, got, kind, ok)
			}
		}
	})
}

func TestNamesOfOtherFiles(t *testing.T) {
	for name, want := range map[string]FileKind{
		"MANIFEST": ManifestFile, "LOCK": LockFile, "RESERVE": ReserveFile, "SPARE0": ReserveFile, "SPARE1": ReserveFile, "MANIFEST.tmp": TemporaryFile,
		"": 0, "manifest": 0, ".seg": 0, "1.seg": 0, "0000000000000000.seg": 0, "000000000000000A.seg": 0,
		"+000000000000001.seg": 0, "0x00000000000001.seg": 0, "00000000000000001.seg": 0, "0000000000000001.seg.tmp.tmp": 0,
		"0000000000000001.part": 0, "0000000000000001.part256": 0, "0000000000000001.part-1": 0, "0000000000000001.part01": 0,
		"0000000000000001.part+1": 0, "0000000000000001.part1.part1": 0, "1.part1": 0, "0000000000000000.part1": 0,
		"0000000000000001": 0, "0000000000000001.seg ": 0, ".tmp": 0, "note.txt": 0,
	} {
		if id, kind, ok := ParseFileName(name); id != 0 || kind != want || ok != (want != 0) {
			t.Errorf("%q: %d, %d, %v", name, id, kind, ok)
		}
	}
}
