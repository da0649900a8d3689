package fsync

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

// BenchmarkDurableWrites appends records to a preallocated file from many
// goroutines. Each waits until its own record is on disk.
func BenchmarkDurableWrites(b *testing.B) {
	for _, linger := range []bool{false, true} {
		for _, writers := range []int{1, 4, 16, 64} {
			b.Run(fmt.Sprintf("linger=%v/writers=%d", linger, writers), func(b *testing.B) {
				benchmarkDurableWrites(b, linger, writers)
			})
		}
	}
}

func benchmarkDurableWrites(b *testing.B, linger bool, writers int) {
	const fileSize, recordSize = 64 << 20, 152
	f, err := os.Create(filepath.Join(b.TempDir(), "log"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	if err := syscall.Fallocate(int(f.Fd()), 0, 0, fileSize); err != nil {
		b.Fatal(err)
	}

	var end int64
	var commits int
	buffer := make([]byte, writers*recordSize)
	g := NewGroup[int]()
	commit := func(members []int) {
		commits++
		group := buffer[:len(members)*recordSize]
		if end+int64(len(group)) > fileSize {
			end = 0
		}
		if _, err := f.WriteAt(group, end); err != nil {
			b.Error(err)
		}
		end += int64(len(group))
		if err := syscall.Fdatasync(int(f.Fd())); err != nil {
			b.Error(err)
		}
	}
	g.SetLinger(linger)

	b.ResetTimer()
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := w; i < b.N; i += writers {
				g.do(i, commit)
			}
		})
	}
	all.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "writes/s")
	b.ReportMetric(float64(b.N)/float64(commits), "members/commit")
}
