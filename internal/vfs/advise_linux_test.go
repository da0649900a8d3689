//go:build !race

package vfs

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"unsafe"
)

func TestMappingsStayOutOfCoreFilesAndChildren(t *testing.T) {
	m := mapFile(t, create(t, openDir(t, t.TempDir()), "file", "content"), 7)
	defer m.Unmap()
	maps, err := os.Open("/proc/self/smaps")
	must(t, err)
	defer maps.Close()
	ours := fmt.Sprintf("%x-", unsafe.SliceData(m.Bytes()))
	found := false
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		line := lines.Text()
		found = found || strings.HasPrefix(line, ours)
		if flags, ok := strings.CutPrefix(line, "VmFlags:"); ok && found {
			list := strings.Fields(flags)
			if !slices.Contains(list, "dd") || !slices.Contains(list, "dc") || slices.Contains(list, "wr") {
				t.Errorf("the mapping has flags %q", list)
			}
			return
		}
	}
	t.Error("smaps does not list the mapping")
}
