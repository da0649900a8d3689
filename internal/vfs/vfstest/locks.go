package vfstest

import "github.com/mmapkv/mmapkv/internal/vfs"

func lockExcludes(d *disk) {
	other := d.openDir(d.root)
	take := func(dir vfs.Dir, mode vfs.LockMode) vfs.Lock {
		d.Helper()
		l, err := dir.Lock("LOCK", mode)
		d.must(err)
		return l
	}
	refused := func(mode vfs.LockMode) {
		d.Helper()
		for _, dir := range []vfs.Dir{d.dir, other} {
			d.want("lock", second(dir.Lock("LOCK", mode)), vfs.ErrLocked, "LOCK")
		}
	}

	exclusive := take(d.dir, vfs.Exclusive)
	refused(vfs.Exclusive)
	refused(vfs.Shared)
	another, err := d.dir.Lock("ANOTHER", vfs.Exclusive)
	d.must(err)
	d.must(another.Unlock())
	d.must(exclusive.Unlock())

	first, then := take(other, vfs.Shared), take(d.dir, vfs.Shared)
	refused(vfs.Exclusive)
	d.must(first.Unlock())
	refused(vfs.Exclusive)
	d.must(then.Unlock())

	d.must(take(other, vfs.Exclusive).Unlock())
}

func lockKeepsItsFile(d *disk) {
	exclusive, err := d.dir.Lock("LOCK", vfs.Exclusive)
	d.must(err)
	d.must(exclusive.Unlock())
	d.wantNames("LOCK")

	const content = "what stands here means nothing"
	d.create("USED", content)
	for _, mode := range []vfs.LockMode{vfs.Exclusive, vfs.Shared} {
		l, err := d.dir.Lock("USED", mode)
		d.must(err)
		d.wantContent(d.keep(d.dir.Open("USED")), content)
		d.must(l.Unlock())
	}
	d.wantContent(d.keep(d.dir.Open("USED")), content)
}
