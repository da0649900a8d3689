package mmapkv

import (
	"errors"
	"fmt"
	"syscall"
	"testing"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/crashfs"
	"github.com/mmapkv/mmapkv/internal/errorfs"
	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/segment"
)

// takesDescriptor matches the calls that need a free descriptor.
var takesDescriptor = errorfs.Only(errorfs.OpenDir, errorfs.Create, errorfs.Open, errorfs.Names, errorfs.Lock)

func optionsOn(disk *errorfs.Disk) *Options {
	o := byHand()
	o.Sync = fsync.Always
	inject.Into(o, &inject.Seams{FS: disk, Manual: true})
	return o
}

// scarceFixture is a disk with a store of several segments. The store was closed, or it
// was killed and is damaged. In the damaged store only a hint tells that one key's newest
// value is lost; an older file has an older value.
func scarceFixture(t *testing.T, clean bool) *crashfs.Disk {
	t.Helper()
	power := crashfs.New()
	disk := errorfs.New(power)
	s := open(t, "/store", optionsOn(disk))
	put(t, s, "lost", "older")
	fill(t, s, 0, 100, 100)
	s.endForTest(t)
	put(t, s, "first", "value")
	at := s.log.Tail.End.Offset
	put(t, s, "lost", "newer")
	name := "/store/" + segment.FileName(s.log.Tail.File.ID)
	closeStore(t, s) // this writes the hint
	s = open(t, "/store", optionsOn(disk))
	put(t, s, "last", "value")
	if clean {
		closeStore(t, s)
		return power.Kill()
	}
	power = power.Kill()
	if !power.Flip(name, at, 1) {
		t.Fatal("nothing is damaged")
	}
	return power
}

// TestOpenWithoutDescriptors fails each call of an Open that takes a descriptor, once or
// from then on. Open returns the error or succeeds as usual. It keeps nothing open, changes
// nothing in a store that was closed, and takes nothing sound for damaged. The next Open
// finds everything.
func TestOpenWithoutDescriptors(t *testing.T) {
	for _, clean := range []bool{true, false} {
		for _, errno := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM} {
			for _, forever := range []bool{false, true} {
				t.Run(fmt.Sprint("clean ", clean, ", ", errno, ", for ever ", forever), func(t *testing.T) {
					fixture := scarceFixture(t, clean)
					failed := 0
					for nth := 1; openWithout(t, fixture, clean, errorfs.Rule{Match: takesDescriptor, Err: errno, Nth: nth, Forever: forever}); nth++ {
						failed++
					}
					if failed < 8 {
						t.Errorf("only %d calls take a descriptor", failed)
					}
				})
			}
		}
	}
}

// Reading a hint fails because memory is short, at each call in turn. That says nothing about the
// hint, so what only the hint knows is not lost.
func TestOpenWithoutMemoryToReadAHint(t *testing.T) {
	readsHint := fails(syscall.ENOMEM, ".hint", errorfs.Read)
	for _, forever := range []bool{false, true} {
		t.Run(fmt.Sprint("for ever ", forever), func(t *testing.T) {
			fixture := scarceFixture(t, false)
			failed := 0
			for nth := 1; openWithout(t, fixture, false, errorfs.Rule{Match: readsHint.Match, Err: readsHint.Err, Nth: nth, Forever: forever}); nth++ {
				failed++
			}
			if failed < 4 { // header, directory, checksum, part
				t.Errorf("only %d calls read a hint", failed)
			}
		})
	}
}

// openWithout opens the store while calls fail, and tells whether any failed.
func openWithout(t *testing.T, fixture *crashfs.Disk, clean bool, rule errorfs.Rule) (fired bool) {
	t.Helper()
	power := fixture.Clone()
	disk := errorfs.New(power)
	before := power.Hash()
	disk.Fail(rule)
	s, err := Open("/store", optionsOn(disk))
	fired = disk.Fired() > 0
	disk.Heal()
	what := fmt.Sprint("call ", rule.Nth)
	if err == nil {
		wantAfterScarcity(t, s, clean, what)
		power = power.Kill()
		closeStore(t, s)
	} else {
		if !errors.Is(err, rule.Err) || errors.Is(err, ErrCorrupt) || errors.Is(err, ErrFailed) {
			t.Errorf("%s: Open: %v", what, err)
		}
		if held := power.Held(); held != 0 {
			t.Errorf("%s: %d of what Open had opened is not closed", what, held)
		}
		if clean && power.Hash() != before {
			t.Errorf("%s: an Open that failed has changed the store", what)
		}
	}
	s = open(t, "/store", optionsOn(errorfs.New(power)))
	wantAfterScarcity(t, s, clean, what+", the next Open")
	if rebuilt := s.Stats().Recovery.HintsRebuilt; clean && err != nil && rebuilt > 0 {
		t.Errorf("%s: %d hints were made anew", what, rebuilt)
	}
	closeStore(t, s)
	return fired
}

func wantAfterScarcity(t *testing.T, s *Store, clean bool, what string) {
	t.Helper()
	wantFilled(t, s, 0, 100, 100)
	wantValue(t, s, "first", "value")
	wantValue(t, s, "last", "value")
	got, err := s.Get([]byte("lost"))
	if clean && (err != nil || string(got) != "newer") || !clean && !errors.Is(err, ErrCorrupt) {
		t.Fatalf("%s: the key has %q, %v", what, got, err)
	}
	for _, one := range s.Stats().Segments {
		if clean && one.Damaged {
			t.Errorf("%s: %s is taken for damaged", what, one.File)
		}
	}
	if rebuilt := s.Stats().Recovery.HintsRebuilt; clean && rebuilt > 0 {
		t.Errorf("%s: %d hints were made anew", what, rebuilt)
	}
}

// A compaction that cannot open a hint does not rebuild it.
func TestCompactWithoutDescriptors(t *testing.T) {
	disk := errorfs.New(crashfs.New())
	o := optionsOn(disk)
	o.Compaction.Disabled = false
	s := open(t, "/store", o)
	fill(t, s, 0, 20, 100)
	s.endForTest(t)
	for i := range 5 {
		key, _ := numbered(i, 0)
		if err := s.Delete(key); err != nil {
			t.Fatal(err)
		}
		put(t, s, "overwritten", string(make([]byte, 300)))
	}
	put(t, s, "overwritten", "last")
	s.endForTest(t)
	calls := disk.Count()
	disk.Fail(errorfs.Rule{Match: errorfs.Only(errorfs.Open), Err: syscall.EMFILE, Forever: true})
	if _, err := s.compactor.Step(); !errors.Is(err, syscall.EMFILE) || errors.Is(err, ErrFailed) {
		t.Errorf("a compaction: %v", err)
	}
	for _, call := range disk.Calls()[calls:] {
		if call.Kind == errorfs.Create {
			t.Errorf("it made %s", call.Name)
		}
	}
	for _, one := range s.Stats().Segments {
		if one.Damaged {
			t.Errorf("%s is taken for damaged", one.File)
		}
	}
	disk.Heal()
	compactAll(t, s)
	wantFilled(t, s, 5, 20, 100)
}
