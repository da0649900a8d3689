package mmapkv

import (
	"context"

	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv/internal/salvage"
)

// SalvageOptions says how a damaged store is brought over. The zero value takes
// what counts, and restores nothing that damage has made doubtful.
type SalvageOptions struct {
	// DryRun reads all and reports, and writes nothing.
	DryRun bool
	// OlderVersions restores, for a key whose newest value cannot be read, the
	// newest one that can. Such a key is still counted and listed as lost.
	OlderVersions bool
	// IgnoreManifest treats the directory as if it had no manifest: for one that is
	// not the directory's. Salvage tells which files a manifest does not name.
	IgnoreManifest bool
	// Progress is called now and then with how much of the work is done, both in
	// the same unit.
	Progress func(done, total int64)
	// Options are those of the new store; nil means the defaults. ReadOnly and
	// Compaction mean nothing here.
	Options *Options
}

// Salvage brings what can be read of the store in the directory from into a new
// store in the directory to, which is absent or empty, a LOCK apart, and lies
// outside of from. It creates and changes nothing in from, takes a shared lock
// there, and returns ErrLocked while a writer has the store.
//
// Every record that validates and counts is found, also behind damage. For each
// key the highest sequence number decides, never a clock or the order of files.
// If that record is a tombstone or has expired, the key is gone; the others keep
// their expiry. If its value is damaged, the key is lost, and reported: an older
// value does not silently come back, but see SalvageOptions.OlderVersions. Where
// not even the key can be read, the segment's hint tells which keys and deletes
// lay there; without a hint the range is reported, and an older record that it may
// have ended comes back.
//
// Which records count:
//
//   - With a readable manifest, those that Open would take: of the files that it
//     names up to the ends that it names, and as far as recovery follows the log.
//     A file is found by its header where it has another's name. Other files are
//     listed in the report and not read, for they may hold what was deleted.
//   - An older manifest, put back from a copy, names too little. If there is newer data
//     than it knows, for which Open would refuse it, it counts as none.
//   - Without one nothing tells a torn end from damage, so all that validates
//     counts, but for three things. What the log itself passes over does not: a
//     file's first record tells which numbers were written and never
//     acknowledged. A batch at the very end of the log that is not whole does not,
//     unless it was known to be on disk. And the files that a compaction has
//     replaced do not, where it was finished: the tombstones are gone that ended
//     what is in them. It was finished if the merged file reads back whole and has
//     its hint, which is written last, or if one of the replaced files is gone.
//     (After a power loss in the midst of a compaction, a merged file can be whole
//     and not yet count. Then a value is missing that the lost end of the log had
//     overwritten.)
//
// A file whose header is damaged is read with the salt that the manifest has, or
// with what the header has in its place. If neither is right, nothing in it
// validates, and all of it is reported as lost.
//
// That something is lost is no error; see SalvageReport.Complete. An error, or a
// cancelled context, leaves of the new store at most the empty directory with its
// LOCK. While Salvage runs, and when it is killed, the directory is no store that
// Open accepts once there is a segment in it, and to salvage that is told
// in SalvageReport.Unfinished.
//
// It takes up to 170 bytes of memory a key, and the largest value.
func Salvage(ctx context.Context, from, to string, o *SalvageOptions) (SalvageReport, error) {
	var options SalvageOptions
	if o != nil {
		options = *o
	}
	store, err := options.Options.withDefaults()
	if err != nil {
		return SalvageReport{}, err
	}
	store.ReadOnly, store.Compaction.Disabled = false, true
	r, err := salvage.Run(ctx, from, to, salvage.Options{
		DryRun: options.DryRun, OlderVersions: options.OlderVersions, IgnoreManifest: options.IgnoreManifest,
		Progress: options.Progress,
		FS:       store.fileSystem(), Now: store.clock()(),
		Open: func(fsys vfs.FS, readOnly bool) (salvage.Target, error) {
			s, err := Open(to, store.on(fsys, readOnly))
			if err != nil {
				return nil, err
			}
			return salvageTarget{s}, nil
		},
	})
	return newSalvageReport(r), err
}

// on is a copy of o for a store on another file system.
func (o *Options) on(fsys vfs.FS, readOnly bool) *Options {
	c, seams := *o, inject.Seams{}
	if o.seams != nil {
		seams = *o.seams
	}
	seams.FS = fsys
	c.seams, c.ReadOnly = &seams, readOnly
	return &c
}

// salvageTarget is the new store, as package salvage writes it.
type salvageTarget struct{ *Store }

func (t salvageTarget) Put(key, value []byte, expiry int64) error { return t.put(key, value, expiry) }

func (t salvageTarget) Damage() error {
	if len(t.recovery.Damages) == 0 {
		return nil
	}
	return &t.recovery.Damages[0]
}
