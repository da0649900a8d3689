package mmapkv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mmapkv/mmapkv/fsync"
	"github.com/mmapkv/mmapkv/internal/inject"
	"github.com/mmapkv/mmapkv/mmapkv/internal/conflict"
	"github.com/mmapkv/mmapkv/mmapkv/internal/wal"
)

func begin(t testing.TB, s *Store) *Tx {
	t.Helper()
	tx, err := s.Begin()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tx.Rollback)
	return tx
}

// txPut is Put that must not fail.
func txPut(t testing.TB, tx *Tx, key, value string) {
	t.Helper()
	if err := tx.Put([]byte(key), []byte(value)); err != nil {
		t.Fatal(err)
	}
}

// txGet returns a value, "" if there is none.
func txGet(t testing.TB, r Reader, key string) string {
	t.Helper()
	value, err := r.Get([]byte(key))
	if err != nil && err != ErrNotFound {
		t.Fatal(err)
	}
	return string(value)
}

func wantCommit(t testing.TB, tx *Tx, want error) {
	t.Helper()
	if err := tx.Commit(); err != want {
		t.Fatalf("Commit: %v, want %v", err, want)
	}
	if err := tx.Commit(); err != ErrDone {
		t.Fatalf("a second Commit: %v", err)
	}
}

// TestTxWriteSkewConflicts: two transactions read the same two keys, and each writes another one of them.
func TestTxWriteSkewConflicts(t *testing.T) {
	s := open(t, t.TempDir(), tiny())
	put(t, s, "a", "on call")
	put(t, s, "b", "on call")
	one, two := begin(t, s), begin(t, s)
	for _, tx := range []*Tx{one, two} {
		if txGet(t, tx, "a") != "on call" || txGet(t, tx, "b") != "on call" {
			t.Fatal("another state")
		}
	}
	txPut(t, one, "a", "home")
	txPut(t, two, "b", "home")
	wantCommit(t, one, nil)
	wantCommit(t, two, ErrConflict)
	wantValue(t, s, "a", "home")
	wantValue(t, s, "b", "on call")
}

func TestTxLostUpdateConflicts(t *testing.T) {
	s := open(t, t.TempDir(), tiny())
	put(t, s, "n", "1")
	one, two := begin(t, s), begin(t, s)
	for _, tx := range []*Tx{one, two} {
		txPut(t, tx, "n", txGet(t, tx, "n")+"1")
	}
	wantCommit(t, two, nil)
	wantCommit(t, one, ErrConflict)
	wantValue(t, s, "n", "11")
	three := begin(t, s)
	txPut(t, three, "n", txGet(t, three, "n")+"1")
	put(t, s, "n", "11") // also if the value is the same
	wantCommit(t, three, ErrConflict)
}

