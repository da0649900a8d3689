package mmapkv

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"sync"
	"time"

	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/internal/rank"
	"github.com/mmapkv/mmapkv/mmapkv/internal/conflict"
	"github.com/mmapkv/mmapkv/segment"
)

// Tx is a transaction: reads and writes that take effect as one, as if nothing else had happened
// meanwhile. It is a Reader, for one goroutine at a time. It reads a Snapshot, in which it sees its own
// writes. Nobody else sees these before Commit, and then all of them at once, also on disk.
//
// Commit returns ErrConflict, and nothing of the transaction is ever visible, if something that it
// read has changed since: a key, also one that was absent, or the part of a range that a Scan or an
// Iterator has passed. The transaction conflicts too once something that it read has expired. What is
// written without being read conflicts with nothing, and a transaction without writes never conflicts.
//
// If a call returns an error other than ErrNotFound, the transaction cannot commit: Commit returns
// that error. An error that a callback returns does not count.
//
// Store.Update runs a function in a transaction, and runs it again after a conflict. Who uses Begin
// must call Commit or Rollback: until then the transaction keeps files, as a Snapshot does. One that
// is forgotten is ended when the garbage collector finds it, and the Logger gets a message.
type Tx struct {
	store    *Store
	snapshot Snapshot
	reads    conflict.Reads
	own      ownWrites
	open     []*merged // its Iterators that are not closed
	err      error     // why it cannot commit
	done     bool      // it was committed or rolled back
	queues   bool      // it takes the lane of the first key that it reads, if that is hot
	lane     *lane     // that it has taken; nil if none
	made     callers   // where it was made
	limits   txLimits
	cleanup  runtime.Cleanup
	judge    judging // of the commit
}

var _ Reader = (*Tx)(nil)

// maxTracked is how many bytes a transaction takes at most to remember what it has read: 8 for a key,
// and about 50 and its bounds for a range.
const maxTracked = 64 << 20

// txLimits are constants, but for tests.
type txLimits struct{ tracked, own int64 }

// transactions are what a store has for them.
type transactions struct {
	conflicts *conflict.List
	turns     *turns
	lanes     *lanes
}

func newTransactions() transactions {
	return transactions{conflicts: conflict.New(), turns: newTurns(), lanes: newLanes()}
}

// Begin starts a transaction on the state after the last commit. It waits as little as Snapshot does.
func (s *Store) Begin() (*Tx, error) {
	rank.AssertNone("Begin")
	tx := newTx(s)
	tx.made = callersOf()
	if err := tx.start(); err != nil {
		return nil, err
	}
	tx.cleanup = expectClose(tx, tx.snapshot.hold)
	return tx, nil
}

// newTx makes a transaction that has not started: it has no snapshot yet.
func newTx(s *Store) *Tx {
	return &Tx{store: s, limits: txLimits{maxTracked, MaxBatchSize}}
}

// start captures the snapshot. Update starts a transaction with its first read.
func (tx *Tx) start() error {
	s := tx.store
	h := &hold{made: tx.made, earliest: math.MaxInt64}
	// Each write is published before this, or the list of conflicts gets it. So it gets everything
	// that the snapshot, which follows, does not have.
	s.catalog.Publishing.Lock()
	s.txs.conflicts.Begin(&h.mark, s.log.Published.Load())
	s.catalog.Publishing.Unlock()
	var err error
	if h.instant, err = s.instant(); err == nil {
		h.firstExpiry = &h.earliest
		err = h.list()
	}
	if err != nil {
		s.txs.conflicts.End(&h.mark)
		return err
	}
	tx.snapshot.hold = h
	return nil
}

// usable starts the transaction, unless it has started. It returns why it cannot be used, nil if it can.
func (tx *Tx) usable() error {
	if tx.snapshot.hold == nil && !tx.done {
		return tx.fail(tx.start())
	}
	return tx.ended()
}

// ended returns why the transaction has ended, nil if it has not.
func (tx *Tx) ended() error {
	switch {
	case tx.done:
		return ErrDone
	case tx.snapshot.hold != nil:
		return tx.snapshot.hold.err()
	case tx.store.closed.Load():
		return ErrClosed
	}
	return nil
}

