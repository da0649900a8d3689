package fuzz

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/crashfs"
	"github.com/mmapkv/mmapkv/internal/errorfs"
	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv"
	"github.com/mmapkv/mmapkv/segment"
)

var (
	verifyStates = flag.Int("verify.states", 4_000, "how many states of a disk the tests of Verify check")
	verifySeed   = flag.Uint64("verify.seed", 0, "the seed of the tests of Verify; 0 draws one")
)

// verify verifies the store on a disk, and checks that Verify does not change the disk.
func verify(t *testing.T, disk *crashfs.Disk) (mmapkv.Report, error) {
	t.Helper()
	hook, calls := disk.OnCall, disk.Calls()
	disk.OnCall = nil
	defer func() { disk.OnCall = hook }()
	report, err := verifyOn(t, disk)
	if disk.Calls() != calls {
		t.Fatal("Verify changed the disk")
	}
	return report, err
}

func drawnSeed(t *testing.T) uint64 {
	seed := *verifySeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d; to replay: go test ./fuzz -run '^%s$' -verify.seed=%d -verify.states=%d", seed, t.Name(), seed, *verifyStates)
	return seed
}

// TestVerifyFindsNothingWithoutDamage verifies the disk of a store in use at any of its file
// calls, what SIGKILL and a power cut leave, and the disk in the middle of a recovery. None of
// these is damaged.
func TestVerifyFindsNothingWithoutDamage(t *testing.T) {
	seed := drawnSeed(t)
	states, records := 0, 0
	for script := uint64(0); states < *verifyStates/sampleOneIn; script++ {
		policy := []fsync.Policy{fsync.Always, fsync.Every(200 * time.Millisecond), fsync.Never}[script%3]
		l := newLife(t, &census{}, policy, rand.New(rand.NewPCG(seed, script)))
		l.name, l.compacting = fmt.Sprintf("seed %d, script %d", seed, script), script%2 == 0
		sound := func(disk *crashfs.Disk, what string) {
			report, err := verify(t, disk)
			if err != nil && states == 0 { // the first call creates the directory
				return
			}
			if err == nil {
				err = report.Err()
			}
			if err != nil && !isAbsent(disk) {
				l.fail("%s, at call %d: %v", what, disk.Calls(), err)
			}
			states++
			records += report.Records
		}
		l.disk.OnCall = func(n int, _ crashfs.Op) {
			if l.rng.IntN(10) != 0 {
				return
			}
			sound(l.disk, "store in use")
			sound(l.disk.Kill(), "killed")
			cut := l.disk.PowerCut(chooser{l.rng})
			sound(cut, "power cut")
			cut.OnCall = func(n int, _ crashfs.Op) {
				if l.rng.IntN(10) == 0 {
					sound(cut, "in recovery")
					sound(cut.PowerCut(chooser{l.rng}), "power cut in recovery")
				}
			}
			after := newLife(t, &census{}, policy, l.rng)
			after.now = l.now
			store, err := after.open(cut)
			if err != nil {
				l.fail("open: %v", err)
			}
			sound(cut, "recovered")
			if report, err := store.Verify(t.Context()); err != nil || report.Err() != nil {
				l.fail("the open store, recovered: %v, %v", err, report.Err())
			}
		}
		l.run(40, false)
		l.disk.OnCall = nil
		if report, err := l.store.Verify(t.Context()); err != nil || report.Err() != nil {
			l.fail("the open store: %v, %v", err, report.Err())
		}
	}
	t.Logf("%d states with %d records", states, records)
}

// isAbsent reports whether a disk has no store yet.
func isAbsent(disk *crashfs.Disk) bool {
	for _, name := range disk.Files() {
		if name == "/store/MANIFEST" {
			return false
		}
	}
	return true
}

// watched is a disk that calls a function before each call that reads it.
type watched struct {
	*crashfs.Disk
	before func()
}

func (w watched) OpenDir(path string) (vfs.Dir, error) {
	dir, err := w.Disk.OpenDir(path)
	return watchedDir{dir, w.before}, err
}

type watchedDir struct {
	vfs.Dir
	before func()
}