// TestTxPhantoms: what appears in a range that was read is a conflict, also what another transaction
// or a batch makes, and only where the range was passed.
func TestTxPhantoms(t *testing.T) {
	scan := func(o ScanOptions, n int) func(*Tx) error {
		return func(tx *Tx) error {
			left := n
			err := tx.Scan(o, func([]byte, []byte) error {
				if left--; left == 0 {
					return errEnough
				}
				return nil
			})
			if err == errEnough {
				return nil
			}
			return err
		}
	}
	iterate := func(o ScanOptions, move func(it *Iterator)) func(*Tx) error {
		return func(tx *Tx) error {
			it, err := tx.Iterator(o)
			if err == nil {
				move(it)
				err = it.Err()
			}
			return err
		}
	}
	prefix := ScanOptions{Prefix: []byte("k")}
	back := ScanOptions{Prefix: []byte("k"), Reverse: true}
	for name, c := range map[string]struct {
		read          func(*Tx) error
		conflicts, ok []string
	}{
		"a scan":           {scan(prefix, -1), []string{"k", "k0", "k5", "k99", "k\xff\xff"}, []string{"j", "l", "j\xff"}},
		"a scan backwards": {scan(back, -1), []string{"k", "k0", "k5", "k99", "k\xff\xff"}, []string{"j", "l", "j\xff"}},
		"keys only":        {scan(ScanOptions{KeysOnly: true}, -1), []string{"", "k2", "\xff\xff"}, nil},
		"a scan of two":    {scan(prefix, 2), []string{"k", "k2", "k3", "k4"}, []string{"k4\x00", "k5", "k6"}},
		"two backwards":    {scan(back, 2), []string{"k6", "k7", "k8", "k9"}, []string{"k5", "k4", "k"}},
		"from and to":      {scan(ScanOptions{From: []byte("k3"), To: []byte("k5")}, -1), []string{"k3", "k4", "k4\xff"}, []string{"k2", "k5", "k6"}},
		"no pairs":         {scan(ScanOptions{Prefix: []byte("x")}, -1), []string{"x", "x1"}, []string{"w", "y"}},
		"a stopped scan of none": {func(tx *Tx) error {
			return tx.Scan(ScanOptions{From: []byte("z"), To: []byte("a")}, nil)
		}, nil, []string{"b", "z"}},
		"an iterator that did not move": {iterate(prefix, func(*Iterator) {}), nil, []string{"k2", "k"}},
		"two moves":                     {iterate(prefix, func(it *Iterator) { it.Next(); it.Next() }), []string{"k", "k2", "k4"}, []string{"k5", "k4\x00"}},
		"two moves back":                {iterate(back, func(it *Iterator) { it.Next(); it.Next() }), []string{"k6", "k9"}, []string{"k5", "k2"}},
		"a seek":                        {iterate(prefix, func(it *Iterator) { it.SeekGE([]byte("k3")) }), []string{"k3", "k4"}, []string{"k2", "k5"}},
		"a seek to the pair":            {iterate(prefix, func(it *Iterator) { it.SeekGE([]byte("k4")) }), []string{"k4"}, []string{"k3", "k4\x00"}},
		"a seek below":                  {iterate(prefix, func(it *Iterator) { it.SeekLT([]byte("k6")) }), []string{"k4", "k5"}, []string{"k3", "k6"}},
		"to and fro":                    {iterate(prefix, func(it *Iterator) { it.SeekGE([]byte("k4")); it.Next(); it.Prev(); it.Prev() }), []string{"k2", "k3", "k6"}, []string{"k1", "k7"}},
		"two seeks":                     {iterate(prefix, func(it *Iterator) { it.SeekGE([]byte("k8")); it.First() }), []string{"k", "k2", "k8"}, []string{"k3", "k7", "k9"}},
		"to the end":                    {iterate(prefix, func(it *Iterator) { it.SeekGE([]byte("k8")); it.Next() }), []string{"k8", "k9"}, []string{"k7", "l"}},
		"pairs":                         {iterate(prefix, func(it *Iterator) { it.Pairs()(func(k, v []byte) bool { return string(k) < "k6" }) }), []string{"k", "k6"}, []string{"k7"}},
		"an absent key":                 {func(tx *Tx) error { _, err := tx.Has([]byte("k3")); return err }, []string{"k3"}, []string{"k2", "k3\x00"}},
		"a deleted range":               {func(tx *Tx) error { return tx.DeleteRange([]byte("k3"), []byte("k5")) }, []string{"k3", "k4"}, []string{"k2", "k5"}},
		"untracked":                     {func(tx *Tx) error { return tx.Untracked().Scan(ScanOptions{}, func(k, v []byte) error { return nil }) }, nil, []string{"k2", "k"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, t.TempDir(), tiny())
			for _, key := range []string{"k2", "k4", "k6", "k8"} {
				put(t, s, key, "value")
			}
			try := func(key string, want error) {
				tx := begin(t, s)
				if err := c.read(tx); err != nil {
					t.Fatal(err)
				}
				txPut(t, tx, "own", "value")
				old, had := s.Get([]byte(key))
				put(t, s, key, "changed")
				if err := tx.Commit(); err != want {
					t.Errorf("%q was written, Commit: %v, want %v", key, err, want)
				}
				if had == nil {
					put(t, s, key, string(old))
				} else if err := s.Delete([]byte(key)); err != nil {
					t.Fatal(err)
				}
				if err := s.Delete([]byte("own")); err != nil {
					t.Fatal(err)
				}
				for _, key := range []string{"k4"} { // that a deleted range took
					put(t, s, key, "value")
				}
			}
			for _, key := range c.conflicts {
				try(key, ErrConflict)
			}
			for _, key := range c.ok {
				try(key, nil)
			}
		})
	}
}

