package main

import (
	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/mmapkv"
	"github.com/mmapkv/mmapkv/perf/workload"
)

// openMmapkv uses the default options, including checksums on reads, except for the
// policy. Under every policy writes survive a kill; Never matches the rivals that sync
// nothing. Segments have the given size; 0: the default.
func openMmapkv(segmentSize int64) func(dir string, survives workload.Class) (workload.Store, error) {
	return func(dir string, survives workload.Class) (workload.Store, error) {
		options := mmapkv.Options{Sync: fsync.Never, SegmentSize: segmentSize}
		if survives == workload.PowerLoss {
			options.Sync = fsync.Always
		}
		return workload.MMapKV("mmapkv", options).Open(dir)
	}
}
