package mmapkv

import (
	"time"

	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/internal/tick"
	"github.com/mmapkv/mmapkv/internal/vfs"
)

// Tests use Options.seams to replace what the store takes from its surroundings.

// clock returns what tells the time.
func (o *Options) clock() func() time.Time {
	if o.seams != nil && o.seams.Now != nil {
		return o.seams.Now
	}
	return time.Now
}

// randomSource returns what draws salts.
func (o *Options) randomSource() func() uint64 {
	if o.seams != nil && o.seams.Random != nil {
		return o.seams.Random
	}
	return randomNumber
}

// newHasher makes the hasher of keys.
func (o *Options) newHasher() index.Hasher {
	if o.seams != nil && o.seams.Hash != nil {
		return index.NewHasherFrom(o.seams.Hash)
	}
	return index.NewHasher()
}

// newIndex makes an index for the expected number of keys.
func (o *Options) newIndex(expected int) *index.KeyDir {
	i := index.Options{ExpectedKeys: expected}
	if o.seams != nil {
		i.PageSlots = o.seams.PageSlots
	}
	return index.New(i)
}

// partStep returns how many bytes of the log each partial hint covers, 0 for as many as are best.
func (o *Options) partStep() int64 {
	if o.seams != nil {
		return o.seams.PartStep
	}
	return 0
}

// fileSystem returns the file system of the store.
func (o *Options) fileSystem() vfs.FS {
	if o.seams != nil && o.seams.FS != nil {
		return o.seams.FS
	}
	return vfs.OS()
}

// every calls fn once a second until end is called.
func (o *Options) every(fn func()) (end func()) {
	if o.seams != nil && o.seams.Every != nil {
		return o.seams.Every(fn)
	}
	return tick.Every(fn)
}

// manual reports whether a test takes the background's steps.
func (s *Store) manual() bool { return s.options.seams != nil && s.options.seams.Manual }

// between lets a test run code between two steps of a compaction.
func (o *Options) between(phase string) {
	if o.seams != nil && o.seams.Between != nil {
		o.seams.Between(phase)
	}
}

// steps returns what the goroutines do, for a test that does it in their place.
func (s *Store) steps() []inject.Step {
	steps := []inject.Step{
		{Name: "sync", Run: s.syncer.Step},
		{Name: "seal", Run: s.log.StepSeal},
		{Name: "prepare", Run: s.log.StepPrepare},
		{Name: "partial", Run: s.log.StepPartial},
		{Name: "hint", Run: s.log.StepHint},
		{Name: "compact", Run: s.compactor.Step},
		{Name: "watch", Run: s.stepWatch},
		{Name: "expire", Run: s.sweeper.Step},
	}
	if s.options.ScrubBytesPerSecond > 0 {
		steps = append(steps, inject.Step{Name: "scrub", Run: s.scrubber.Step})
	}
	if s.options.seams.Hold {
		steps = append(steps, inject.Step{Name: "load", Run: func() (bool, error) { return s.loading.Step() }})
	}
	return steps
}

// onDemand reports whether the index is loaded only once somebody needs it.
func (s *Store) onDemand() bool { return s.options.seams != nil && s.options.seams.OnDemand }