// TestTxBlindWritesDoNotConflict: what is written without being read conflicts with nothing, and a
// transaction without writes never conflicts.
func TestTxBlindWritesDoNotConflict(t *testing.T) {
	s := open(t, t.TempDir(), tiny())
	put(t, s, "a", "1")
	blind, reader, untracked := begin(t, s), begin(t, s), begin(t, s)
	txPut(t, blind, "a", "3")
	if txGet(t, blind, "a") != "3" { // its own
		t.Error("a transaction does not see its own write")
	}
	txGet(t, reader, "a")
	txGet(t, untracked.Untracked(), "a")
	txPut(t, untracked, "b", "4")
	put(t, s, "a", "2")
	wantCommit(t, reader, nil)
	wantCommit(t, untracked, nil)
	wantCommit(t, blind, nil)
	wantValue(t, s, "a", "3")
	wantValue(t, s, "b", "4")
}

// TestTxOfNoWritesWritesNothing: it leaves the log alone, and holds nothing.
func TestTxOfNoWritesWritesNothing(t *testing.T) {
	s := open(t, t.TempDir(), tiny())
	put(t, s, "a", "1")
	before := s.log.Written.Load()
	for range 100 {
		tx := begin(t, s)
		txGet(t, tx, "a")
		wantCommit(t, tx, nil)
		begin(t, s).Rollback()
	}
	if after := s.log.Written.Load(); after != before {
		t.Errorf("%d records were written", after-before)
	}
	if s.txs.conflicts.Open() {
		t.Error("a transaction has not ended")
	}
}

// TestTxAbortedIsNeverVisible: neither what conflicted nor what was rolled back is ever read, also after
// the next Open.
func TestTxAbortedIsNeverVisible(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, tiny())
	put(t, s, "n", "1")
	conflicting, rolled := begin(t, s), begin(t, s)
	for _, tx := range []*Tx{conflicting, rolled} {
		txGet(t, tx, "n")
		for i := range 100 {
			txPut(t, tx, fmt.Sprint("aborted", i), "value")
		}
	}
	wantNone := func(s *Store) {
		t.Helper()
		if keys := scanned(t, s, ScanOptions{Prefix: []byte("aborted")}); len(keys) > 0 {
			t.Fatalf("%d keys of a transaction that did not commit, such as %q", len(keys), keys[0])
		}
	}
	wantNone(s)
	put(t, s, "n", "2")
	wantCommit(t, conflicting, ErrConflict)
	rolled.Rollback()
	wantNone(s)
	compactAll(t, s)
	wantNone(s)
	closeStore(t, s)
	wantNone(open(t, dir, tiny()))
}

// TestTxIsAtomicForSnapshots: a snapshot has all writes of a transaction, or none.
func TestTxIsAtomicForSnapshots(t *testing.T) {
	s := open(t, t.TempDir(), tiny())
	before, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer before.Close()
	tx := begin(t, s)
	for i := range 500 {
		txPut(t, tx, fmt.Sprint(i), "value")
	}
	wantCommit(t, tx, nil)
	after := begin(t, s)
	for r, want := range map[Reader]int{before: 0, after: 500, s: 500} {
		n := 0
		if err := r.Scan(ScanOptions{KeysOnly: true}, func(_, _ []byte) error { n++; return nil }); err != nil || n != want {
			t.Errorf("%T: %d keys of %d, %v", r, n, want, err)
		}
	}
}

