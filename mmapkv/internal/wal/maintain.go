package wal

import (
	"log/slog"

	"github.com/mmapkv/mmapkv/internal/nap"
	"github.com/mmapkv/mmapkv/mmapkv/internal/pace"
)

// The background seals files that have ended, and prepares the next one.

// Maintain is the goroutine that seals and prepares files, so that writers find
// that done. Open starts it, Close stops it by closing s.stop.
func (l *Log) Maintain() {
	defer l.paceSealing()()
	for {
		select {
		case <-l.Stop:
			return
		case <-l.wake:
		}
		for _, step := range []func() (bool, error){l.StepSeal, l.StepPrepare} {
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

// WakeMaintenance has the background goroutine look for something to do.
func (l *Log) WakeMaintenance() {
	pace.Wake(l.wake)
}

// StepSeal seals one ended file.
func (l *Log) StepSeal() (did bool, err error) {
	l.Maintenance.Lock()
	defer l.Maintenance.Unlock()
	if l.catalog.Syncer.Err() != nil {
		return false, nil
	}
	return l.sealOldestLocked(0, true) // compaction needs it, and gives back more
}

// StepPrepare creates the next file once the tail is half full.
func (l *Log) StepPrepare() (did bool, err error) {
	unsealed := l.catalog.Files.Unsealed()
	if len(unsealed) != 1 {
		return false, nil
	}
	tail := unsealed[0]
	if _, ended := l.catalog.Files.IsEnded(tail); !ended && tail.Limit() < tail.Capacity/2 {
		return false, nil
	}
	return l.Prepare()
}

// Prepare creates the file in which the log goes on, unless there is one, or two
// unsealed files already.
func (l *Log) Prepare() (did bool, err error) {
	l.lockInHurry()
	defer l.unlockInHurry()
	if l.catalog.Syncer.Err() != nil || l.Prepared != nil || len(l.catalog.Files.Unsealed()) != 1 {
		return false, nil
	}
	if err := l.catalog.Reserve.Hold(); err != nil {
		return false, err
	}
	return true, l.prepareLocked(l.catalog.SegmentSize, false)
}

// paceSealing makes sealing step aside, unless somebody waits for it, until the
// function that it returns is called.
func (l *Log) paceSealing() (stop func()) {
	napper := nap.New()
	set := func(n *nap.Napper) {
		l.Maintenance.Lock()
		defer l.Maintenance.Unlock()
		napper.Close()
		l.sealing = pace.Pacer{Napper: n, Hurry: l.SealInHurry, Busy: l.Busy}
	}
	set(napper)
	return func() { set(nil) }
}

// restSealing gives back the descriptor that sealing has stepped aside with.
func (l *Log) restSealing() {
	l.Maintenance.Lock()
	defer l.Maintenance.Unlock()
	if l.sealing.Napper != nil {
		l.sealing.Napper.Close()
	}
}

func (l *Log) SealInHurry() bool {
	return l.sealWaiters.Load() > 0 || l.space.IsFull() || l.Closed()
}

// lockInHurry locks maintenance for a writer, for whom sealing hurries.
func (l *Log) lockInHurry() {
	l.sealWaiters.Add(1)
	l.Maintenance.Lock()
}

func (l *Log) unlockInHurry() {
	l.Maintenance.Unlock()
	l.sealWaiters.Add(-1)
}
