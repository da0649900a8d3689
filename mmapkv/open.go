package mmapkv

import (
	"log/slog"
	"slices"

	"github.com/mmapkv/mmapkv/internal/errno"
	"github.com/mmapkv/mmapkv/mmapkv/internal/failure"
	"github.com/mmapkv/mmapkv/mmapkv/internal/listing"
	"github.com/mmapkv/mmapkv/segment"
)

// recover brings the store to where the files say it was: the manifest decides
// which files count, recovery decides how far the unsealed ones go, and the hints
// fill the index. A ReadOnly store changes nothing on disk.
func (s *Store) recover() error {
	began := s.now()
	names, err := s.catalog.dir.Names()
	if err != nil {
		return err
	}
	m, err := s.catalog.readManifest(names)
	if err != nil {
		return err
	}
	if err := listing.RefuseNewer(s.catalog.dir.OpenReadOnly, names, m); err != nil {
		return err
	}
	s.catalog.goBy(m, names)
	s.syncer.MarkDurable(m.Watermark)
	s.recovery.Clean = m.Clean

	if slices.Contains(names, segment.ReserveName) {
		s.catalog.reserve.Found()
	}
	if err := s.catalog.openFiles(m); err != nil {
		return err
	}
	s.catalog.files.publish()
	loading := s.startLoading(!m.Clean)
	if !m.Clean {
		if err := s.recoverLog(); err != nil {
			return loading.abandon(err)
		}
		s.catalog.files.publish()
	}
	if err := loading.finish(); err != nil {
		return err
	}
	s.continueLog()
	if err := s.warmUp(); err != nil {
		return err
	}
	if !s.options.ReadOnly {
		if err := s.catalog.removeOrphans(); err != nil {
			return err
		}
		if err := s.catalog.reserve.Hold(); err != nil && !errno.OutOfSpace(err) {
			return err
		}
	}
	s.recovery.Duration = s.now().Sub(began)
	s.reportRecovery()
	return nil
}

// continueLog makes the tail go on where the files end.
func (s *Store) continueLog() {
	t := &s.tail
	t.seq = s.catalog.lastGiven.Load()
	t.clean = s.catalog.manifest.current.Clean
	order := s.catalog.files.order
	if n := len(order); n > 0 {
		last := order[n-1]
		t.end = last.end
		if last.active != nil && !last.ended && !s.options.ReadOnly {
			t.file = last
			t.empty = t.end.Offset == last.dataStart
			if n > 1 {
				t.previous = order[n-2].end
			}
		}
	}
	// The file where the log ended may be gone, since nothing of it was needed.
	t.end.Seq = max(t.end.Seq, s.catalog.manifest.current.SealedSeq)
	s.acknowledged.Store(t.end.Seq)
	s.published.Store(t.end.Seq)
	s.syncer.MarkDurable(t.end.Seq)
}

func (s *Store) noteDamage(d failure.Damage) {
	s.recovery.Damages = append(s.recovery.Damages, CorruptError(d))
}

func (s *Store) reportRecovery() {
	r := s.recovery
	s.events.message(slog.LevelInfo, "mmapkv: opened", "keys", s.catalog.files.keys.Len(), "segments", len(s.catalog.files.order), "clean", r.Clean,
		"recovered", r.RecordsRecovered, "hintsRebuilt", r.HintsRebuilt, "took", r.Duration)
	s.events.recovered(r)
	for i := range r.Damages {
		s.events.corruption(&r.Damages[i])
	}
}
