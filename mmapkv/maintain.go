package mmapkv

import (
	"log/slog"

	"github.com/mmapkv/mmapkv/internal/nap"
	"github.com/mmapkv/mmapkv/mmapkv/internal/pace"
)

// The background seals files that have ended, and prepares the next one.

// maintain is the goroutine that seals and prepares files, so that writers find
// that done. Open starts it, Close stops it by closing s.stop.
func (l *log) maintain() {
	defer l.paceSealing()()
	for {
		select {
		case <-l.Stop:
			return
		case <-l.wake:
		}
		for _, step := range []func() (bool, error){l.stepSeal, l.stepPrepare} {
			for {
				did, err := step()
				if err != nil {
					l.catalog.Message(slog.LevelWarn, "mmapkv: background work failed; it is tried again", "error", err)
					break
				}
				if !did {
					break
				}
			}
		}
		l.restSealing()
	}
}

// wakeMaintenance has the background goroutine look for something to do.
func (l *log) wakeMaintenance() {
	pace.Wake(l.wake)
}

// stepSeal seals one ended file.
func (l *log) stepSeal() (did bool, err error) {
	l.maintenance.Lock()
	defer l.maintenance.Unlock()
	if l.catalog.Syncer.Err() != nil {
		return false, nil
	}
	return l.sealOldestLocked(0, true) // compaction needs it, and gives back more
}

// stepPrepare creates the next file once the tail is half full.
func (l *log) stepPrepare() (did bool, err error) {
	unsealed := l.catalog.Files.Unsealed()
	if len(unsealed) != 1 {
		return false, nil
	}
	tail := unsealed[0]
	if _, ended := l.catalog.Files.IsEnded(tail); !ended && tail.Limit() < tail.Capacity/2 {
		return false, nil
	}
	return l.prepare()
}

// prepare creates the file in which the log goes on, unless there is one, or two
// unsealed files already.
func (l *log) prepare() (did bool, err error) {
	l.lockInHurry()
	defer l.unlockInHurry()
	if l.catalog.Syncer.Err() != nil || l.prepared != nil || len(l.catalog.Files.Unsealed()) != 1 {
		return false, nil
	}
	if err := l.catalog.Reserve.Hold(); err != nil {
		return false, err
	}
	return true, l.prepareLocked(l.catalog.SegmentSize, false)
}

// paceSealing makes sealing step aside, unless somebody waits for it, until the
// function that it returns is called.
func (l *log) paceSealing() (stop func()) {
	napper := nap.New()
	set := func(n *nap.Napper) {
		l.maintenance.Lock()
		defer l.maintenance.Unlock()
		napper.Close()
		l.sealing = pace.Pacer{Napper: n, Hurry: l.sealInHurry, Busy: l.Busy}
	}
	set(napper)
	return func() { set(nil) }
}

// restSealing gives back the descriptor that sealing has stepped aside with.
func (l *log) restSealing() {
	l.maintenance.Lock()
	defer l.maintenance.Unlock()
	if l.sealing.Napper != nil {
		l.sealing.Napper.Close()
	}
}

func (l *log) sealInHurry() bool {
	return l.sealWaiters.Load() > 0 || l.space.IsFull() || l.Closed()
}

// lockInHurry locks maintenance for a writer, for whom sealing hurries.
func (l *log) lockInHurry() {
	l.sealWaiters.Add(1)
	l.maintenance.Lock()
}

func (l *log) unlockInHurry() {
	l.maintenance.Unlock()
	l.sealWaiters.Add(-1)
}
