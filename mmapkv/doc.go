// Package mmapkv is an embedded key-value store for services that care about
// the slowest read: a Bitcask-style log of segments, memory-mapped, with an
// index of where each key lies. A read takes no lock, makes no copy unless
// asked, and never waits for a writer.
//
//	store, err := mmapkv.Open("data", nil)
//	if err != nil {
//		return err
//	}
//	defer store.Close()
//	err = store.Put([]byte("user:1"), []byte("alice"))
//	...
//	value, err := store.Get([]byte("user:1"))
//
// Many goroutines may call the methods of a Store at once, also from inside the
// callbacks that these methods take.
//
// # What is promised
//
// Visibility: every read that starts after a write has returned nil sees the
// write. Under fsync.Always nobody sees it before it is on disk.
//
// Process crash: every acknowledged write survives SIGKILL, under every policy.
//
// Power loss: under fsync.Always no acknowledged write is lost. Under
// fsync.Every(d) at most those are lost that were acknowledged in the last d and
// during the sync then running. Under fsync.Never everything is lost that the
// kernel had not written. What survives is a prefix of the order of commits, and
// a batch survives whole or not at all. What a reopened store has shown once
// stays. After a crash, until a writer has recovered the store, a ReadOnly store may
// show what a power loss can still take.
//
// Reads: a read returns a value that was written to that key, whole, or an error.
// Damage is ErrCorrupt, never data and never ErrNotFound.
//
// Conditions: PutIfAbsent, CompareAndSwap and CompareAndDelete are atomic with
// respect to everything else. Whether they are made rests only on what reads could
// see, so the answer is as durable as that.
//
// Order: Scan and Iterator visit keys in the order of bytes.Compare, forward or
// backward, from any key, within a prefix or bounds. Every key that had a value when
// the scan began comes exactly once, with that value, whatever is written, deleted,
// expires or is compacted meanwhile.
//
// Snapshots: a Snapshot is the state after one commit: whole batches, no later write, and no
// earlier write missing. A key that had not expired when it was taken does not expire in it. Taking
// one never waits for a sync. Its reads keep the promises above. Writers do not wait for it, and pay
// nothing. It keeps files that compaction has replaced, see Stats.Snapshots and
// Options.SnapshotLimit.
//
// Transactions: when a Tx that has written commits, everything that it has read is still so, keys and
// ranges. Otherwise it returns ErrConflict, and nothing of it is ever visible. Its writes become visible
// at once to snapshots, scans and other transactions, and survive a crash whole or not at all.
//
// Open: a store can be read and written as soon as the end of its log is settled.
// The index fills in the background. Until it is full, every read and write is
// right, but Len, Keys, Range and Compact wait, as Ready does, and nothing is
// compacted. Damage that is found then is an error of Ready and of every read that
// it affects, and is in Stats.
//
// Failure: the first failed sync or write error stops all writing (ErrFailed)
// until the store is opened again. Reads continue. A write that does not fit on a
// full disk fails with an error that wraps syscall.ENOSPC. Nothing of it is ever
// visible, and writing works again once there is space.
//
// Loss: if the store's directory is removed, or if MANIFEST, LOCK or the file
// being written is removed or replaced, the store has failed. It notices within a
// second, and when Sync is called. Writes until then are acknowledged, under
// fsync.Always too, and are lost with the file. A directory may be renamed.
//
// # How it holds together
//
// New bytes are safe, then the index moves, then the old file goes: never
// another order. This package has the public API and the read path. Everything
// else is in packages below mmapkv/internal, called rooms here. They share the
// list of files, which package catalog keeps.
//
// A Put goes from write.go to package wal. There write.go drafts the record,
// commit.go joins it with concurrent writes, append.go writes and syncs them, and
// publish.go moves the index. When the file is full, rotate.go continues the log
// in the next one, which maintain.go has prepared, and seal.go seals the old one:
// sync, hint (package hints), manifest (package catalog). Before that, partial.go
// writes partial hints of what is synced, so that a recovery need not read it. A
// long value gets a file of its own in long.go. Package space makes writers wait
// for compaction. Package reserve holds back disk blocks so that deletes work on a
// full disk. Package failure decides which errors stop all writing.
//
// A CompareAndSwap goes from conditional.go, which reads the key and compares, to the
// same leader, which judges what sight.go remembers of that: see condition.go of
// package wal. DeleteRange, in deleterange.go, is made of scans and batches.
//
// A Get goes from read.go to lookup.go, which searches the index, and to found.go,
// which decodes the record. Package residency knows which files are not in
// memory; fetch.go reads those by system calls. GetMany is in many.go, Keys in
// keys.go, Range in range.go, and what the last two share in walk.go. Range and
// compactions go by the bits of package alive, which say what the index points to.
//
// A Scan goes from scan.go to instant.go, which captures the state that it reads, and
// to stretch.go, which fetches the keys within the bounds, in batches, from package
// order. An Iterator is in iterator.go and pair.go; it holds its state as instant.go
// says.
//
// A read of a Snapshot goes from snapshot_read.go to snapshot_lookup.go. That searches the index, and
// if the key has changed since, the state: find.go of package order, which asks the files' tables one
// by one. snapshot_limit.go ends and reports snapshots that keep too much.
//
// A Compact goes from compact.go to package compact: picker.go picks files that
// are worth it, shadows.go finds the tombstones that are still needed, rewrite.go
// copies, and run.go has the order of the steps. Before that, package sweep takes
// expired records out of the index, with the tables of package expiry. Package
// pace makes all of them give way to reads and writes.
//
// An Open is in open.go. Package catalog reads the manifest and opens the files
// that it names. Package listing refuses a manifest that is older than other
// files. Package recovery makes durable what counts of a log that was not closed;
// package replay decides what that is. Then Open returns, and package load fills
// the index from hints, and from what recovery has found. Until that is full,
// reads go through loading.go. The background writes the hints of recovered files
// afterwards.
//
// Package order visits keys in order: state.go captures the state after one
// commit, run_table.go reads a sealed file's hint as a table, tail.go sorts the
// records of the others, step.go and gather.go merge them. If the store is
// scanned, view_make.go brings the entries of many tables into one order, which
// view.go keeps and run_view.go reads.
//
// A transaction is in tx.go, what it reads in txread.go, txscan.go and txiterator.go, and
// its own writes in txown.go. Package conflict knows what has been written since it began.
// Its commit is one batch, which the leader makes only if nothing of that was read. Update
// is in update.go. If transactions keep conflicting, lanes.go and turn.go say who goes
// first.
//
// Verify and the scrub use package check, and Salvage uses package salvage.
// Close is in close.go, and what a store does once a second in watch.go.
//
// The read path takes no mutex and writes no memory that other reads use at the
// same time, unless other reads have taken the eight slots that it tries. It loads
// the published set (catalog.FileSet), hashes the key, walks the index (loads
// only), reads the segment's published end (a load), and decodes the record from
// mapped memory. The set, the index pages and the segments are Go objects. A
// segment's mapping and descriptor are released once it is retired and no read
// uses it. A read announces in a slot of its own which segment it uses, before it
// checks whether that is retired: see segment/lifetime.go.
//
// Reads use segments by slots. Others that use them count: scans, iterators and
// snapshots, Range, Keys that outlive Close, background syncs, residency, prefaulting, the
// sweep and the scrub. The file being written needs no count, since only its
// writer retires it. Nor does the holder of the compaction token need one for
// sealed files, or the holder of the maintenance lock for empty ones, since only
// they retire these.
//
// Every read of mapped memory runs under the fault guard. A page that cannot be
// read becomes an error if, and only if, it lies in the segment being read; while
// a callback has the value, it must also fail to be read a second time. A
// callback's own panic passes through unchanged. A value that a callback hands to
// another goroutine is outside the guard.
//
// # Words
//
// A segment is one file of the log. The tail is the segment being written; it has
// ended when it gets no more records, and is sealed once it is synced, hinted and
// listed as such. (A recovery seals files whose hints follow later.) A run is
// segments next to each other that are compacted together. A record's sequence
// number (Seq) says which is newer, a segment's ID which file it is, and a file's
// slot which file a location of the index points into. What has a number at most
// the watermark is known to be on disk. Written is not yet acknowledged: a write
// is acknowledged when its call returns nil. A shadow is a tombstone, or an
// expired record, that an older record of its key makes necessary.
//
// # Locks
//
// In lock order: whoever holds one may take a later one, but no earlier one. Some
// are not mutexes, but somebody waits for them all the same.
//
//  1. Store.closing: the first call of Close, for which later calls wait.
//  2. Store.running: the background goroutines and glances, for which Close
//     waits.
//  3. Store.writing: the calls in flight for which Close waits: writes, Verify,
//     and the parts of Compact that seal and sync.
//  4. leadership of Log.group (package wal): one writer at a time, from the place
//     in the file through publishing. It guards Log.Tail and Log.shut.
//  5. Compactor.Compacting (package compact): the token of whoever compacts.
//  6. Log.Maintenance (package wal): sealing and preparing files, one step at a
//     time. It guards Log.Prepared, Log.spare, Log.sealing and Log.partials.
//  7. Syncer.syncing (package fsync): the token of whoever syncs the log.
//  8. Manifest.Mu (package catalog): edits of the manifest, each on the current
//     list.
//  9. source.sorting (package order): opening a file's table, or sorting its
//     records, for scans.
//  10. FileList.Mu (package catalog): the list of files, and publishing the set.
//  11. Sweeper.sweeping (package sweep): taking expired records out of the index.
//  12. Catalog.Publishing: the leader moves the index and Log.Published, and a scan
//     captures where both stand.
//  13. KeyDir.growing (package index): the split of one page.
//  14. page.mu (package index): one page.
//
// The others are leaves: whoever holds one takes no other lock. They are Group.mu
// and Syncer.mu of package fsync, walkers.mu of package index, Loading.mu and
// tables.mu of package load, Reserve.mu of package reserve, Space.Mu of package space,
// retired.mu of package catalog, Scrubber.mu of package check, Swept.mu of package
// expiry, Order.mu of package order, List.mu of package conflict, and here compactions.mu, notifier.mu, walks.mu
// and holds.mu. Locks inside xsync and package vfs come last.
//
// Leadership and the compaction token nest one way: a leader may take the token,
// and the holder of the token never leads. A delete on a full disk takes the token
// as a leader, to make room by compacting. Close takes it as the last leader, and
// keeps it. So whoever compacts never writes to the log, and Compact seals the
// tail before it takes the token. With the token it only syncs the log, which
// needs no leadership.
//
// One wait goes against the order. A Compact that holds the token lets another
// goroutine sync the log (unlessEnded), and waits for it until its context ends.
// That goroutine takes Store.writing, so that Close waits for it. Nobody waits in a
// circle: beginWrite never blocks, but fails once Close has begun, and the goroutine
// then takes only locks after the token.
//
// Close sets Store.closed, waits for the calls in flight and for the background,
// then leads a last time, and sets Log.shut. Nobody leads after that: whoever
// writes or seals is one of those that Close waited for. Only a test that takes the
// background's steps can come later. It finds Log.shut set, and does not write.
//
// No lock is held while the store calls its user's code: callbacks of View,
// GetMany, Range and Scan, bodies of loops over Keys and Pairs, Events, the Logger and its
// handler, Progress, and methods of contexts. The notifier queues events and
// messages. A context is wrapped (context.WithCancel) before the first lock, and
// after that only the standard library's is asked. The clock and the hash are
// never the user's.
//
// With the build tag `invariants`, package rank panics if a lock is taken out of
// this order, or if the user's code is called under one.
package mmapkv