// fail notes an error after which the transaction cannot commit, and returns it.
func (tx *Tx) fail(err error) error {
	if tx.err == nil && err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrDone) {
		tx.err = err
	}
	return err
}

// Rollback ends the transaction, and forgets its writes. It does nothing after Commit, and may be
// called more than once.
func (tx *Tx) Rollback() { tx.end() }

// end ends the transaction.
func (tx *Tx) end() {
	if tx.done {
		return
	}
	tx.done = true
	for _, m := range tx.open {
		m.base.Close()
	}
	if h := tx.snapshot.hold; h != nil {
		tx.store.txs.conflicts.End(&h.mark)
		tx.snapshot.Close()
		tx.cleanup.Stop()
	}
	if tx.lane != nil {
		tx.lane.leave()
	}
	tx.own, tx.reads, tx.open = ownWrites{}, conflict.Reads{}, nil
}

// Commit makes the transaction's writes, all or nothing, and ends it, whatever it returns. After
// ErrConflict nothing of it is visible, ever. Other errors are those of Store.Write, or the first one
// that a call of the transaction returned. Times to live begin with Commit.
func (tx *Tx) Commit() error { return tx.commit(nil) }

// commit is Commit of the one whose turn it may be.
func (tx *Tx) commit(own *turn) error {
	s := tx.store
	if s.events.watchesSlow() {
		defer s.timed("Commit", time.Now())
	}
	if err := tx.ended(); err != nil {
		return err
	}
	defer tx.end()
	if tx.err != nil {
		return tx.err
	}
	if len(tx.own.list) == 0 {
		return nil
	}
	for _, m := range tx.open {
		m.noteRange()
	}
	if tx.err != nil {
		return tx.err // the last range was too much
	}
	tx.reads.Settle()
	s.txs.turns.await(own, s.stop)
	if err := s.beginWrite(); err != nil {
		return err
	}
	defer s.endWrite()
	return tx.write()
}

// drafts are drafts that no transaction uses.
var drafts = sync.Pool{New: func() any { return new(segment.Draft) }}

// maxJudged bounds how often a commit is judged. Each time but the last, more was written between
// two looks than may be looked at while everybody waits.
const maxJudged = 100

// write makes the writes, if what was read still holds.
func (tx *Tx) write() error {
	s := tx.store
	draft := drafts.Get().(*segment.Draft)
	defer func() { draft.Reset(); drafts.Put(draft) }()
	tx.own.draft(draft, s.now())
	if tx.reads.Empty() {
		return s.log.Write(draft)
	}
	c := &tx.judge
	*c = judging{tx: tx, check: conflict.NewCheck(s.txs.conflicts, &tx.snapshot.hold.mark, &tx.reads, tx.snapshot.Seq())}
	for range maxJudged {
		if c.check.Ahead() == conflict.Broken {
			break
		}
		done, err := s.log.WriteIf(c, draft)
		if done || err != nil {
			return err
		}
		if c.verdict == conflict.Broken {
			break
		}
	}
	return ErrConflict
}

// judging is the condition of a commit: what the transaction has read still holds.
type judging struct {
	tx      *Tx
	check   conflict.Check
	verdict conflict.Verdict
}

// Depends reports whether a key was read.
func (c *judging) Depends(fp index.Fingerprint, key []byte) bool {
	return c.tx.reads.Has(fp.Hash, key)
}

// Holds reports whether what was read has neither been written since nor expired.
func (c *judging) Holds() bool {
	c.verdict = conflict.Broken
	if earliest := c.tx.snapshot.hold.earliest; earliest == math.MaxInt64 || c.tx.store.now().UnixMilli() < earliest {
		c.verdict = c.check.Now()
	}
	return c.verdict == conflict.Holds
}

// tooMuchRead is the error of a transaction that cannot remember all that it has read.
func (tx *Tx) tooMuchRead() error {
	return fmt.Errorf("%w: what the transaction has read takes more than %d bytes to remember", ErrTooLarge, tx.limits.tracked)
}
