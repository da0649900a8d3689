package mmapkv

import (
	"context"
	"errors"
	"log/slog"
	"slices"

	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/mmapkv/internal/catalog"
	"github.com/mmapkv/mmapkv/mmapkv/internal/failure"
	"github.com/mmapkv/mmapkv/mmapkv/internal/load"
	"github.com/mmapkv/mmapkv/mmapkv/internal/pace"
)

// Open returns before the index is full. Package load fills it, and says what must hold until then.

// Ready returns once the index is full. Until then reads and writes are right all the same, and a
// read may take some microseconds more for each segment. Len, Keys, Range and Compact wait for the
// index, as Ready does, and nothing is compacted.
//
// If a segment cannot be loaded, Ready returns why: for instance an error that wraps
// syscall.EMFILE, or one that wraps ErrCorrupt. So does every read of a key that may be in that
// segment. The store tries again every second, and at once when Ready is called again. Damage that
// reads can do without ends in a full index; then too Ready returns an error that wraps ErrCorrupt
// and says what cannot be read. Stats().Loading says which of the two it is. Ready returns the
// context's error if that ends first, and ErrClosed once the store is closed.
func (s *Store) Ready(ctx context.Context) error {
	ctx, done := pace.OwnContext(ctx)
	defer done()
	if err := s.awaitIndex(ctx.Done()); err != nil {
		return err
	}
	if !s.loading.IsDone() {
		return ctx.Err()
	}
	var err error
	for _, d := range s.loading.Found().Damages {
		err = errors.Join(err, failure.Corrupt(d))
	}
	return err
}

// awaitIndex waits until the index is full, or ended is closed. It returns why the index cannot be
// filled.
func (s *Store) awaitIndex(ended <-chan struct{}) error {
	if s.closed.Load() {
		return ErrClosed
	}
	if s.loading.IsDone() {
		return nil
	}
	return s.loading.Ready(ended)
}

// startLoading begins to fill the index. If the store was closed, that has time until Open is done.
func startLoading(s *Store, clean bool) {
	s.loading = load.Start(load.Options{
		Catalog: &s.catalog, Hints: &s.hints, Hasher: s.hasher, Now: judge(s), Expires: s.sweeper.Expires,
		ExpectedKeys: s.options.ExpectedKeys, OneWorker: s.manual(), OnDemand: s.onDemand(),
		Busy: s.beingWritten, Ended: s.loaded,
	}, !clean)
}

// continueLoading fills the index, in the background if that may take long. A test decides when.
func continueLoading(s *Store) {
	small := s.loading.Settle()
	switch {
	case s.manual():
		if !s.options.seams.Hold {
			_ = s.loading.Finish() // Ready tries again, and returns the error
		}
	case !small || s.onDemand() || s.loading.Finish() != nil:
		s.background("load", func() {
			s.loading.Run()
			s.compactor.Wake()
		})
	}
}

// loaded is called when the index is full, once, just before anybody hears of it.
func (s *Store) loaded(found load.Found) {
	if s.catalog.Hides.Load() {
		s.sweeper.ExpiresAt(0) // the tail may have expired, or most of it
	}
	s.sweeper.Start()
	if found.Unhinted > 0 {
		s.log.WakeMaintenance()
	}
	e := Loaded{Keys: s.catalog.Files.Keys.Len(), HintsRebuilt: found.Rebuilt, Damages: corruptErrors(found.Damages), Duration: found.Duration}
	s.events.loaded(e)
	for i := range e.Damages {
		s.events.corruption(&e.Damages[i])
	}
}

// loaded reports that the index is full.
func (n *notifier) loaded(e Loaded) {
	shown := e
	shown.Damages = slices.Clone(e.Damages)
	tell(n, n.events.Loaded, shown, slog.LevelInfo, "mmapkv: the index is full", "keys", e.Keys, "hintsRebuilt", e.HintsRebuilt, "took", e.Duration)
}

// corruptErrors makes the errors that a user sees of damages.
func corruptErrors(damages []failure.Damage) (list []CorruptError) {
	for _, d := range damages {
		list = append(list, CorruptError(d))
	}
	return list
}

// recoveryStats returns what Open and loading have found.
func recoveryStats(s *Store) RecoveryStats {
	r := s.recovery
	done := s.loading.IsDone()
	found := s.loading.Found()
	r.HintsRebuilt = found.Rebuilt
	r.Damages = append(slices.Clone(r.Damages), corruptErrors(found.Damages)...)
	if done {
		r.LoadingTook = found.Duration
	}
	return r
}

// prefault is the goroutine that prefaults, once the index is full: it would take loading's time.
func (s *Store) prefault() {
	select {
	case <-s.loading.Done():
		s.residency.Run(s.stop)
	case <-s.stop:
	}
}

// searchPartial is search while the index is loaded: the index may lack the key's youngest record,
// or all of them. The order of its steps is that of package load.
func (s *Store) searchPartial(set *catalog.FileSet, hash uint64, key []byte, f *found, checkValue bool) error {
	unloaded := s.loading.Unloaded()
	at, found := f.search(set.Keys, hash, key)
	if found == ErrClosed || found == errRetired {
		return found
	}
	younger, err := unloaded.Find(key, at)
	if s.catalog.Loaded.Load() || err == load.ErrAgain {
		return errRetired
	}
	f.loc = index.NoLocation // loading moves nothing, so every error counts
	switch {
	case err != nil:
		return err
	case younger != index.NoLocation:
		if younger.Tombstone() {
			return ErrNotFound
		}
		if err := f.load(set, younger); err != nil {
			return err
		}
		if string(f.record.Key) != string(key) {
			return f.file.Corrupt(younger.Offset(), "the record is not the one that the hint lists")
		}
		at = younger
	case found != nil:
		return found
	}
	return f.accept(at, checkValue)
}

// accept says whether the record in hand, which is the key's youngest, is there to be read.
func (f *found) accept(at index.Location, checkValue bool) error {
	if f.store.expired(&f.record) {
		return ErrNotFound
	}
	if checkValue && !f.record.ValueOK() {
		return f.file.Corrupt(at.Offset(), failure.BadValue)
	}
	return nil
}

// search is Store.search in an index that has placeholders of tombstones. at is where the index has
// the key. If that is a placeholder, the error is ErrNotFound; then, and if at is NoLocation, no
// record is in hand.
func (f *found) search(keys *index.KeyDir, hash uint64, key []byte) (at index.Location, err error) {
	err = ErrNotFound
	candidates := keys.Find(hash)
	for {
		loc, ok := candidates.Next()
		if !ok {
			return at, err
		}
		set := f.set()
		if set == nil {
			return index.NoLocation, ErrClosed
		}
		look := loc
		if loc.Tombstone() {
			look = loc.Unsized()
		}
		switch failed := f.load(set, look); {
		case failed == errRetired:
			return index.NoLocation, failed
		case failed != nil:
			at, err = loc, failed // it may be of another key
		case string(f.record.Key) != string(key):
		case loc.Tombstone():
			return loc, ErrNotFound
		default:
			return loc, nil
		}
	}
}
