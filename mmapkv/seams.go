package mmapkv

import (
	"time"

	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/internal/tick"
	"github.com/mmapkv/mmapkv/internal/vfs"
)

// clock is what tells the time.
func (o *Options) clock() func() time.Time {
	if o.seams != nil && o.seams.Now != nil {
		return o.seams.Now
	}
	return time.Now
}

// randomSource is what draws salts.
func (o *Options) randomSource() func() uint64 {
	if o.seams != nil && o.seams.Random != nil {
		return o.seams.Random
	}
	return randomNumber
}

func (o *Options) newHasher() index.Hasher {
	if o.seams != nil && o.seams.Hash != nil {
		return index.NewHasherFrom(o.seams.Hash)
	}
	return index.NewHasher()
}

// newIndex makes an index for so many keys.
func (o *Options) newIndex(expected int) *index.KeyDir {
	i := index.Options{ExpectedKeys: expected}
	if o.seams != nil {
		i.PageSlots = o.seams.PageSlots
	}
	return index.New(i)
}

func (o *Options) fileSystem() vfs.FS {
	if o.seams != nil && o.seams.FS != nil {
		return o.seams.FS
	}
	return vfs.OS()
}

// every has fn called once a second until end is called.
func (o *Options) every(fn func()) (end func()) {
	if o.seams != nil && o.seams.Every != nil {
		return o.seams.Every(fn)
	}
	return tick.Every(fn)
}

// between lets a test in between two steps of a compaction.
func (o *Options) between(phase string) {
	if o.seams != nil && o.seams.Between != nil {
		o.seams.Between(phase)
	}
}

// steps are what the goroutines do, for a test that does it in their place.
func (s *Store) steps() []inject.Step {
	steps := []inject.Step{
		{Name: "sync", Run: s.syncer.Step},
		{Name: "seal", Run: s.log.StepSeal},
		{Name: "prepare", Run: s.log.StepPrepare},
		{Name: "compact", Run: s.compactor.Step},
		{Name: "watch", Run: s.stepWatch},
		{Name: "expire", Run: s.sweeper.Step},
	}
	if s.options.ScrubBytesPerSecond > 0 {
		steps = append(steps, inject.Step{Name: "scrub", Run: s.scrubber.Step})
	}
	return steps
}
