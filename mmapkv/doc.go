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
// All methods of a Store may be called by many goroutines at once, also from
// inside the callbacks that they take.
//
// # What is promised
//
// Visibility: a write that returned nil is seen by every read that starts
// afterwards. Under fsync.Always nobody sees it before it is on disk.
//
// Process crash: what was acknowledged survives SIGKILL under every policy.
//
// Power loss: under fsync.Always nothing acknowledged is lost; under
// fsync.Every(d) at most what was acknowledged in the last d and during the sync
// then running; under fsync.Never whatever the kernel had not written. What
// survives is a prefix of the order of commits, and a batch is there whole or
// not at all. What a reopened store has shown once stays.
//
// Reads: a value that was written to that key, whole, or an error. Damage is
// ErrCorrupt, never data and never ErrNotFound.
//
// Failure: the first failed sync or write error stops writing for good
// (ErrFailed) until the store is opened again; reads go on. A write that does
// not fit on a full disk fails with an error that wraps syscall.ENOSPC, nothing
// of it is ever visible, and writing works again once there is room.
//
// Loss: where the store's directory is removed, or MANIFEST, LOCK or the file being written
// is removed or replaced, the store has failed. It notices that within a second, and
// when Sync is called. What is written until then is acknowledged, under fsync.Always
// too, and is lost with the file. A directory may be renamed.
//
// # How it holds together
//
// New bytes are safe, then the index moves, then the old file goes: never
// another order. The steps of a write are in write.go, of a read in read.go, of
// the change to a new file in rotate.go and maintain.go, of compaction in compact.go,
// of opening in open.go, recovery.go and load.go (which files are newer than the
// manifest, in strays.go; what of a log counts that was not closed, in package
// internal/replay), of making and removing files in unlisted.go, of hints in hints.go,
// of taking out what has expired in expire.go and sweep.go, of checking in package
// internal/check, of saving what is left of a damaged store in package internal/salvage,
// of closing in close.go. What a store does once a second is in watch.go.
//
// The read path takes no mutex and writes no memory that other reads use
// at the same time: it loads the published set (Store.live), hashes the key, walks the
// index (loads only), reads the segment's published end (a load) and decodes the
// record from mapped memory. The set, the index pages and the segments are Go
// objects; a segment's mapping and descriptor go when it is retired and no read is
// in it. A read says which segment it is in by a slot of its own, before it looks
// whether that is retired: see segment/lifetime.go. What is not in memory is read by
// system calls instead: see cold.go.
//
// Who uses a segment how: reads by slots; Range, Keys that Close has left files to,
// background syncs, residency, populating and the scrub by counts. The writer's own
// file is nobody else's to retire. A sealed file is retired by whoever holds the
// compaction token, and an empty one by whoever holds the maintenance lock, so these
// two need no count.
//
// Every read of mapped memory runs under the fault guard: a page that cannot be
// read becomes an error if, and only if, it lies in the segment being read and
// cannot be read a second time. A callback's own panic passes through unchanged.
// A value that a callback hands to another goroutine is outside the guard.
//
// # Locks
//
// In the order in which they may be taken: whoever holds one may want a later one,
// and no earlier one. Some are no mutexes, but somebody waits for them all the same.
//
//  1. Store.closing: the first call of Close, for which later ones wait.
//  2. Store.running: the background's goroutines and glances, for which Close waits.
//  3. Store.writing: the calls for which Close waits: those that write, Verify, and
//     the part of Compact that seals.
//  4. leadership of Store.group: one writer at a time, from the place in the
//     file through publishing; guards Store.tail and Store.shut.
//  5. Store.compacting: the token of whoever compacts, and of Close, which keeps it.
//     A leader may want it: on a full disk a delete makes room by compacting, and
//     Close ends as the last leader. So whoever compacts never writes; Compact seals
//     the tail before it takes the token.
//  6. Store.maintenance: sealing and preparing files, one step at a time;
//     guards Store.prepared, Store.spare and Store.sealing.
//  7. Syncer.syncing: the token of whoever syncs the log.
//  8. manifestLog.mu: edits of the manifest, each on the current list.
//  9. fileSet.mu: the list of files and the publishing of Store.live.
//  10. sweeper.sweeping: the taking out of records that have expired.
//  11. KeyDir.growing: the split of one page of the index.
//  12. page.mu: one page of it.
//
// The others are leaves: nobody wants any lock while holding one. They are Group.mu
// and Syncer.mu of package fsync, walkers.mu of package index, and here
// loading.mu, reserve.mu, space.mu, retiredFiles.mu, compactions.mu, scrubs.mu, sweptRecords.mu,
// notifier.mu and walks.mu. What xsync and package vfs lock inside comes behind them.
//
// Code of the user is called under none of all these: callbacks of View, GetMany
// and Range, bodies of loops over Keys, Events, the Logger and its handler, Progress,
// and methods of contexts. The notifier queues what there is to tell; a context is
// wrapped (context.WithCancel) before the first lock, and from there on the standard
// library's is asked. The clock and the hash are never the user's.
//
// Built with the tag `invariants` package rank panics where a lock is taken out of
// this order, or code of the user called under one.
package mmapkv
