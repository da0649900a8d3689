package mmapkv

import (
	"crypto/rand"
	"encoding/binary"
	"time"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/internal/tick"
	"github.com/mmapkv/mmapkv/internal/vfs"
)

// newStore makes a Store of checked options, with the parts that a test may have
// put in the place of the real ones.
func newStore(options Options) *Store {
	s := &Store{
		options:   options,
		always:    options.Sync == fsync.Always,
		now:       time.Now,
		random:    randomNumber,
		hasher:    index.NewHasher(),
		wake:      make(chan struct{}, 1),
		stop:      make(chan struct{}),
		wroteLast: make(chan struct{}, 1),

		compacting:     make(chan struct{}, 1),
		liftBudget:     make(chan struct{}, 1),
		wakeCompaction: make(chan struct{}, 1),
		wakePopulate:   make(chan struct{}, 1),
		expiry:         expiry{wake: make(chan struct{}, 1)},
		events:         newNotifier(options.Events, options.Logger),
	}
	if seams := options.seams; seams != nil {
		if seams.Now != nil {
			s.now = seams.Now
		}
		if seams.Random != nil {
			s.random = seams.Random
		}
		if seams.Hash != nil {
			s.hasher = index.NewHasherFrom(seams.Hash)
		}
	}
	s.files.keys = s.newIndex(options.ExpectedKeys)
	s.files.live = &s.live
	s.expiry.due.Store(never)
	s.group = fsync.NewGroup(s.commit)
	s.group.SetLinger(s.always)
	s.syncer = fsync.NewSyncer(options.Sync, s.syncLog, s.now)
	return s
}

// newIndex makes an index for so many keys.
func (s *Store) newIndex(expected int) *index.KeyDir {
	o := index.Options{ExpectedKeys: expected}
	if seams := s.options.seams; seams != nil {
		o.PageSlots = seams.PageSlots
	}
	return index.New(o)
}

func (s *Store) fileSystem() vfs.FS {
	if seams := s.options.seams; seams != nil && seams.FS != nil {
		return seams.FS
	}
	return vfs.OS()
}

// every has fn called once a second until end is called.
func (s *Store) every(fn func()) (end func()) {
	if seams := s.options.seams; seams != nil && seams.Every != nil {
		return seams.Every(fn)
	}
	return tick.Every(fn)
}

// steps are what the goroutines do, for a test that does it in their place.
func (s *Store) steps() []inject.Step {
	steps := []inject.Step{
		{Name: "sync", Run: s.syncer.Step},
		{Name: "seal", Run: s.stepSeal},
		{Name: "prepare", Run: s.stepPrepare},
		{Name: "compact", Run: s.stepCompact},
		{Name: "watch", Run: s.stepWatch},
		{Name: "expire", Run: s.stepExpire},
	}
	if s.options.ScrubBytesPerSecond > 0 {
		steps = append(steps, inject.Step{Name: "scrub", Run: s.stepScrub})
	}
	return steps
}

// randomNumber draws the salt of a file. It cannot be guessed, so that nobody
// can store a value that validates as a record.
func randomNumber() uint64 {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return binary.LittleEndian.Uint64(b[:])
}
