package mmapkv

import (
	"context"

	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv/internal/salvage"
)

// SalvageOptions are how Salvage works. The zero value restores what counts, and nothing that
// damage has made doubtful.
type SalvageOptions struct {
	// DryRun makes Salvage read everything and report, but write nothing.
	DryRun bool
	// OlderVersions restores, for a key whose newest value cannot be read, the newest value that
	// can be read. Such a key is still counted and listed as lost.
	OlderVersions bool
	// IgnoreManifest treats the directory as if it had no manifest. Use it if the
	// manifest belongs to another directory: SalvageReport.Unread lists the files that a
	// manifest does not name.
	IgnoreManifest bool
	// Progress, if set, is called from time to time with how much of the work is done. done and
	// total have the same unit.
	Progress func(done, total int64)
	// Options are those of the new store; nil means the defaults. Salvage ignores
	// ReadOnly and Compaction.
	Options *Options
}

// Salvage brings what can be read of the store in the directory from into a new store in
// the directory to. That one must be absent, or empty except for a LOCK, and must lie
// outside of from. Salvage creates and changes nothing in from. It takes a shared lock
// there, and returns ErrLocked while a writer has the store.
//
// Salvage finds every record that validates and counts, also past damage. For each key the
// highest sequence number decides, never a clock or the order of files. If that record is
// a tombstone or has expired, the key is gone; other keys keep their expiry. If its value
// is damaged, the key is lost and reported: an older value does not silently come back,
// but see SalvageOptions.OlderVersions. Where not even the key can be read, the segment's
// hint tells which keys and deletes lay there. Without a hint Salvage reports the range,
// and an older value that a record there had replaced comes back.
//
// Which records count:
//
//   - With a readable manifest, those that Open would take: of the files that it names,
//     up to the ends that it names, and as far as recovery follows the log. Salvage finds
//     a file by its header if it has the name of another. It lists other files in the
//     report and does not read them, for they may hold what was deleted.
//   - An older manifest that was put back from a copy names too little. If there is newer
//     data than it knows, so that Open would refuse it, Salvage ignores it.
//   - Without a manifest nothing tells a torn end from damage, so all that validates
//     counts, with three exceptions. Numbers that the log itself passes over do not count:
//     a file's first record tells which numbers were written and never acknowledged. A
//     batch at the very end of the log that is not whole does not count, unless it was
//     known to be on disk. And the files that a finished compaction has replaced do not
//     count, since the tombstones that ended their records are gone. A compaction was
//     finished if the merged file reads back whole and has its hint, which is written
//     last, or if one of the replaced files is gone. (After a power loss in the middle of
//     a compaction, a merged file can be whole and not yet count. Then a value can be
//     missing that the lost end of the log had overwritten.)
//
// Salvage reads a file with a damaged header with the salt that the manifest has, or with
// what stands in its place in the header. If neither is right, nothing in the file
// validates, and all of it is reported as lost.
//
// A loss is not an error; see SalvageReport.Complete. After an error, or when the context
// ends, nothing is left of the new store except the empty directory and its LOCK. While
// Salvage runs, and after it was killed, Open refuses the directory as soon as there is a
// segment in it, and SalvageReport.Unfinished tells those who salvage it.
//
// Salvage takes up to 170 bytes of memory a key, and the size of the largest value.
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

// on returns a copy of o for a store on another file system.
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

// Put writes a pair with its expiry in Unix milliseconds, 0 for never.
func (t salvageTarget) Put(key, value []byte, expiry int64) error { return t.put(key, value, expiry) }

// Damage returns the first damage that opening the new store found; nil if there was none.
func (t salvageTarget) Damage() error {
	if len(t.recovery.Damages) == 0 {
		return nil
	}
	return &t.recovery.Damages[0]
}
