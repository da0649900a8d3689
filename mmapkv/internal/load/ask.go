package load

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/internal/errno"
	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/mmapkv/internal/failure"
	"github.com/mmapkv/mmapkv/mmapkv/internal/hints"
	"github.com/mmapkv/mmapkv/segment"
)

// ErrAgain means that a file was loaded while somebody looked for a key in it: the search starts
// again, at Unloaded.
var ErrAgain = errors.New("mmapkv: a file was loaded meanwhile")

// Unloaded is the files that were not loaded at some moment.
type Unloaded struct {
	loading *Loading
	sources []*source // oldest first
}

// Unloaded returns the files that are not loaded now. Who looks for a key asks this first.
func (l *Loading) Unloaded() *Unloaded {
	l.asked.Add(1)
	return l.unloaded.Load()
}

// publishUnloadedLocked publishes what Unloaded returns.
func (l *Loading) publishUnloadedLocked() {
	u := &Unloaded{loading: l}
	for _, from := range l.sources {
		if !from.loaded {
			u.sources = append(u.sources, from)
		}
	}
	l.unloaded.Store(u)
}

// Find looks for the youngest record of a key in those of the files that are younger than a location
// that the index has for it, or in all if that is NoLocation. It returns the location, as the index
// will have it: a placeholder for a tombstone. Without one it returns NoLocation.
//
// If a hint cannot be used, Find waits until its file is loaded, and returns ErrAgain, or an error
// that says why that is impossible. If neither has the key, but it may lie in a range that cannot
// be read, Find returns an error that wraps failure.ErrCorrupt.
func (u *Unloaded) Find(key []byte, than index.Location) (index.Location, error) {
	for i := len(u.sources) - 1; i >= 0; i-- {
		from := u.sources[i]
		if !from.mayBeYounger(than) {
			return index.NoLocation, nil
		}
		found, err := from.find(key)
		if err != nil || found != index.NoLocation {
			return found, err
		}
	}
	if d := u.loading.damage.Load(); d != nil && than == index.NoLocation {
		return index.NoLocation, failure.Corrupt(*d)
	}
	return index.NoLocation, nil
}

// mayBeYounger reports whether the source may have a younger record than the one at a location of the
// index.
func (from *source) mayBeYounger(than index.Location) bool {
	if slot := than.Slot(); than == index.NoLocation || from.file.Slot != slot {
		return than == index.NoLocation || from.file.Slot > slot
	}
	return from.upTo > than.Offset()
}

// find looks for a key in the source's hint.
func (from *source) find(key []byte) (index.Location, error) {
	t, err := from.openForReads()
	if err != nil {
		return index.NoLocation, from.whenUnusable(err)
	}
	defer t.release()
	cursor := t.cursor.Swap(nil)
	if cursor == nil {
		cursor = t.hint.Cursor()
	}
	there := cursor.Seek(key)
	if err := cursor.Err(); err != nil {
		return index.NoLocation, from.whenUnusable(err)
	}
	defer t.cursor.Store(cursor)
	e := cursor.Entry()
	if !there || string(e.Key) != string(key) {
		return index.NoLocation, nil
	}
	size := e.Size
	if e.Flags&segment.Tombstone != 0 {
		size = 0
	}
	return index.MakeLocation(from.file.Slot, e.Offset, size), nil
}

// whenUnusable decides what follows from an error of the hint: it waits until the file is loaded, and
// returns ErrAgain, unless the system lacks something or the file cannot be loaded.
func (from *source) whenUnusable(err error) error {
	l := from.of
	if errno.Scarce(err) || errors.Is(err, failure.ErrClosed) {
		return err
	}
	l.Begin()
	for l.OneWorker {
		l.mu.Lock()
		loaded := from.loaded
		l.mu.Unlock()
		if loaded || l.IsDone() {
			return ErrAgain
		}
		if l.halted() {
			return failure.ErrClosed
		}
		if _, err := l.Step(); err != nil && !from.loaded {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for !from.loaded {
		if from.err != nil {
			return from.err
		}
		if l.halted() {
			return failure.ErrClosed
		}
		l.changed.Wait()
	}
	return ErrAgain
}

// tables is the hints that are open for those who look for a key. They stay open until the index is
// full.
type tables struct {
	mu     rank.Mutex[rank.Tables] // held while one is opened; a leaf
	closed bool
}

// table is one of them. It is closed when its last user releases it.
type table struct {
	hint   *hints.Hint
	closed func() // called once it is closed; may be nil
	users  atomic.Int64
	cursor atomic.Pointer[segment.Cursor] // nobody uses it now; may be nil
}

// openForReads opens the source's hint, unless it is open. The caller releases it.
func (from *source) openForReads() (*table, error) {
	if t := from.table.Load(); t != nil && t.acquire() {
		return t, nil
	}
	all := &from.of.tables
	all.mu.Lock()
	defer all.mu.Unlock()
	if all.closed {
		return nil, failure.ErrClosed
	}
	if t := from.table.Load(); t != nil && t.acquire() {
		return t, nil
	}
	hint, err := from.openTable()
	if err != nil {
		return nil, err
	}
	if damages := hint.Damages(); len(damages) > 0 {
		from.of.noteDamage(from.file, damages[0])
	}
	t := &table{hint: hint}
	t.users.Store(2) // the caller, and the source
	from.table.Store(t)
	return t, nil
}

// acquire begins a use, unless the table is closed.
func (t *table) acquire() bool {
	for {
		users := t.users.Load()
		if users == 0 {
			return false
		}
		if t.users.CompareAndSwap(users, users+1) {
			return true
		}
	}
}

// release ends a use.
func (t *table) release() {
	if t.users.Add(-1) > 0 {
		return
	}
	t.hint.Close()
	if t.closed != nil {
		t.closed()
	}
}

// close closes the tables of the sources, and none is opened any more.
func (all *tables) close(sources []*source) {
	all.mu.Lock()
	defer all.mu.Unlock()
	all.closed = true
	for _, from := range sources {
		if t := from.table.Swap(nil); t != nil {
			t.release()
		}
	}
}

// noteDamage remembers the first damage, which Find tells of.
func (l *Loading) noteDamage(f *catalog.File, d segment.Damage) {
	l.damage.CompareAndSwap(nil, &failure.Damage{File: segment.FileName(f.ID), Offset: d.Offset,
		Reason: fmt.Sprintf("%d bytes cannot be read, and the key may be there", d.Length)})
}
