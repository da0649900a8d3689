package mmapkv

import "context"

// endExpiredTail ends the tail and seals it, if most of it has expired: only then can
// compaction give its room back.
func (s *Store) endExpiredTail() error {
	if s.options.ReadOnly || s.options.Compaction.Disabled || s.latch.Err() != nil {
		return nil
	}
	var due bool
	s.asLeader(func() { due = s.tailHasExpired() })
	if !due {
		return nil
	}
	return s.sealTail(context.Background(), s.tailHasExpired)
}

// tailHasExpired says whether at least half of the tail has expired, and as much as is
// worth a file. It is called by the leader.
func (s *Store) tailHasExpired() bool {
	f := s.tail.file
	if f == nil {
		return false
	}
	records := f.RecordBytes()
	expired := min(f.Expired.Load(), records-f.LiveBytes.Load())
	return expired >= records-expired && expired > s.options.SegmentSize/little
}