func (d watchedDir) OpenReadOnly(name string) (vfs.File, error) {
	d.before()
	f, err := d.Dir.OpenReadOnly(name)
	if err != nil {
		return nil, err
	}
	return watchedFile{f, d.before}, nil
}

func (d watchedDir) Names() ([]string, error) {
	d.before()
	return d.Dir.Names()
}

type watchedFile struct {
	vfs.File
	before func()
}

func (f watchedFile) ReadAt(p []byte, offset int64) (int, error) {
	f.before()
	return f.File.ReadAt(p, offset)
}

func (f watchedFile) Size() (int64, error) {
	f.before()
	return f.File.Size()
}

// TestVerifyBesideAnything writes, rotates, compacts, closes and opens a store between any two
// file calls of Verify. Verify takes none of that for damage, and always ends.
func TestVerifyBesideAnything(t *testing.T) {
	seed := drawnSeed(t)
	runs, actions, records := 0, 0, 0
	for script := uint64(0); runs < *verifyStates/sampleOneIn/5; script++ {
		policy := []fsync.Policy{fsync.Always, fsync.Every(200 * time.Millisecond), fsync.Never}[script%3]
		l := newLife(t, &census{}, policy, rand.New(rand.NewPCG(seed, script)))
		l.name, l.compacting = fmt.Sprintf("seed %d, script %d", seed, script), true
		l.run(60, false)
		for range 10 {
			oneIn, calls := 1+l.rng.IntN(30), 0
			report, err := verifyOn(t, watched{l.disk, func() {
				if calls++; calls > 1_000_000 {
					l.fail("Verify does not end")
				}
				for l.rng.IntN(oneIn+1) == 0 {
					l.act()
					actions++
				}
			}})
			if err == nil {
				err = report.Err()
			}
			if err != nil {
				l.fail("with actions before one call in %d: %v", oneIn, err)
			}
			runs++
			records += report.Records
		}
	}
	t.Logf("%d runs with %d records and %d actions between", runs, records, actions)
}

// TestEveryCallOfVerifyFails fails each file call of a Verify, once or from then on. If the
// disk never lets Verify read a file, Verify reports damage or returns the error.
func TestEveryCallOfVerifyFails(t *testing.T) {
	seed := drawnSeed(t)
	runs, noticed := 0, 0
	for script := range uint64(5) {
		l := newLife(t, &census{}, fsync.Every(time.Second), rand.New(rand.NewPCG(seed, script)))
		l.compacting = script%2 == 0
		l.run(80, false)
		disk := l.disk.PowerCut(chooser{l.rng})
		if listed := manifestOn(t, disk).Segments; script >= 2 && len(listed) > 0 {
			removeFile(t, disk, segment.HintName(listed[0].ID))
			removeFile(t, disk, segment.FileName(listed[len(listed)-1].ID))
		}
		if script == 4 {
			removeFile(t, disk, segment.ManifestName)
		}
		clean := errorfs.New(disk)
		verifyOn(t, clean)
		for n := 1; n <= clean.Count(); n += sampleOneIn {
			for _, err := range []error{syscall.EIO, syscall.EMFILE} {
				for _, forever := range []bool{false, true} {
					l.name = fmt.Sprintf("seed %d, script %d, call %d fails with %v, forever %v", seed, script, n, err, forever)
					bad := errorfs.New(disk)
					bad.Fail(errorfs.Rule{Nth: n, Forever: forever, Err: err})
					report, got := verifyOn(t, bad)
					found := got != nil || report.Err() != nil
					if !found && script < 2 && (forever || err != syscall.EIO) {
						l.fail("Verify noticed nothing")
					}
					if got != nil && !errors.Is(got, err) {
						l.fail("Verify: %v", got)
					}
					runs++
					if found {
						noticed++
					}
				}
			}
		}
	}
	t.Logf("%d runs, %d of them with an error or damage", runs, noticed)
}

