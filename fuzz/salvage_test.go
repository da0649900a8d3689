package fuzz

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/errorfs"
	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/internal/oracle"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv"
	"github.com/mmapkv/mmapkv/segment"
)

var (
	salvageRuns = flag.Int("salvage.runs", 1500, "how many damaged stores TestSalvage salvages")
	salvageSeed = flag.Uint64("salvage.seed", 0, "the seed of TestSalvage; 0 draws one")
)

// salvage salvages the store of a disk to /new, and opens the new store.
func (l *life) salvage(disk vfs.FS, o mmapkv.SalvageOptions) (*mmapkv.Store, mmapkv.SalvageReport, error) {
	o.Options = &mmapkv.Options{SegmentSize: 4 << 10, Sync: fsync.Never}
	inject.Into(o.Options, &inject.Seams{FS: disk, Now: func() time.Time { return time.UnixMilli(l.now) }, PageSlots: 8, Manual: true})
	report, err := mmapkv.Salvage(context.Background(), "/store", "/new", &o)
	if err != nil || o.DryRun {
		return nil, report, err
	}
	store, err := mmapkv.Open("/new", o.Options)
	return store, report, err
}

// TestSalvage damages random stores in several ways. Every salvaged value was once the value of
// its key. Unless the report says that something is lost, every value is the current one, no
// key is missing, and no deleted key reappears.
func TestSalvage(t *testing.T) {
	seed := *salvageSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	runs := *salvageRuns / sampleOneIn
	var damaged, incomplete, noManifest int
	for run := range uint64(runs) {
		l := newLife(t, &census{}, fsync.Never, rand.New(rand.NewPCG(seed, run)))
		l.name = fmt.Sprintf("run %d; to repeat: go test ./fuzz -run 'TestSalvage$' -salvage.seed=%d -salvage.runs=%d", run, seed, run+1)
		l.compacting, l.quiet = l.rng.IntN(2) == 0, true
		history := l.salvageable()
		o := mmapkv.SalvageOptions{OlderVersions: l.rng.IntN(2) == 0}
		if l.rng.IntN(2) == 0 {
			o.IgnoreManifest = true
			noManifest++
		}
		if l.rng.IntN(4) == 0 {
			l.loseHints()
		}
		harm, cut := l.rng.IntN(3), false
		for range harm {
			damaged++
			cut = l.harm() || cut
		}
		store, report, err := l.salvage(l.disk, o)
		if harm > 0 && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, mmapkv.ErrVersion)) {
			continue // nothing is left of the store, or it looks like a later version
		}
		if err != nil {
			l.fail("Salvage: %v", err)
		}
		if !report.Complete() {
			incomplete++
		}
		// Without a manifest, Salvage cannot know where a file ended.
		exact := harm == 0 || report.Complete() && (report.Manifest || !cut)
		l.judge(l.content(store), history, report, exact)
		if harm == 0 && !report.Complete() {
			l.fail("the report of an undamaged store is not complete: %+v", report)
		}
		if err := store.Close(); err != nil {
			l.fail("Close: %v", err)
		}
	}
	t.Logf("seed %d: %d stores, %d without a manifest, damaged %d times; %d lost something", seed, runs, noManifest, damaged, incomplete)
	if runs > 100 && incomplete == 0 {
		t.Error("nothing was ever lost")
	}
}

// salvageable creates a closed store with several versions of each key, and returns all values
// that each key ever had.
func (l *life) salvageable() map[string]map[string]bool {
	history := map[string]map[string]bool{}
	store, err := l.open(l.disk)
	if err != nil {
		l.fail("open: %v", err)
	}
	l.store = store
	for range 20 + l.rng.IntN(60) {
		ops := []oracle.Op{l.randomOp()}
		do := l.writeOne
		for l.rng.IntN(4) == 0 {
			ops = append(ops, l.randomOp())
			do = l.writeBatch
		}
		for _, op := range ops {
			if history[op.Key] == nil {
				history[op.Key] = map[string]bool{}
			}
			history[op.Key][op.Value] = true
		}
		l.write(ops, do)
		switch l.rng.IntN(12) {
		case 0:
			l.step(l.steps[l.rng.IntN(len(l.steps))])
		case 1:
			l.now += int64(l.rng.IntN(200))
		case 2:
			if l.compacting {
				if err := l.store.Compact(context.Background()); err != nil {
					l.fail("Compact: %v", err)
				}
			}
		}
	}
	if err := l.store.Close(); err != nil {
		l.fail("Close: %v", err)
	}
	return history
}

