package mmapkv

import (
	"context"
	"testing"
	"time"
)

// A delete on a full disk lifts the rate limit of the compaction that it waits for. At one
// byte a second it would wait for a day.
func TestDeleteDoesNotWaitForTheRateOfACompaction(t *testing.T) {
	o := byHand()
	o.SegmentSize = 64 << 10
	o.Compaction.BytesPerSecond = 1
	s := open(t, t.TempDir(), o)
	for range 3 {
		fill(t, s, 0, 200, 1000) // two of three values are dead
	}
	compacted := make(chan error, 1)
	go func() { compacted <- s.Compact(context.Background()) }()
	waitFor(t, "the compaction to begin", func() bool { return len(s.compactor.Compacting) == 1 })
	made := make(chan bool, 1)
	go s.log.AsLeader(func() { made <- s.compactor.DropDead(true) })
	select {
	case <-made:
	case <-time.After(time.Minute):
		t.Fatal("a leader waits for a compaction that has a rate")
	}
	if err := <-compacted; err != nil {
		t.Errorf("Compact: %v", err)
	}
	wantFilled(t, s, 0, 200, 1000)
}
