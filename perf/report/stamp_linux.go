package report

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

func kernel() string {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(name.Sysname[:]) + " " + unix.ByteSliceToString(name.Release[:])
}

// fileSystem is the one with the longest mount point that contains the directory.
func fileSystem(dir string) string {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return "unknown"
	}
	var longest, found string
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		if len(f) < 4 || len(f[1]) < len(longest) || !strings.HasPrefix(dir+"/", strings.TrimSuffix(f[1], "/")+"/") {
			continue
		}
		longest, found = f[1], fmt.Sprintf("%s (%s) on %s, %s", f[2], f[3], f[1], f[0])
	}
	return found
}