// TestTxAtOneNumberEndApart: two transactions begin at the same number. When one ends, the other still
// sees its state, and still conflicts.
func TestTxAtOneNumberEndApart(t *testing.T) {
	s := open(t, t.TempDir(), byHand())
	fill(t, s, 0, 300, 50)
	one, two := begin(t, s), begin(t, s)
	if one.snapshot.Seq() != two.snapshot.Seq() {
		t.Fatal("two numbers")
	}
	txPut(t, one, "x", "1")
	wantCommit(t, one, nil)
	fill(t, s, 0, 300, 60)
	compactAll(t, s)
	for i := range 300 {
		key, value := numbered(i, 50)
		if got, err := two.Get(key); err != nil || string(got) != string(value) {
			t.Fatalf("key %d: %.20q, %v", i, got, err)
		}
	}
	txPut(t, two, "y", "2")
	wantCommit(t, two, ErrConflict)
	if s.txs.conflicts.Open() {
		t.Error("a transaction has not ended")
	}
	wantNothingHeld(t, s)
}

// TestTxForgottenHoldsLittle: one that is never ended, and writes beside it without end, take a bounded
// amount of memory.
func TestTxForgottenHoldsLittle(t *testing.T) {
	s := open(t, t.TempDir(), &Options{Sync: fsync.Never})
	tx := begin(t, s)
	for i := range 50_000 {
		key, value := numbered(i%500, 10)
		if err := s.Put(key, value); err != nil {
			t.Fatal(err)
		}
	}
	if size := s.txs.conflicts.Size(); size > 1<<20 {
		t.Errorf("500 keys take %d bytes", size)
	}
	txPut(t, tx, "a", "b")
	wantCommit(t, tx, nil)
	if s.txs.conflicts.Open() {
		t.Error("a transaction has not ended")
	}
}

