package replay

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/mmapkv/mmapkv/segment"
)

// written is a record that an honest writer wrote, with its place in the log.
type written struct {
	Record
	file  int
	batch int  // the number of its batch
	void  bool // its write failed, and was never acknowledged
}

// honest writes a log of one or two files, with batches and with writes that fail midway, which end
// the file and are never acknowledged.
func honest(rng *rand.Rand) (files []File, log []written) {
	var seq uint64
	before := segment.End{}
	batch := 0
	for i := range 1 + rng.IntN(2) {
		at := segment.End{Offset: testStart, Seq: seq}
		add := func(count int, void bool) {
			batch++
			for k := range count {
				seq++
				log = append(log, written{file: i, batch: batch, void: void,
					Record: Record{Offset: at.Offset, Size: testRecord, Seq: seq, BatchGoesOn: k < count-1, ValueOK: true}})
				at = segment.End{Offset: at.Offset + testRecord, Seq: seq}
			}
		}
		for range rng.IntN(5) {
			add(1+rng.IntN(3), false)
		}
		f := File{DataStart: testStart, Previous: before}
		before = at
		if at.Offset > testStart && rng.IntN(4) == 0 {
			add(1+rng.IntN(2), true)
		}
		f.Size = at.Offset
		files = append(files, f)
	}
	return files, log
}

// synced returns a number up to which all records may have been on disk.
func synced(rng *rand.Rand, log []written) (watermark uint64) {
	for _, w := range log[:rng.IntN(len(log)+1)] {
		if !w.void {
			watermark = w.Seq
		}
	}
	return watermark
}

// crash takes from a log what a crash can take: anything after the watermark, and at least the first
// record of a write that failed. Damage takes some of the others too.
func crash(rng *rand.Rand, files []File, log []written, watermark uint64, damage bool) (found []testFile, left []written) {
	for _, f := range files {
		found = append(found, testFile{File: f})
	}
	lastBatch := 0
	for _, w := range log {
		if gone := rng.IntN(4) == 0; w.Seq > watermark && !w.void || damage && rng.IntN(4) == 0 {
			if gone {
				continue
			}
			w.ValueOK = rng.IntN(8) > 0
		}
		first := w.batch != lastBatch
		lastBatch = w.batch
		if w.void && (first || rng.IntN(2) == 0) {
			continue
		}
		f := &found[w.file]
		if w.Offset == testStart {
			f.HasFirst = true
		}
		f.records = append(f.records, w.Record)
		left = append(left, w)
	}
	for i := range found {
		if !found[i].HasFirst {
			found[i].Previous = segment.End{}
		}
	}
	return found, left
}

// TestPromises checks what counts of random logs after random crashes against the promises of the
// package's documentation.
func TestPromises(t *testing.T) {
	cuts, losses := 0, 0
	for seed := range uint64(30_000) {
		rng := rand.New(rand.NewPCG(seed, 0))
		files, log := honest(rng)
		watermark := synced(rng, log)
		damage := rng.IntN(2) == 0
		found, left := crash(rng, files, log, watermark, damage)
		parts, _, lost := replayed(found, 0, watermark)
		losses += len(lost)
		counts := map[uint64]bool{}
		for i, p := range parts {
			for _, r := range found[i].records[:p.Records] {
				counts[r.Seq] = true
			}
			for _, r := range found[i].records[p.Records:] {
				if r.end().Offset <= p.End.Offset {
					t.Fatalf("seed %d: %d does not count, and lies before the end: %s", seed, r.Seq, describe(p))
				}
			}
			if p.Records < len(found[i].records) {
				cuts++
			}
			if p.Damaged && !damage || p.Keep.Offset > p.End.Offset || p.Keep.Seq > max(watermark, p.End.Seq) {
				t.Fatalf("seed %d: %s", seed, describe(p))
			}
		}
		if why := broken(log, left, counts, watermark, damage); why != "" {
			t.Fatalf("seed %d, watermark %d: %s\nfound %+v\nparts %+v", seed, watermark, why, found, parts)
		}
	}
	if cuts < 1000 || losses < 1000 {
		t.Errorf("only %d logs were cut, and %d ranges lost", cuts, losses)
	}
}