func (l *life) loseHints() {
	for _, name := range l.disk.Files() {
		if strings.HasSuffix(name, ".hint") {
			l.setBytes(name, nil)
		}
	}
}

func (l *life) setBytes(name string, content []byte) {
	if err := l.disk.SetBytes(name, content); err != nil {
		l.fail("%s: %v", name, err)
	}
}

// harm flips a bit of a file, truncates it, or overwrites a part of it with noise or with the
// file's own beginning. It reports whether it truncated the file.
func (l *life) harm() (cut bool) {
	names := l.disk.Files()
	name := names[l.rng.IntN(len(names))]
	content := l.disk.Bytes(name)
	if len(content) == 0 {
		return false
	}
	at := l.rng.IntN(len(content))
	end := min(at+1+l.rng.IntN(300), len(content))
	switch l.rng.IntN(4) {
	case 0:
		content[at] ^= 1 << l.rng.IntN(8)
	case 1:
		for i := at; i < end; i++ {
			content[i] = byte(l.rng.Uint32())
		}
	case 2:
		copy(content[at:end], content[:l.rng.IntN(len(content))])
	case 3:
		content, cut = content[:at], true
	}
	l.setBytes(name, content)
	l.ended += fmt.Sprintf(", with damage to %s at %d", name, at)
	return cut
}

// judge compares what was salvaged with what the store held.
func (l *life) judge(shown map[string]string, history map[string]map[string]bool, report mmapkv.SalvageReport, exact bool) {
	if len(shown) != report.Keys {
		l.fail("the store has %d keys, the report says %d", len(shown), report.Keys)
	}
	for key, value := range shown {
		if !history[key][value] {
			l.fail("%q was never %.30q", key, value)
		}
	}
	if want := l.oracle.Current().Visible(l.now); exact && !maps.Equal(shown, want) {
		l.fail("it has %.300v, want %.300v: %+v", shown, want, report)
	}
}

// TestSalvageWhileCallsFail makes each file call of a salvage fail, once or from then on. If
// Salvage succeeds, the new store is complete, or the report says what is missing. If it fails,
// there is no new store, or a complete one. The old store does not change.
func TestSalvageWhileCallsFail(t *testing.T) {
	for how := range 4 {
		ignoring, killed := how&1 != 0, how&2 != 0
		l := newLife(t, &census{}, fsync.Never, rand.New(rand.NewPCG(11, 11)))
		l.compacting, l.quiet = true, true
		history := l.salvageable()
		if killed {
			l.writeOn(history)
			l.disk = l.disk.Kill()
		}
		o := mmapkv.SalvageOptions{IgnoreManifest: ignoring}
		counting := errorfs.New(l.disk.Clone())
		if _, _, err := l.salvage(counting, o); err != nil {
			t.Fatal(err)
		}
		for n := 1; n <= counting.Count(); n += *faultStep * sampleOneIn {
			for _, rule := range []errorfs.Rule{{Err: syscall.EIO}, {Err: syscall.EACCES}, {Err: syscall.ENOSPC, Forever: true}} {
				rule.Nth = n
				l.name = fmt.Sprintf("killed %v, ignoring the manifest %v, call %d fails with %v", killed, ignoring, n, rule.Err)
				disk := l.disk.Clone()
				calls := errorfs.New(disk)
				calls.Fail(rule)
				store, report, err := l.salvage(calls, o)
				calls.Heal()
				for _, name := range l.disk.Files() {
					if strings.HasPrefix(name, "/store/") && string(l.disk.Bytes(name)) != string(disk.Bytes(name)) {
						l.fail("%s has changed", name)
					}
				}
				if store == nil {
					if err == nil {
						l.fail("no error and no store")
					}
					if store, err = l.openNew(disk); err != nil {
						continue
					}
				} else {
					l.judge(l.content(store), history, report, report.Complete())
				}
				if shown := l.content(store); err != nil && len(shown) > 0 {
					l.judge(shown, history, report, true)
				}
				if err := store.Close(); err != nil {
					l.fail("Close: %v", err)
				}
			}
		}
		t.Logf("%d calls", counting.Count())
	}
}

