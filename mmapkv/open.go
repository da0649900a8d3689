package mmapkv

import (
	"log/slog"
	"slices"

	"github.com/mmapkv/mmapkv/internal/errno"
	"github.com/mmapkv/mmapkv/mmapkv/internal/failure"
	"github.com/mmapkv/mmapkv/mmapkv/internal/listing"
	"github.com/mmapkv/mmapkv/mmapkv/internal/load"
	"github.com/mmapkv/mmapkv/mmapkv/internal/recovery"
	"github.com/mmapkv/mmapkv/segment"
)

// recover brings the store to where the files say it was: the manifest decides
// which files count, recovery decides how far the unsealed ones go, and the hints
// fill the index. A ReadOnly store changes nothing on disk.
func (s *Store) recover() error {
	began := s.now()
	names, err := s.catalog.Dir.Names()
	if err != nil {
		return err
	}
	m, err := s.catalog.ReadManifest(names)
	if err != nil {
		return err
	}
	if err := listing.RefuseNewer(s.catalog.Dir.OpenReadOnly, names, m); err != nil {
		return err
	}
	s.catalog.GoBy(m, names)
	s.syncer.MarkDurable(m.Watermark)
	s.recovery.Clean = m.Clean

	if slices.Contains(names, segment.ReserveName) {
		s.catalog.Reserve.Found()
	}
	if err := s.catalog.OpenFiles(m); err != nil {
		return err
	}
	s.catalog.Files.Publish()
	loading := load.Start(load.Options{
		Catalog: &s.catalog, Hints: &s.hints, Hasher: s.hasher, Now: s.now, Expires: s.sweeper.Expires,
		NewIndex: s.options.newIndex, ExpectedKeys: s.options.ExpectedKeys, OneWorker: s.manual(),
	}, !m.Clean)
	if !m.Clean {
		found, err := recovery.Run(&s.catalog, &s.hints)
		if err != nil {
			return loading.Abandon(err)
		}
		s.recovery.RecordsScanned, s.recovery.RecordsRecovered = found.Scanned, found.Recovered
		s.recovery.BytesDiscarded = found.Discarded
		s.catalog.Files.Publish()
	}
	if err := loading.Finish(); err != nil {
		return err
	}
	s.recovery.HintsRebuilt += loading.Rebuilt
	if s.catalog.Hides.Load() {
		s.sweeper.ExpiresAt(0) // the tail may have expired, or most of it
	}
	s.log.Continue()
	if err := s.residency.WarmUp(s.options.Preload); err != nil {
		return err
	}
	if !s.options.ReadOnly {
		if err := s.catalog.RemoveOrphans(); err != nil {
			return err
		}
		if err := s.catalog.Reserve.Hold(); err != nil && !errno.OutOfSpace(err) {
			return err
		}
	}
	s.recovery.Duration = s.now().Sub(began)
	s.reportRecovery()
	return nil
}

func (s *Store) noteDamage(d failure.Damage) {
	s.recovery.Damages = append(s.recovery.Damages, CorruptError(d))
}

func (s *Store) reportRecovery() {
	r := s.recovery
	s.events.message(slog.LevelInfo, "mmapkv: opened", "keys", s.catalog.Files.Keys.Len(), "segments", len(s.catalog.Files.Order), "clean", r.Clean,
		"recovered", r.RecordsRecovered, "hintsRebuilt", r.HintsRebuilt, "took", r.Duration)
	s.events.recovered(r)
	for i := range r.Damages {
		s.events.corruption(&r.Damages[i])
	}
}
