package main

import (
	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/mmapkv"
	"github.com/mmapkv/mmapkv/perf/workload"
)

// openMmapkv takes the default options, checksums of reads among them, but for the
// policy. What survives a kill is the same under all of them; Never is what the
// rivals do that sync nothing.
func openMmapkv(dir string, survives workload.Class) (workload.Store, error) {
	options := mmapkv.Options{Sync: fsync.Never}
	if survives == workload.PowerLoss {
		options.Sync = fsync.Always
	}
	return workload.MMapKV("mmapkv", options).Open(dir)
}