// manifestOn returns the manifest on a disk.
func manifestOn(t *testing.T, disk *crashfs.Disk) *segment.Manifest {
	t.Helper()
	m, err := segment.ParseManifest(disk.Bytes("/store/" + segment.ManifestName))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// removeFile removes a file of the store, if it exists.
func removeFile(t *testing.T, disk *crashfs.Disk, name string) {
	t.Helper()
	dir, err := disk.OpenDir("/store")
	if err == nil {
		err = errors.Join(dir.Remove(name), dir.Close())
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
}

// TestVerifyAgreesWithRecovery overwrites a part of the unsealed files of a killed store.
// Verify reports damage exactly when Open does, but for what partial hints cover: Open does not read
// that, but a read notices damage there.
func TestVerifyAgreesWithRecovery(t *testing.T) {
	seed := drawnSeed(t)
	runs, damaged, covered := 0, 0, 0
	for script := uint64(0); runs < *verifyStates/sampleOneIn/4; script++ {
		l := newLife(t, &census{}, fsync.Every(time.Second), rand.New(rand.NewPCG(seed, script)))
		l.run(20+l.rng.IntN(60), false)
		m := manifestOn(t, l.disk)
		for _, info := range m.Segments {
			if info.Sealed || m.Clean { // Open trusts the hint
				continue
			}
			name := "/store/" + segment.FileName(info.ID)
			for range 10 {
				disk := l.disk.Kill()
				content := disk.Bytes(name)
				at := segment.HeaderSize + l.rng.IntN(max(len(content)/2-segment.HeaderSize, 1))
				to := at
				for range 1 + l.rng.IntN(200) {
					if to < len(content) {
						content[to] ^= byte(l.rng.Uint32())
						to++
					}
				}
				if err := disk.SetBytes(name, content); err != nil {
					t.Fatal(err)
				}
				l.name = fmt.Sprintf("seed %d, script %d, %s damaged at %d", seed, script, name, at)
				report, err := verify(t, disk)
				if err != nil {
					l.fail("Verify: %v", err)
				}
				known := knownEnd(disk, info)
				store, err := l.open(disk)
				if err != nil {
					l.fail("Open: %v", err)
				}
				found := store.Stats().Recovery.Damages
				scanned := slices.ContainsFunc(report.Damages, func(d mmapkv.Damage) bool { return "/store/"+d.File != name || d.Offset >= known })
				if (len(found) > 0) != scanned {
					l.fail("Open finds %v, but Verify %v, where partial hints reach to %d", found, report.Damages, known)
				}
				runs++
				if report.Err() != nil {
					damaged++
				}
				if len(found) == 0 && int64(to) <= known {
					l.wantNothingWrong(store)
					covered++
				}
			}
		}
	}
	t.Logf("%d runs, %d of them with damage, %d with damage only in what partial hints cover", runs, damaged, covered)
	// Few stores have partial hints, so there may be no such run.
	if damaged == covered || damaged == runs {
		t.Error("some kind of run is missing")
	}
}

// knownEnd returns where the partial hints of an unsealed file end, as a recovery would use them.
func knownEnd(disk *crashfs.Disk, info segment.SegmentInfo) (end int64) {
	content := bytes.NewReader(disk.Bytes("/store/" + segment.FileName(info.ID)))
	there := disk.Files()
	for n := 0; ; n++ {
		name := "/store/" + segment.PartialName(info.ID, n)
		if !slices.Contains(there, name) {
			return end
		}
		data := disk.Bytes(name)
		p, err := segment.OpenPartial(bytes.NewReader(data), int64(len(data)), info.ID, info.Salt, nil)
		if err != nil || !p.IsIn(content, info.Salt) {
			return end
		}
		end = p.To.Offset
	}
}

// wantNothingWrong checks that each key has its value or is damaged, and that no other key is there.
func (l *life) wantNothingWrong(store *mmapkv.Store) {
	l.t.Helper()
	want := l.oracle.Current().Visible(l.now)
	for key, value := range want {
		if got, err := store.Get([]byte(key)); (err != nil || string(got) != value) && !errors.Is(err, mmapkv.ErrCorrupt) {
			l.fail("Get(%q) = %.30q, %v; want %.30q, or damage", key, got, err, value)
		}
	}
	for key := range store.Keys() {
		if got, err := store.Get(key); want[string(key)] == "" && err == nil {
			l.fail("Get(%q) = %.30q, but the key was deleted", key, got)
		}
	}
}

func verifyOn(t *testing.T, disk vfs.FS) (mmapkv.Report, error) {
	o := new(mmapkv.VerifyOptions)
	inject.Into(o, &inject.Seams{FS: disk})
	return mmapkv.Verify(t.Context(), "/store", o)
}

// TestVerifyNamesWhatReadsFindDamaged flips one bit of a closed store at a time. Verify reports
// whatever Open or a read notices, and names every key that a read finds damaged.
func TestVerifyNamesWhatReadsFindDamaged(t *testing.T) {
	seed := drawnSeed(t)
	l := newLife(t, &census{}, fsync.Never, rand.New(rand.NewPCG(seed, 1)))
	want := damageable(t, l)
	files := l.disk.Files()
	reported, noticed := 0, 0
	flips := *verifyStates / sampleOneIn / 4
	for n := range flips {
		name := files[n%len(files)]
		content := l.disk.Bytes(name)
		if len(content) == 0 {
			continue
		}
		disk := l.disk.Clone()
		at := l.rng.Int64N(int64(len(content)))
		disk.Flip(name, at, 1<<l.rng.IntN(8))
		l.ended = fmt.Sprintf(" seed %d, with byte %d of %s flipped", seed, at, name)
		report, err := verify(t, disk)
		if err != nil && !errors.Is(err, mmapkv.ErrVersion) {
			l.fail("Verify: %v", err)
		}
		if err != nil || report.Err() != nil {
			reported++
		}
		if l.noticed(disk, report, want) {
			noticed++
			if err == nil && report.Err() == nil {
				l.fail("reads find damage, but Verify finds none")
			}
		}
	}
	t.Logf("of %d flips Verify reports %d, and reads notice %d", flips, reported, noticed)
	if reported < flips/2 || noticed > reported {
		t.Error("these numbers cannot be those of a store full of data")
	}
}

// noticed reports whether opening and reading a store finds damage. The report must name every
// key that cannot be read.
func (l *life) noticed(disk *crashfs.Disk, report mmapkv.Report, want map[string]string) bool {
	store, err := l.open(disk)
	if err != nil {
		return true
	}
	defer store.Close()
	named := map[string]bool{}
	for _, d := range report.Damages {
		named[string(d.Key)] = true
	}
	found := len(store.Stats().Recovery.Damages) > 0
	for key, value := range want {
		got, err := store.Get([]byte(key))
		if errors.Is(err, mmapkv.ErrCorrupt) && !named[key] {
			l.fail("Get(%q): %v, but Verify names only %v", key, err, named)
		}
		found = found || err != nil || string(got) != value
	}
	return found
}

// FuzzVerify verifies a directory in which anything may have happened to any file: no panic, no
// hang, memory within twice the files plus 64 MiB. Where Verify finds no damage, Open finds
// none.
func FuzzVerify(f *testing.F) {
	f.Add(uint64(1), []byte{0, 0, 0, 1, 2, 3})
	f.Add(uint64(2), []byte{1, 0, 16, 0xff, 2, 0, 8, 1, 3, 1, 0, 0x80})
	f.Add(uint64(3), []byte("truncate and flip and swap"))
	f.Fuzz(func(t *testing.T, seed uint64, edits []byte) {
		disk := smallStore(t, seed%16)
		damage(t, disk, edits)
		var total uint64
		for _, name := range disk.Files() {
			total += uint64(len(disk.Bytes(name)))
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		report, err := verify(t, disk)
		runtime.ReadMemStats(&after)
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 2*total+64<<20 {
			t.Fatalf("verifying %d bytes allocated %d", total, grown)
		}
		if err != nil || report.Err() != nil {
			return
		}
		l := newLife(t, &census{}, fsync.Never, rand.New(rand.NewPCG(seed, 9)))
		store, err := l.open(disk)
		if err != nil {
			t.Fatalf("Verify finds nothing, but Open: %v", err)
		}
		if found := store.Stats().Recovery.Damages; len(found) > 0 {
			t.Fatalf("Verify finds nothing, but Open finds %v", found)
		}
		for key, value := range readable(t, store) {
			if value == "damaged" {
				t.Fatalf("Verify finds nothing, but %q is damaged", key)
			}
		}
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
