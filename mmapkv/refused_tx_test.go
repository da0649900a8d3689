package mmapkv

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/errorfs"
	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/mmapkv/internal/wal"
	"github.com/mmapkv/mmapkv/segment"
)

// Each test here ends something in the middle of a call of a transaction, a conditional write or
// DeleteRange.

// damageHead damages the header of the record that the index has for a key, where it lies.
func damageHead(t *testing.T, s *Store, dir, key string) {
	t.Helper()
	set := s.catalog.Set()
	loc := set.Keys.Get(s.hasher.Fingerprint([]byte(key)))
	flip(t, filepath.Join(dir, segment.FileName(set.File(loc).ID)), loc.Offset()+9)
}

// TestTxIteratorMeetsDamage: an Iterator of a transaction that does not know the order any more ends, and
// the transaction cannot commit.
func TestTxIteratorMeetsDamage(t *testing.T) {
	s, dir, model := tabled(t, byHand())
	tx := begin(t, s)
	txPut(t, tx, "own", "write")
	for _, path := range sealedHints(s, dir) {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	for key := range model {
		damageHead(t, s, dir, key)
	}
	it, err := tx.Iterator(ScanOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if it.First() || !errors.Is(it.Err(), ErrCorrupt) {
		t.Errorf("First in a damaged store: %q, %v", it.Key(), it.Err())
	}
	if err := tx.Commit(); !errors.Is(err, ErrCorrupt) {
		t.Errorf("Commit: %v", err)
	}
	_ = s.Close() // says that the store is damaged
}

// TestTxEndsWithinItsScan: what a callback ends, ends: the scan of the transaction, and its Iterators.
func TestTxEndsWithinItsScan(t *testing.T) {
	s := open(t, t.TempDir(), byHand())
	for _, name := range []string{"own writes only", "own writes before a pair"} {
		tx := begin(t, s)
		txPut(t, tx, "a", "1")
		txPut(t, tx, "b", "2")
		it, err := tx.Iterator(ScanOptions{})
		if err != nil || !it.First() {
			t.Fatal(err)
		}
		var shown []string
		err = tx.Scan(ScanOptions{}, func(key, _ []byte) error {
			shown = append(shown, string(key))
			tx.Rollback()
			return nil
		})
		if !errors.Is(err, ErrDone) || fmt.Sprint(shown) != "[a]" {
			t.Errorf("%s: Scan: %v, it has shown %q", name, err, shown)
		}
		if err := it.View(func([]byte) error { return nil }); !errors.Is(err, ErrDone) {
			t.Errorf("%s: View of an Iterator: %v", name, err)
		}
		put(t, s, "m", "value")
	}
}

// TestScanOfATxThatHasEnded: a scan that was about to begin shows nothing.
func TestScanOfATxThatHasEnded(t *testing.T) {
	s := open(t, t.TempDir(), byHand())
	put(t, s, "a", "value")
	tx := begin(t, s)
	sc := txScan{tx: tx, fn: func(_, _ []byte) error { t.Error("it shows a pair"); return nil }}
	m := tx.snapshot.hold.instant
	tx.Rollback()
	if err := sc.run(m, &ScanOptions{}); !errors.Is(err, ErrDone) {
		t.Error(err)
	}
}

// TestUpdateInAStoreThatIsClosing: a transaction that would begin with its first read, after the store has
// ended all others, does not begin.
func TestUpdateInAStoreThatIsClosing(t *testing.T) {
	s := open(t, t.TempDir(), byHand())
	put(t, s, "a", "value")
	s.holds.endAll()
	err := s.Update(t.Context(), func(tx *Tx) error {
		_, err := tx.Get([]byte("a"))
		if !errors.Is(err, ErrClosed) {
			t.Errorf("Get: %v", err)
		}
		return tx.Put([]byte("b"), nil)
	})
	if !errors.Is(err, ErrClosed) || s.txs.conflicts.Open() {
		t.Errorf("Update: %v; a transaction is open: %v", err, s.txs.conflicts.Open())
	}
}

// TestRangeInAStoreThatIsClosing: once Close has given those in flight what they need, none begins.
func TestRangeInAStoreThatIsClosing(t *testing.T) {
	s := open(t, t.TempDir(), byHand())
	s.walks.handOver(nil)
	if err := s.Range(func(_, _ []byte) error { return nil }); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

// failedStore opens a store whose log has failed.
func failedStore(t *testing.T, before func(s *Store)) *Store {
	o := byHand()
	o.Sync = fsync.Always
	s, disk := onFaulty(t, o, inject.Seams{Manual: true})
	put(t, s, "a", "value")
	before(s)
	disk.Fail(fails(syscall.EIO, ".seg", errorfs.Datasync))
	if err := s.Put([]byte("b"), nil); !errors.Is(err, ErrFailed) {
		t.Fatalf("Put on a disk that fails: %v", err)
	}
	return s
}

// TestCommitAfterTheLogHasFailed: a transaction that read before the log failed does not commit.
func TestCommitAfterTheLogHasFailed(t *testing.T) {
	var tx *Tx
	s := failedStore(t, func(s *Store) {
		tx = begin(t, s)
		txPut(t, tx, "c", "own")
	})
	if err := tx.Commit(); !errors.Is(err, ErrFailed) {
		t.Errorf("Commit: %v", err)
	}
	c := sight{store: s}
	if done, err := c.attempt(func(wal.Condition) (bool, error) { return true, nil }); done || !errors.Is(err, ErrFailed) {
		t.Errorf("a conditional write whose condition was seen before: %v, %v", done, err)
	}
	_ = s.Close() // says that the log has failed
}

// TestDeleteRangeIsRefused: DeleteRange returns what refuses its batches.
func TestDeleteRangeIsRefused(t *testing.T) {
	s, disk := onFaulty(t, byHand(), inject.Seams{Manual: true})
	fill(t, s, 0, 20, 50)
	disk.Fail(fails(syscall.EIO, ".seg", errorfs.Write))
	if err := s.DeleteRange(t.Context(), nil, nil); !errors.Is(err, ErrFailed) {
		t.Errorf("DeleteRange on a disk that fails: %v", err)
	}
	_ = s.Close() // says that the log has failed
}

// TestDeleteRangeOnAFullDiskEnds: while DeleteRange deletes one by one, since there is no room for a
// batch, the context still ends it, and a delete for which there is no room either.
func TestDeleteRangeOnAFullDiskEnds(t *testing.T) {
	s, disk := onFaulty(t, byHand(), inject.Seams{Manual: true})
	fill(t, s, 0, 20, 50)
	disk.Fail(errorfs.Rule{Err: syscall.ENOSPC, Forever: true, Match: errorfs.Only(errorfs.Write, errorfs.Allocate, errorfs.Create)})
	var b Batch
	for i := range 20 {
		key, _ := numbered(i, 50)
		b.Delete(key)
	}
	if err := writeDeletes(t.Context(), s, &b); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("on a full disk: %v", err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if err := writeDeletes(ended, s, &b); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: %v", err)
	}
	disk.Heal()
}