// writeOn reopens the store and writes to it.
func (l *life) writeOn(history map[string]map[string]bool) {
	var err error
	if l.store, err = l.open(l.disk); err != nil {
		l.fail("open: %v", err)
	}
	for range 20 {
		op := l.randomOp()
		if history[op.Key] == nil {
			history[op.Key] = map[string]bool{}
		}
		history[op.Key][op.Value] = true
		l.write([]oracle.Op{op}, l.writeOne)
	}
}

// openNew opens what a failed salvage left.
func (l *life) openNew(disk vfs.FS) (*mmapkv.Store, error) {
	o := &mmapkv.Options{ReadOnly: true}
	inject.Into(o, &inject.Seams{FS: disk, Now: func() time.Time { return time.UnixMilli(l.now) }, PageSlots: 8, Manual: true})
	return mmapkv.Open("/new", o)
}

// FuzzSalvage salvages a directory in which anything may have happened to any file, or in which
// the fuzzer chose the manifest or a segment: no panic, no hang, memory in proportion to the
// files, and a store that opens and has what the report says. A dry run reports the same.
func FuzzSalvage(f *testing.F) {
	f.Add(uint64(1), []byte{0, 0, 0, 1, 2, 3}, byte(0), []byte(nil))
	f.Add(uint64(2), []byte{1, 0, 16, 0xff, 2, 0, 8, 1, 3, 1, 0, 0x80}, byte(1), []byte(nil))
	f.Add(uint64(3), []byte("truncate and flip and swap"), byte(3), []byte("MMKVSEG\x00\x01\x00\x00\x00\xff\xff\xff\xff"))
	stray := segment.Manifest{NextID: 9, LastSeq: 12, Watermark: 40, Segments: []segment.SegmentInfo{
		{ID: 1, Salt: 1, Kind: segment.Log}, {ID: 2, Salt: 2, Kind: segment.Merged, Sealed: true, End: segment.End{Offset: 1 << 33, Seq: 1 << 60}}, {ID: 8, Salt: 3, Kind: segment.Log},
	}}
	f.Add(uint64(4), []byte(nil), byte(2), stray.Append(nil))
	f.Add(uint64(5), []byte(nil), byte(5), segment.Header{ID: 1, Salt: 7, Kind: segment.Merged, Replaces: []segment.ID{1, 2, 3}}.Append(nil))
	f.Fuzz(func(t *testing.T, seed uint64, edits []byte, how byte, raw []byte) {
		disk := smallStore(t, seed%16)
		damage(t, disk, edits)
		if len(raw) > 0 {
			name, content := "/store/MANIFEST", sealBlocks(raw)
			if how&4 != 0 {
				name, content = "/store/0000000000000001.seg", raw
			}
			if err := disk.SetBytes(name, content); err != nil {
				t.Fatal(err)
			}
		}
		var total uint64
		for _, name := range disk.Files() {
			total += uint64(len(disk.Bytes(name)))
		}
		l := newLife(t, &census{}, fsync.Never, rand.New(rand.NewPCG(seed, 9)))
		o := mmapkv.SalvageOptions{IgnoreManifest: how&1 != 0, OlderVersions: how&2 != 0, DryRun: true}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, dry, dryErr := l.salvage(disk, o)
		runtime.ReadMemStats(&after)
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 64*total+64<<20 {
			t.Fatalf("salvaging %d bytes allocated %d", total, grown)
		}
		o.DryRun = false
		store, report, err := l.salvage(disk, o)
		if fmt.Sprint(err) != fmt.Sprint(dryErr) || fmt.Sprintf("%+v", report) != fmt.Sprintf("%+v", dry) {
			t.Fatalf("%+v, %v; a dry run says %+v, %v", report, err, dry, dryErr)
		}
		if err != nil {
			return
		}
		if shown := readable(t, store); len(shown) != report.Keys {
			t.Fatalf("the store has %d keys, the report says %d", len(shown), report.Keys)
		}
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
