package main

// exceptions are the places that handle an error and that no test can take, each with the
// reason.
var exceptions = map[string]string{
	"internal/vfs/map.go *osMapping.Unmap: err != nil #1":             "the kernel lacks memory to replace an existing mapping",
	"internal/vfs/os.go *osDir.openFD: err != nil #3":                 "fstat of a descriptor that was just opened",
	"internal/vfs/os.go *osDir.Lock: err != nil #2":                   "flock of an open file on a file system without locks",
	"internal/vfs/os_linux.go systemMappings: err != nil #1":          "a system without /proc/sys/vm/max_map_count",
	"internal/vfs/os_linux.go systemMappings: err != nil || n < 2 #1": "/proc/sys/vm/max_map_count that is not a number",
	"mmapkv/internal/hints/hints.go *Hints.RebuildTo: err != nil #2":  "opening a hint in the memory in which it was just encoded",
}