// broken returns which promise is broken, or "".
func broken(log, left []written, counts map[uint64]bool, watermark uint64, damage bool) string {
	batches := map[int][2]int{} // after the watermark: how many records, how many count
	for _, w := range left {
		switch {
		case w.void && counts[w.Seq] && !damage:
			return fmt.Sprintf("%d counts, which was never acknowledged", w.Seq)
		case !w.void && w.Seq <= watermark && !counts[w.Seq]:
			return fmt.Sprintf("%d was on disk, is there, and does not count", w.Seq)
		}
	}
	missing := uint64(0)
	for _, w := range log {
		if w.void || w.Seq <= watermark {
			continue
		}
		one := batches[w.batch]
		one[0]++
		if counts[w.Seq] {
			one[1]++
		}
		batches[w.batch] = one
		switch {
		case !counts[w.Seq] && missing == 0:
			missing = w.Seq
		case counts[w.Seq] && missing != 0:
			return fmt.Sprintf("%d counts, and %d before it does not", w.Seq, missing)
		}
	}
	for batch, one := range batches {
		if one[1] != 0 && one[1] != one[0] {
			return fmt.Sprintf("%d of the %d records of batch %d count", one[1], one[0], batch)
		}
	}
	return ""
}

// TestWhatCountsStays ensures that the records that count still count if only they are replayed. So
// a crash during a recovery, before it commits, does no more harm than one before it.
func TestWhatCountsStays(t *testing.T) {
	for seed := range uint64(10_000) {
		rng := rand.New(rand.NewPCG(seed, 1))
		files, log := honest(rng)
		watermark := synced(rng, log)
		found, _ := crash(rng, files, log, watermark, false)
		parts, _, _ := replayed(found, 0, watermark)
		for i := range found {
			found[i].records = found[i].records[:parts[i].Records]
			found[i].HasFirst = found[i].HasFirst && parts[i].Records > 0
		}
		again, _, lost := replayed(found, 0, watermark)
		for i := range again {
			if again[i].Records != parts[i].Records || parts[i].Records > 0 && again[i].Keep != parts[i].Keep {
				t.Fatalf("seed %d: %s, and at first %s", seed, describe(again[i]), describe(parts[i]))
			}
		}
		if len(lost) > 0 {
			t.Fatalf("seed %d: lost is %q", seed, lost)
		}
	}
}

// TestKnownRecordsCountLikeFoundOnes ensures that the same records count if partial hints know some
// commits at the start of a file as if all records were found by a scan.
func TestKnownRecordsCountLikeFoundOnes(t *testing.T) {
	known, later := 0, 0
	for seed := range uint64(20_000) {
		rng := rand.New(rand.NewPCG(seed, 2))
		files, log := honest(rng)
		watermark := synced(rng, log)
		found, _ := crash(rng, files, log, watermark, false)
		if rng.IntN(2) == 0 { // damage behind what is known is the same damage
			damageOne(rng, found)
		}
		want, _, wantLost := replayed(found, 0, watermark)
		for i := range found {
			f := &found[i]
			end, count := segment.End{Offset: f.DataStart}, 0
			for n, r := range f.records {
				if r.Offset != end.Offset || r.Seq > watermark || !r.ValueOK {
					break
				}
				end = r.end()
				if !r.BatchGoesOn && rng.IntN(3) > 0 {
					f.Known, count = end, n+1
				}
			}
			f.KnownRecords, f.records = count, f.records[count:]
			if known += count; i == 1 && count > 0 {
				later++
			}
		}
		got, _, lost := replayed(found, 0, watermark)
		if fmt.Sprint(got) != fmt.Sprint(want) || fmt.Sprint(lost) != fmt.Sprint(wantLost) {
			t.Fatalf("seed %d, watermark %d: %v, lost %q, if all are found %v, %q", seed, watermark, got, lost, want, wantLost)
		}
	}
	if known < 10_000 || later < 1000 {
		t.Errorf("only %d records were known, and some of %d second files", known, later)
	}
}

// damageOne takes a record that is not the first of its file.
func damageOne(rng *rand.Rand, found []testFile) {
	f := &found[rng.IntN(len(found))]
	if n := len(f.records); n > 1 {
		at := 1 + rng.IntN(n-1)
		f.records = slices.Delete(f.records, at, at+1)
	}
}
