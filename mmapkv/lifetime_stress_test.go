package mmapkv

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/mmapkv/mmapkv/segment"
)

var (
	lifetimeRuns = flag.Int("lifetime.compactions", 8, "compactions beside readers of tiny segments")
	lifetimeSeed = flag.Uint64("lifetime.seed", 1, "seed of those readers")
)

// lifetimeKeys is the number of keys, which are all there throughout. A value has the
// numbers of its key and its round, so a reader notices a wrong byte.
const lifetimeKeys = 60

func lifetimeValue(i, round int) []byte {
	return bytes.Repeat(fmt.Appendf(nil, "%03d %07d ", i, round), 5+i%40)
}

// lifetimeCheck returns what is wrong with a value of a key.
func lifetimeCheck(key, value []byte) error {
	var i, shown, round int
	if _, err := fmt.Sscanf(string(key), "key-%d", &i); err != nil {
		return err
	}
	if _, err := fmt.Sscanf(string(value), "%d %d", &shown, &round); err != nil {
		return fmt.Errorf("%s: %.20q: %w", key, value, err)
	}
	runtime.Gosched() // gives compactions time to remove files
	if !bytes.Equal(value, lifetimeValue(i, round)) {
		return fmt.Errorf("%s has the value %.40q", key, value)
	}
	return nil
}

// lifetimeReads are the reads of a store whose keys are overwritten.
var lifetimeReads = map[string]func(s *Store, key []byte) error{
	"Get": func(s *Store, key []byte) error {
		value, err := s.Get(key)
		return errors.Join(err, lifetimeCheck(key, value))
	},
	"View in a View": func(s *Store, key []byte) error {
		return s.View(key, func(value []byte) error {
			inner := s.View([]byte("key-7"), func(value []byte) error { return lifetimeCheck([]byte("key-7"), value) })
			return errors.Join(inner, lifetimeCheck(key, value))
		})
	},
	"GetMany": func(s *Store, key []byte) error {
		keys := [][]byte{key, []byte("key-0"), []byte("key-1")}
		return s.GetMany(keys, func(i int, value []byte, err error) error {
			return errors.Join(err, lifetimeCheck(keys[i], value))
		})
	},
	"Range": func(s *Store, _ []byte) error {
		seen := map[string]bool{}
		return s.Range(func(key, value []byte) error {
			if seen[string(key)] {
				return fmt.Errorf("%s comes twice", key)
			}
			seen[string(key)] = true
			return lifetimeCheck(key, value)
		})
	},
	"Keys": func(s *Store, _ []byte) error {
		seen := map[string]bool{}
		for key := range s.Keys() {
			if seen[string(key)] {
				return fmt.Errorf("%s comes twice", key)
			}
			seen[string(key)] = true
		}
		if len(seen) != lifetimeKeys {
			return fmt.Errorf("%d keys come", len(seen))
		}
		return nil
	},
}

// All kinds of reads run beside compactions of tiny segments. What they read is whole, no
// read returns damage, and in the end nothing is held. Race builds poison unmapped memory.
// In other builds a read after the unmapping faults, and Get and View would return damage.
func TestReadsBesideCompactions(t *testing.T) {
	s := open(t, t.TempDir(), byHand())
	write := func(round int) {
		for i := range lifetimeKeys {
			if err := s.Put(fmt.Append(nil, "key-", i), lifetimeValue(i, round)); err != nil {
				t.Fatal(err)
			}
		}
	}
	write(0)
	var ended atomic.Bool
	var reads atomic.Int64
	var reading sync.WaitGroup
	for name, read := range lifetimeReads {
		reading.Go(func() {
			random := rand.New(rand.NewPCG(*lifetimeSeed, uint64(len(name))))
			for ; !ended.Load(); runtime.Gosched() {
				if err := read(s, fmt.Append(nil, "key-", random.IntN(lifetimeKeys))); err != nil {
					t.Errorf("%s: %v", name, err)
					return
				}
				reads.Add(1)
			}
		})
	}
	for round := range *lifetimeRuns {
		write(round + 1)
		if err := s.Compact(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	ended.Store(true)
	reading.Wait()
	runs := s.Stats().Compaction.Runs
	if runs < *lifetimeRuns {
		t.Errorf("%d compactions", runs)
	}
	wantNothingHeld(t, s)
	closeStore(t, s)
	if held := segment.Held(); held != 0 {
		t.Errorf("%d files are held behind Close", held)
	}
	t.Logf("seed %d: %d reads beside %d compactions", *lifetimeSeed, reads.Load(), runs)
}
