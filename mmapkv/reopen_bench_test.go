package mmapkv

import (
	"encoding/binary"
	"os"
	"testing"
	"time"

	"github.com/mmapkv/mmapkv/fsync"
)

// BenchmarkOpenAfterKill opens a store that was killed with 256 MiB unsealed. MMAPKV_KILLED may name
// a directory that keeps such a store from one run to the next.
func BenchmarkOpenAfterKill(b *testing.B) {
	source := os.Getenv("MMAPKV_KILLED")
	o := &Options{SegmentSize: 512 << 20, Sync: fsync.Every(200 * time.Millisecond)}
	if _, err := os.Stat(source + "/MANIFEST"); source == "" || err != nil {
		source = writeUnsealed(b, source, o)
	}
	for b.Loop() {
		b.StopTimer()
		dir := copyDir(b, source)
		b.StartTimer()
		s := open(b, dir, o)
		b.StopTimer()
		if s.Len() != unsealedKeys {
			b.Fatalf("%d keys, of %d", s.Len(), unsealedKeys)
		}
		b.ReportMetric(float64(s.Stats().Recovery.Duration.Milliseconds()), "recovery-ms")
		b.ReportMetric(float64(s.Stats().Recovery.RecordsScanned), "scanned")
		b.ReportMetric(float64(s.Stats().Recovery.RecordsRecovered), "copied")
		closeStore(b, s)
		if err := os.RemoveAll(dir); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// unsealedKeys is how many keys of 24 bytes with values of 128 take 256 MiB.
const unsealedKeys = 256 << 20 / 176

// writeUnsealed writes 256 MiB at some 200 MiB a second, and returns a directory with what a kill
// would leave: dir, or a temporary one without a name.
func writeUnsealed(b *testing.B, dir string, o *Options) string {
	s := open(b, b.TempDir(), o)
	began := time.Now()
	value := make([]byte, 128)
	for i := range uint64(unsealedKeys) {
		key := make([]byte, 24)
		binary.BigEndian.PutUint64(key, i*0x9e3779b97f4a7c15)
		binary.BigEndian.PutUint64(key[16:], i)
		if err := s.Put(key, value); err != nil {
			b.Fatal(err)
		}
		if ahead := time.Duration(i)*time.Microsecond - time.Since(began); i%1000 == 0 && ahead > time.Millisecond {
			time.Sleep(ahead)
		}
	}
	killed := copyDir(b, s.path)
	closeStore(b, s)
	if dir == "" {
		return killed
	}
	if err := os.CopyFS(dir, os.DirFS(killed)); err != nil {
		b.Fatal(err)
	}
	return dir
}