// TestTxConflictsWithWhatExpired: what was read has expired when the transaction commits.
func TestTxConflictsWithWhatExpired(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	o := tiny()
	inject.Into(o, &inject.Seams{Now: func() time.Time { return now }, Manual: true})
	s := open(t, t.TempDir(), o)
	if err := s.PutWithTTL([]byte("session"), []byte("value"), 10*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	put(t, s, "other", "value")
	for name, read := range map[string]func(r Reader){
		"Get":  func(r Reader) { txGet(t, r, "session") },
		"Has":  func(r Reader) { r.Has([]byte("session")) },
		"Size": func(r Reader) { r.Size([]byte("session")) },
		"TTL":  func(r Reader) { r.TTL([]byte("session")) },
		"View": func(r Reader) { r.View([]byte("session"), func([]byte) error { return nil }) },
		"Scan": func(r Reader) { r.Scan(ScanOptions{}, func(_, _ []byte) error { return nil }) },
		"Iterator": func(r Reader) {
			it, _ := r.Iterator(ScanOptions{})
			it.Last()
		},
	} {
		at := now
		early, late, other, untracked := begin(t, s), begin(t, s), begin(t, s), begin(t, s)
		read(early)
		read(late)
		txGet(t, other, "other")
		read(untracked.Untracked())
		for _, tx := range []*Tx{early, late, other, untracked} {
			txPut(t, tx, "own", name)
		}
		now = at.Add(9 * time.Millisecond)
		if err := early.Commit(); err != nil {
			t.Errorf("%s: Commit before it expires: %v", name, err)
		}
		now = at.Add(10 * time.Millisecond)
		if txGet(t, late, "session") != "value" {
			t.Errorf("%s: it has expired in the transaction", name)
		}
		if err := late.Commit(); err != ErrConflict {
			t.Errorf("%s: Commit when it has expired: %v", name, err)
		}
		if err := errors.Join(other.Commit(), untracked.Commit()); err != nil {
			t.Errorf("%s: Commit of what has not read it: %v", name, err)
		}
		now = at
	}
}

// TestTxTTLBeginsWithCommit: a value that a transaction writes expires ttl after Commit.
func TestTxTTLBeginsWithCommit(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	o := tiny()
	inject.Into(o, &inject.Seams{Now: func() time.Time { return now }, Manual: true})
	s := open(t, t.TempDir(), o)
	tx := begin(t, s)
	if err := tx.PutWithTTL([]byte("k"), []byte("v"), 10*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Hour)
	if ttl, ok, err := tx.TTL([]byte("k")); ttl != 10*time.Millisecond || !ok || err != nil {
		t.Errorf("TTL: %v, %v, %v", ttl, ok, err)
	}
	wantCommit(t, tx, nil)
	if ttl, ok, err := s.TTL([]byte("k")); ttl != 10*time.Millisecond || !ok || err != nil {
		t.Errorf("TTL after Commit: %v, %v, %v", ttl, ok, err)
	}
	now = now.Add(10 * time.Millisecond)
	wantAbsent(t, s, "k")
}

// TestTxThatFailedCannotCommit: after an error other than ErrNotFound, Commit returns that error, and
// writes nothing. The error of a callback is the callback's business.
func TestTxThatFailedCannotCommit(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, byHand())
	put(t, s, "good", "value")
	put(t, s, "bad", "the value that rots")
	path := filepath.Join(dir, s.Stats().Segments[0].File)
	closeStore(t, s) // in some builds an open store reads its own copy
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	flipOnDisk(t, path, int64(bytes.Index(content, []byte("value that rots"))))
	s = open(t, dir, byHand())
	own := errors.New("own")
	for name, c := range map[string]struct {
		do   func(tx *Tx) error
		want error
	}{
		"nothing found":       {func(tx *Tx) error { _, err := tx.Get([]byte("x")); _ = err; return nil }, nil},
		"damage in Get":       {func(tx *Tx) error { _, err := tx.Get([]byte("bad")); return err }, ErrCorrupt},
		"damage in AppendGet": {func(tx *Tx) error { _, err := tx.AppendGet(nil, []byte("bad")); return err }, ErrCorrupt},
		"damage in View":      {func(tx *Tx) error { return tx.View([]byte("bad"), func([]byte) error { return own }) }, ErrCorrupt},
		"damage in GetMany": {func(tx *Tx) error {
			return tx.GetMany([][]byte{[]byte("bad")}, func(_ int, _ []byte, err error) error { return err })
		}, ErrCorrupt},
		"damage that is hidden": {func(tx *Tx) error {
			tx.GetMany([][]byte{[]byte("bad")}, func(int, []byte, error) error { return nil })
			return ErrCorrupt
		}, ErrCorrupt},
		"damage in Scan": {func(tx *Tx) error { return tx.Scan(ScanOptions{}, func(_, _ []byte) error { return nil }) }, ErrCorrupt},
		"damage in an Iterator": {func(tx *Tx) error {
			it, _ := tx.Iterator(ScanOptions{})
			it.SeekGE([]byte("bad"))
			_, err := it.Value()
			return err
		}, ErrCorrupt},
		"damage in its View": {func(tx *Tx) error {
			it, _ := tx.Iterator(ScanOptions{})
			it.SeekGE([]byte("bad"))
			return it.View(func([]byte) error { return own })
		}, ErrCorrupt},
		"damage, untracked":  {func(tx *Tx) error { _, err := tx.Untracked().Get([]byte("bad")); return err }, ErrCorrupt},
		"a callback of View": {func(tx *Tx) error { tx.View([]byte("good"), func([]byte) error { return own }); return nil }, nil},
		"a callback of Scan": {func(tx *Tx) error {
			tx.Scan(ScanOptions{From: []byte("c")}, func(_, _ []byte) error { return own })
			return nil
		}, nil},
		"a callback's damage": {func(tx *Tx) error { tx.View([]byte("good"), func([]byte) error { return ErrCorrupt }); return nil }, nil},
		"a callback of the pair": {func(tx *Tx) error {
			it, _ := tx.Iterator(ScanOptions{From: []byte("c")})
			it.First()
			it.View(func([]byte) error { return own })
			return nil
		}, nil},
		"a bad TTL":   {func(tx *Tx) error { return tx.PutWithTTL(nil, nil, 0) }, ErrInvalid},
		"a large key": {func(tx *Tx) error { return tx.Put(make([]byte, MaxKeySize+1), nil) }, ErrTooLarge},
		"too many writes": {func(tx *Tx) error {
			tx.limits.own = 1000
			return errors.Join(tx.Put([]byte("a"), make([]byte, 900)), tx.Put([]byte("b"), make([]byte, 100)))
		}, ErrTooLarge},
		"writes of one key": {func(tx *Tx) error {
			tx.limits.own = 3000
			for range 10 {
				if err := tx.Put([]byte("a"), make([]byte, 900)); err != nil {
					return err
				}
			}
			return nil
		}, nil},
		"too many keys": {func(tx *Tx) (err error) {
			tx.limits.tracked = 1000
			for i := 0; i < 200 && err == nil; i++ {
				_, err = tx.Has(fmt.Append(nil, i))
			}
			return err
		}, ErrTooLarge},
		"too many ranges": {func(tx *Tx) (err error) {
			tx.limits.tracked = 1000
			it, err := tx.Iterator(ScanOptions{KeysOnly: true})
			for i := 0; i < 200 && err == nil; i++ {
				it.SeekGE(fmt.Append(nil, i))
				err = tx.err
			}
			return err
		}, ErrTooLarge},
	} {
		tx := begin(t, s)
		txPut(t, tx, "own", name)
		if err := c.do(tx); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		tx.Has([]byte("good")) // changes nothing
		if err := tx.Commit(); !errors.Is(err, c.want) || c.want == nil && err != nil {
			t.Errorf("%s: Commit: %v, want %v", name, err, c.want)
		}
		if c.want == nil {
			wantValue(t, s, "own", name)
		} else if got := txGet(t, s, "own"); got == name {
			t.Errorf("%s: it was committed", name)
		}
	}
}

