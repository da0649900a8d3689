package vfstest

import (
	"strings"
	"syscall"

	"github.com/mmapkv/mmapkv/internal/vfs"
)

func mappingShowsLaterWrites(d *disk) {
	f := d.create("file", "0123456789")
	early := d.mapFile(f, 10)
	d.wantBytes(early, 0, "0123456789")
	d.write(f, "ab", 2)
	d.wantBytes(early, 0, "01ab456789")
	d.write(d.keep(d.dir.Open("file")), "cd", 4)
	late := d.mapFile(d.keep(d.dir.OpenReadOnly("file")), 10)
	for _, m := range []vfs.Mapping{early, late} {
		d.wantBytes(m, 0, "01abcd6789")
	}
	d.write(f, "ef", 6)
	for _, m := range []vfs.Mapping{early, late} {
		d.wantBytes(m, 0, "01abcdef89")
		d.must(m.Unmap())
	}
}

func mappingShowsWhatTheFileGrowsBy(d *disk) {
	const size = 100_000
	f := d.create("file", "start")
	whole, part := d.mapFile(f, size), d.mapFile(f, 40_000)
	d.wantBytes(whole, 0, "start")
	d.must(f.Allocate(50_000))
	d.wantBytes(whole, 5, zeros(50_000-5))
	d.write(f, "middle", 39_997)
	d.wantBytes(whole, 39_997, "middle")
	d.wantBytes(part, 39_997, "mid")
	d.write(f, "end", size-3)
	d.wantBytes(whole, size-3, "end")
	d.wantBytes(whole, 50_000, zeros(size-3-50_000))
	d.write(f, "behind both", size)
	d.wantBytes(whole, 0, "start")
	d.must(whole.Unmap())
	d.must(part.Unmap())
}

func mappingShowsTruncation(d *disk) {
	f := d.create("file", strings.Repeat("x", 20_000))
	m := d.mapFile(f, 30_000)
	d.must(f.Truncate(5_000))
	d.wantBytes(m, 0, strings.Repeat("x", 5_000))
	d.must(f.Truncate(30_000))
	d.wantBytes(m, 0, strings.Repeat("x", 5_000)+zeros(25_000))
	d.must(m.Unmap())
}

func mappingOutlivesFileAndName(d *disk) {
	f, err := d.dir.Create("file")
	d.must(err)
	d.write(f, "content", 0)
	m := d.mapFile(f, 7)
	d.must(f.Close())
	d.wantBytes(m, 0, "content")
	d.must(d.dir.Remove("file"))
	d.create("other", "another") // must not take the old file's place
	d.wantBytes(m, 0, "content")
	d.must(m.Unmap())
}

func unmapIsForOneMapping(d *disk) {
	f := d.create("file", "content")
	first, other := d.mapFile(f, 7), d.mapFile(f, 7)
	d.must(first.Unmap())
	d.want("unmapping again", first.Unmap(), syscall.EINVAL, "")
	d.write(f, "C", 0)
	d.wantBytes(other, 0, "Content")
	d.must(other.Unmap())
	d.wantContent(f, "Content")
}
