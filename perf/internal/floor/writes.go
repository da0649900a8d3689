package floor

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/perf/workload"
	"github.com/mmapkv/mmapkv/segment"
)

// Writes makes one pwrite of as many bytes as a record has for each put, and one of as
// many bytes as all records have for each batch. Files are preallocated; a full file
// is replaced by a new one and removed. Only one goroutine may write at a time.
func Writes(fileSize int64) workload.Engine {
	return workload.Engine{
		Name:     Name,
		Survives: workload.Kill,
		Settings: "one pwrite of the same bytes for each put and each batch, into preallocated files",
		Open:     func(dir string) (workload.Store, error) { return openWrites(dir, fileSize, false) },
	}
}

// DurableWrites is Writes with an fdatasync after each pwrite, into a file whose
// space was made durable before.
func DurableWrites(fileSize int64) workload.Engine {
	return workload.Engine{
		Name:     Name,
		Survives: workload.PowerLoss,
		Settings: "one pwrite of the same bytes and one fdatasync for each put, into preallocated files",
		Open:     func(dir string) (workload.Store, error) { return openWrites(dir, fileSize, true) },
	}
}

type writes struct {
	nothing
	dir      vfs.Dir
	fileSize int64
	durable  bool

	file     vfs.File
	made     int // files so far
	end      int64
	buffer   []byte
	removing sync.WaitGroup
	removed  error // of the last removal; read after removing
}

func openWrites(dir string, fileSize int64, durable bool) (*writes, error) {
	// It needs its own directory, since the store's may be in use.
	own := filepath.Join(dir, "floor")
	if _, err := vfs.MkdirAll(vfs.OS(), own); err != nil {
		return nil, err
	}
	d, err := vfs.OS().OpenDir(own)
	if err != nil {
		return nil, err
	}
	w := &writes{dir: d, fileSize: fileSize, durable: durable}
	if err := w.rotate(); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return w, nil
}

func (w *writes) name() string { return fmt.Sprint(w.made) }

// rotate continues in a new file and removes the old one in the background.
func (w *writes) rotate() error {
	old, oldName := w.file, w.name()
	w.made++
	file, err := w.dir.Create(w.name())
	if err != nil {
		return err
	}
	w.file, w.end = file, 0
	if err := file.Allocate(w.fileSize); err != nil {
		return err
	}
	if w.durable {
		if err := errors.Join(file.Datasync(), w.dir.Sync()); err != nil {
			return err
		}
	}
	if old != nil {
		w.removing.Wait()
		w.removing.Go(func() { w.removed = errors.Join(w.dir.Remove(oldName), old.Close()) })
	}
	return nil
}

func (w *writes) Put(key, value []byte) error {
	w.buffer = appendRecord(w.buffer[:0], key, value)
	return w.append()
}

func (w *writes) Write(pairs []workload.Pair) error {
	w.buffer = w.buffer[:0]
	for _, p := range pairs {
		w.buffer = appendRecord(w.buffer, p.Key, p.Value)
	}
	return w.append()
}

// appendRecord appends as many bytes as the pair's record has.
func appendRecord(dst, key, value []byte) []byte {
	var header [segment.RecordHeaderSize]byte
	end := len(dst) + int(segment.RecordSize(len(key), int64(len(value)), 0))
	dst = append(append(append(dst, header[:]...), key...), value...)
	return append(dst, header[:end-len(dst)]...)
}

func (w *writes) append() error {
	if w.end+int64(len(w.buffer)) > w.fileSize {
		if err := w.rotate(); err != nil {
			return err
		}
	}
	if _, err := vfs.WriteFull(w.file, w.buffer, w.end); err != nil {
		return err
	}
	w.end += int64(len(w.buffer))
	if w.durable {
		return w.file.Datasync()
	}
	return nil
}

func (w *writes) Sync() error { return w.file.Datasync() }

func (w *writes) Close() error {
	w.removing.Wait()
	return errors.Join(w.removed, w.file.Close(), w.dir.Remove(w.name()), w.dir.Close())
}