func TestTxOfReadOnlyStore(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, nil)
	put(t, s, "a", "1")
	closeStore(t, s)
	s = open(t, dir, &Options{ReadOnly: true})
	tx := begin(t, s)
	if txGet(t, tx, "a") != "1" {
		t.Error("another value")
	}
	wantCommit(t, tx, nil)
	tx = begin(t, s)
	if err := tx.Put(nil, nil); err != ErrReadOnly {
		t.Errorf("Put: %v", err)
	}
	wantCommit(t, tx, ErrReadOnly)
}

// TestTxOfClosedStore: every call of a transaction returns ErrClosed once its store is closed.
func TestTxOfClosedStore(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	tx := begin(t, s)
	txPut(t, tx, "a", "1")
	closeStore(t, s)
	for what, err := range readsOf(tx, []byte("a")) {
		if err != ErrClosed {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, err := range []error{tx.Put(nil, nil), tx.Delete(nil), tx.DeleteRange(nil, nil), tx.PutWithTTL(nil, nil, 1), tx.Commit()} {
		if err != ErrClosed {
			t.Error(err)
		}
	}
	tx.Rollback()
	if _, err := s.Begin(); err != ErrClosed {
		t.Error(err)
	}
}

// txHandler counts the messages of forgotten transactions.
type txHandler struct{ countHandler }

func (h txHandler) Handle(_ context.Context, r slog.Record) error {
	if strings.Contains(r.Message, "a transaction was never ended") {
		h.messages.Add(1)
	}
	return nil
}

// TestForgottenTx: a transaction that nobody ends keeps files until the garbage collector finds it. Then
// the Logger gets a message, and the list of conflicts nothing more.
func TestForgottenTx(t *testing.T) {
	var messages atomic.Int32
	o := byHand()
	o.Logger = slog.New(txHandler{countHandler{&messages}})
	s := open(t, t.TempDir(), o)
	fill(t, s, 0, 300, 50)
	tx, err := s.Begin()
	if err != nil {
		t.Fatal(err)
	}
	key, _ := numbered(1, 0)
	if _, err := tx.Get(key); err != nil {
		t.Fatal(err)
	}
	ended, err := s.Begin()
	if err != nil {
		t.Fatal(err)
	}
	ended.Rollback()
	if list := s.Stats().Snapshots; len(list) != 1 || !strings.Contains(list[0].Made, "tx_test.go") {
		t.Errorf("Stats lists %v", list)
	}
	runtime.KeepAlive(tx) // and not any longer
	waitFor(t, "the forgotten transaction to be found", func() bool { runtime.GC(); return messages.Load() > 0 })
	wantNothingHeld(t, s)
	if n := messages.Load(); n != 1 || s.txs.conflicts.Open() {
		t.Errorf("%d messages, open: %v", n, s.txs.conflicts.Open())
	}
}

// TestTxSeesManyOwnWrites compares reads of many own writes with a map.
func TestTxSeesManyOwnWrites(t *testing.T) {
	s := open(t, t.TempDir(), tiny())
	fill(t, s, 0, 2000, 10)
	tx := begin(t, s)
	for i := range 2000 {
		key, value := numbered(i*7919%2000, 20)
		if i%3 == 0 {
			if err := tx.Delete(key); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := tx.Put(key, value); err != nil {
			t.Fatal(err)
		}
		if i%100 == 0 {
			n := 0
			if err := tx.Scan(ScanOptions{KeysOnly: true, Reverse: i%200 == 0}, func(_, _ []byte) error { n++; return nil }); err != nil || n != 2000-(i+3)/3 {
				t.Fatalf("%d pairs after %d writes, %v", n, i, err)
			}
		}
	}
	wantCommit(t, tx, nil)
	for i := range 2000 {
		key, value := numbered(i*7919%2000, 20)
		if i%3 == 0 {
			wantAbsent(t, s, string(key))
		} else {
			wantValue(t, s, string(key), string(value))
		}
	}
}

// TestTxInOneGroup: of two transactions in one group commit, the second is judged by what the first has
// written, keys and ranges.
func TestTxInOneGroup(t *testing.T) {
	s := open(t, t.TempDir(), byHand())
	put(t, s, "a", "1")
	put(t, s, "b", "1")
	for name, read := range map[string]func(tx *Tx){
		"a key":   func(tx *Tx) { txGet(t, tx, "a"); txGet(t, tx, "b") },
		"a range": func(tx *Tx) { tx.Scan(ScanOptions{}, func(_, _ []byte) error { return nil }) },
	} {
		member := func(key string) *wal.Write {
			tx := begin(t, s)
			read(tx)
			tx.reads.Settle()
			tx.judge = judging{tx: tx, check: conflict.NewCheck(s.txs.conflicts, &tx.snapshot.hold.mark, &tx.reads, tx.snapshot.Seq())}
			w := s.writeForTest([]byte(key), []byte(name))
			w.Condition = &tx.judge
			return w
		}
		one, two, three := member("a"), member("b"), member("c")
		lead(s, []*wal.Write{one, two, three})
		if one.Err != nil || two.Err != wal.ErrRefused || three.Err != wal.ErrRefused {
			t.Errorf("%s: %v, %v, %v", name, one.Err, two.Err, three.Err)
		}
	}
}
