package wal

import (
	"log/slog"

	"github.com/mmapkv/mmapkv/internal/nap"
	"github.com/mmapkv/mmapkv/mmapkv/internal/pace"
)

// Maintain is the goroutine that seals ended files and prepares the next one, so that writers
// need not. It also writes the partial hints of the tail, and the hints that a recovery left out. Open starts it, and Close stops it by closing Stop.
func (l *Log) Maintain() {
	defer l.paceSealing()()
	l.quiet = pace.Pacer{Napper: nap.New(), Hurry: l.Closed, Busy: l.Busy}
	defer l.quiet.Napper.Close()
	for {
		select {
		case <-l.Stop:
			return
		case <-l.wake:
		}
		for _, step := range []func() (bool, error){l.StepSeal, l.StepPrepare, l.StepPartial, l.StepHint} {
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
		l.quiet.Napper.Close()
	}
}

// WakeMaintenance makes Maintain look for work. It does not wait. It is exported for tests.
func (l *Log) WakeMaintenance() {
	pace.Wake(l.wake)
}

// StepSeal seals the oldest file that has ended, if there is one, and reports whether there was.
// After a failed sync it does nothing.
func (l *Log) StepSeal() (did bool, err error) {
	l.Maintenance.Lock()
	defer l.Maintenance.Unlock()
	if l.catalog.Syncer.Err() != nil {
		return false, nil
	}
	// It may use the reserve: compaction needs sealed files, and gives back more.
	return l.sealOldestLocked(0, true)
}

// StepPrepare creates the next file once the tail is half full, and reports whether it did.
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

// Prepare creates the file in which the log continues, unless it exists or two files are unsealed
// already. It reports whether it did. It is exported for tests.
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

// paceSealing makes sealing give way to reads and writes, unless a writer waits for it, until
// stop is called.
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

// restSealing closes the descriptor with which sealing gave way.
func (l *Log) restSealing() {
	l.Maintenance.Lock()
	defer l.Maintenance.Unlock()
	if l.sealing.Napper != nil {
		l.sealing.Napper.Close()
	}
}

// SealInHurry reports whether writers or Close wait for sealing. It is exported for tests.
func (l *Log) SealInHurry() bool {
	return l.sealWaiters.Load() > 0 || l.space.IsFull() || l.Closed()
}

// lockInHurry locks Maintenance for a writer. Sealing does not give way until unlockInHurry.
func (l *Log) lockInHurry() {
	l.sealWaiters.Add(1)
	l.Maintenance.Lock()
}

// unlockInHurry ends what lockInHurry began.
func (l *Log) unlockInHurry() {
	l.Maintenance.Unlock()
	l.sealWaiters.Add(-1)
}
