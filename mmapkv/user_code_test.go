package mmapkv

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mmapkv/mmapkv/internal/invariant"
	"github.com/mmapkv/mmapkv/internal/rank"
)

// userCode has an entry for every place where the public API takes code of its user.
// Each calls that code through a method. The names are those of the declarations.
var userCode = map[string]func(t *testing.T, s *Store){
	"Store.View": func(t *testing.T, s *Store) {
		_ = s.View([]byte("a"), func([]byte) error { return nil })
	},
	"Store.GetMany": func(t *testing.T, s *Store) {
		_ = s.GetMany([][]byte{[]byte("absent")}, func(int, []byte, error) error { return nil })
	},
	"Store.Range": func(t *testing.T, s *Store) {
		_ = s.Range(func([]byte, []byte) error { return nil })
	},
	"Store.Keys": func(t *testing.T, s *Store) {
		for range s.Keys() {
		}
	},
	"Store.Scan": func(t *testing.T, s *Store) {
		_ = s.Scan(ScanOptions{}, func([]byte, []byte) error { return nil })
		_ = s.Scan(ScanOptions{KeysOnly: true}, func([]byte, []byte) error { return nil })
	},
	"Iterator.View": atFirst(func(it *Iterator) { _ = it.View(func([]byte) error { return nil }) }),
	"Iterator.Pairs": atFirst(func(it *Iterator) {
		for range it.Pairs() {
		}
	}),
	"Snapshot.View": ofSnapshot(func(n *Snapshot) { _ = n.View([]byte("a"), func([]byte) error { return nil }) }),
	"Snapshot.GetMany": ofSnapshot(func(n *Snapshot) {
		_ = n.GetMany([][]byte{[]byte("absent")}, func(int, []byte, error) error { return nil })
	}),
	"Snapshot.Scan":     ofSnapshot(func(n *Snapshot) { _ = n.Scan(ScanOptions{}, func([]byte, []byte) error { return nil }) }),
	"Store.Update":      func(t *testing.T, s *Store) { _ = s.Update(t.Context(), func(*Tx) error { return nil }) },
	"Tx.View":           ofTx(func(tx *Tx) { viewsA(tx) }),
	"Tx.GetMany":        ofTx(func(tx *Tx) { asksForAbsent(tx) }),
	"Tx.Scan":           ofTx(func(tx *Tx) { scansAll(tx) }),
	"merged.View":       ofMerged(func(it *Iterator) { _ = it.View(func([]byte) error { return nil }) }),
	"untracked.View":    ofTx(func(tx *Tx) { viewsA(tx.Untracked()) }),
	"untracked.GetMany": ofTx(func(tx *Tx) { asksForAbsent(tx.Untracked()) }),
	"untracked.Scan":    ofTx(func(tx *Tx) { scansAll(tx.Untracked()) }),
	"Store.Compact":     func(t *testing.T, s *Store) { _ = s.Compact(t.Context()) },
	"Store.Verify":      func(t *testing.T, s *Store) { _, _ = s.Verify(t.Context()) },
	"Store.DeleteRange": func(t *testing.T, s *Store) {
		_ = s.DeleteRange(t.Context(), []byte("none"), []byte("none"))
	},
	"Batch.Each": func(t *testing.T, s *Store) {
		var b Batch
		b.Put(nil, nil)
		_ = b.Each(func([]byte, []byte, time.Duration) error { return nil }, func([]byte) error { return nil })
	},
	"Store.Ready": func(t *testing.T, s *Store) { _ = s.Ready(t.Context()) },
	"Verify": func(t *testing.T, s *Store) {
		_, _ = Verify(t.Context(), s.path, &VerifyOptions{Progress: func(done, total int64) {}})
	},
	"VerifyOptions.Progress": func(t *testing.T, s *Store) {
		_, _ = Verify(t.Context(), s.path, &VerifyOptions{Progress: func(done, total int64) {}})
	},
	"Salvage": func(t *testing.T, s *Store) {
		_, _ = Salvage(t.Context(), copyDir(t, s.path), "", &SalvageOptions{DryRun: true, Progress: func(done, total int64) {}})
	},
	"SalvageOptions.Progress": func(t *testing.T, s *Store) {
		_, _ = Salvage(t.Context(), copyDir(t, s.path), "", &SalvageOptions{DryRun: true, Progress: func(done, total int64) {}})
	},
	"Options.Logger": func(t *testing.T, s *Store) {
		delivers(Events{}, slog.New(slog.DiscardHandler), func(n *notifier) { n.message(slog.LevelInfo, "text") })
	},
	"Events.CompactionStarted": eventCode, "Events.CompactionEnded": eventCode, "Events.Rotated": eventCode,
	"Events.Recovered": eventCode, "Events.SlowOperation": eventCode, "Events.CorruptionFound": eventCode,
	"Events.WriteStalled": eventCode, "Events.SpaceLow": eventCode,
	"Events.Loaded": eventCode, "Events.SnapshotOld": eventCode,
	"VerifyNamespace": nil, // it is Verify of another directory
}

// atFirst returns a call of use with an Iterator that stands at the first pair. The first call with
// a store makes the Iterator, which needs locks.
func atFirst(use func(it *Iterator)) func(t *testing.T, s *Store) {
	var it *Iterator
	return func(t *testing.T, s *Store) {
		if it == nil || it.store != s {
			it = iterator(t, s, ScanOptions{})
		}
		it.First()
		use(it)
	}
}

// ofSnapshot returns a call of use with a Snapshot. The first call with a store makes it, which needs
// locks.
func ofSnapshot(use func(n *Snapshot)) func(t *testing.T, s *Store) {
	var n *Snapshot
	return func(t *testing.T, s *Store) {
		if n == nil || n.hold.store != s {
			n = snapshot(t, s)
		}
		use(n)
	}
}

// ofTx returns a call of use with a transaction. The first call with a store begins it, which needs
// locks.
func ofTx(use func(tx *Tx)) func(t *testing.T, s *Store) {
	var tx *Tx
	return func(t *testing.T, s *Store) {
		if tx == nil || tx.store != s {
			var err error
			if tx, err = s.Begin(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(tx.Rollback)
		}
		use(tx)
	}
}

// ofMerged returns a call of use with an Iterator of a transaction that stands at the first pair.
func ofMerged(use func(it *Iterator)) func(t *testing.T, s *Store) {
	var of *Tx
	var it *Iterator
	return ofTx(func(tx *Tx) {
		if of != tx {
			of = tx
			var err error
			if it, err = tx.Iterator(ScanOptions{}); err != nil || !it.First() {
				panic("there is no pair")
			}
		}
		use(it)
	})
}

func viewsA(r Reader) { _ = r.View([]byte("a"), func([]byte) error { return nil }) }

func asksForAbsent(r Reader) {
	_ = r.GetMany([][]byte{[]byte("absent")}, func(int, []byte, error) error { return nil })
}

func scansAll(r Reader) { _ = r.Scan(ScanOptions{}, func([]byte, []byte) error { return nil }) }

func eventCode(t *testing.T, s *Store) {
	delivers(recordAll(new([]any)), nil, func(n *notifier) { oneOfEach(n) })
}

// delivers makes this goroutine deliver the events that it tells.
func delivers(e Events, log *slog.Logger, tell func(n *notifier)) {
	n := newNotifier(e, log)
	n.delivering = true
	defer func() { n.waiting = nil }() // else another goroutine delivers the rest after a panic
	tell(n)
	n.deliver()
}

// heldLocks are all the locks, but only one of the leaves.
var heldLocks = map[string]struct{ acquire, release func() }{
	"Store.closing":           {rank.Acquire[rank.Closing], rank.Release[rank.Closing]},
	"Store.running":           {rank.Acquire[rank.Background], rank.Release[rank.Background]},
	"Store.writing":           {rank.Acquire[rank.InFlight], rank.Release[rank.InFlight]},
	"leadership of Log.group": {rank.Acquire[rank.Leadership], rank.Release[rank.Leadership]},
	"Compactor.Compacting":    {rank.Acquire[rank.Compacting], rank.Release[rank.Compacting]},
	"Log.Maintenance":         {rank.Acquire[rank.Maintenance], rank.Release[rank.Maintenance]},
	"Syncer.syncing":          {rank.Acquire[rank.Syncing], rank.Release[rank.Syncing]},
	"Manifest.Mu":             {rank.Acquire[rank.Manifest], rank.Release[rank.Manifest]},
	"FileList.Mu":             {rank.Acquire[rank.Files], rank.Release[rank.Files]},
	"KeyDir.growing":          {rank.Acquire[rank.Growing], rank.Release[rank.Growing]},
	"page.mu":                 {rank.Acquire[rank.Page], rank.Release[rank.Page]},
	"walks.mu":                {rank.Acquire[rank.Walks], rank.Release[rank.Walks]},
}

// TestUserCodeUnderALockIsNoticed: with the tag invariants, a store that calls code of
// its user while it holds a lock panics and names the lock.
func TestUserCodeUnderALockIsNoticed(t *testing.T) {
	s := open(t, t.TempDir(), byHand())
	put(t, s, "a", "value")
	for name, call := range userCode {
		if call == nil {
			continue
		}
		call(t, s) // does not panic: no lock is held
		for lock, l := range heldLocks {
			l.acquire()
			got := complaint(func() { call(t, s) })
			l.release()
			if noticed := strings.Contains(got, "under "+lock); noticed != invariant.Enabled {
				t.Errorf("%s under %s: %q", name, lock, got)
			}
		}
	}
}

// complaint is what fn panics with, "" if it returns.
func complaint(fn func()) (text string) {
	defer func() {
		if r := recover(); r != nil {
			text = fmt.Sprint(r)
		}
	}()
	fn()
	return ""
}

// TestAllUserCodeIsInTheTable: the table above has every exported function that
// takes code of its user or returns an iterator, and every exported field that holds
// such code.
func TestAllUserCodeIsInTheTable(t *testing.T) {
	found := map[string]bool{}
	for _, f := range parsed(t) {
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && (hasCode(d.Type.Params) || hasCode(d.Type.Results)) {
					found[receiver(d)+d.Name.Name] = true
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					codeFields(spec, found)
				}
			}
		}
	}
	if len(found) < 10 {
		t.Fatalf("only %d places were found", len(found))
	}
	for name := range found {
		if _, ok := userCode[name]; !ok {
			t.Errorf("%s is not in the table", name)
		}
	}
	for name := range userCode {
		if !found[name] {
			t.Errorf("%s is in the table, and is not there", name)
		}
	}
}

// codeFields finds the exported fields of a struct that hold code.
func codeFields(spec ast.Spec, found map[string]bool) {
	named, ok := spec.(*ast.TypeSpec)
	if !ok || !named.Name.IsExported() {
		return
	}
	body, ok := named.Type.(*ast.StructType)
	if !ok {
		return
	}
	for _, field := range body.Fields.List {
		for _, name := range field.Names {
			if name.IsExported() && isCode(field.Type) {
				found[named.Name.Name+"."+name.Name] = true
			}
		}
	}
}

// parsed is the files of the package and those that patterns name, without tests.
func parsed(t *testing.T, patterns ...string) map[string]*ast.File {
	files := map[string]*ast.File{}
	var names []string
	for _, pattern := range append(patterns, "*.go") {
		some, err := filepath.Glob(pattern)
		if err != nil || len(some) == 0 {
			t.Fatal(pattern, some, err)
		}
		names = append(names, some...)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = f
	}
	return files
}

func receiver(d *ast.FuncDecl) string {
	if d.Recv == nil {
		return ""
	}
	star, ok := d.Recv.List[0].Type.(*ast.StarExpr)
	if !ok {
		return d.Recv.List[0].Type.(*ast.Ident).Name + "."
	}
	return star.X.(*ast.Ident).Name + "."
}

func hasCode(list *ast.FieldList) bool {
	return list != nil && slices.ContainsFunc(list.List, func(f *ast.Field) bool { return isCode(f.Type) })
}

// isCode tells whether a type is a function, or a type of another package whose
// methods a user may have written.
func isCode(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.FuncType:
		return true
	case *ast.StarExpr:
		return isCode(e.X)
	case *ast.IndexExpr:
		return isCode(e.X)
	case *ast.IndexListExpr:
		return isCode(e.X)
	case *ast.SelectorExpr:
		from, ok := e.X.(*ast.Ident)
		name := from.Name + "." + e.Sel.Name
		return ok && slices.Contains([]string{"context.Context", "iter.Seq", "iter.Seq2", "slog.Logger", "slog.Handler"}, name)
	}
	return false
}

// TestOnlyTheNotifierLogs: no other part uses the logger.
func TestOnlyTheNotifierLogs(t *testing.T) {
	uses := map[string]int{}
	for name, f := range parsed(t, "internal/*/*.go") {
		ast.Inspect(f, func(n ast.Node) bool {
			if selector, ok := n.(*ast.SelectorExpr); ok && (selector.Sel.Name == "Logger" || selector.Sel.Name == "logger") {
				uses[name]++
			}
			return true
		})
	}
	for _, may := range []string{"options.go", "store.go", "notifier.go"} { // they declare, pass and use it
		if uses[may] == 0 {
			t.Errorf("%s does not mention the logger: this test looks for the wrong thing", may)
		}
		delete(uses, may)
	}
	if len(uses) > 0 {
		t.Errorf("the logger is used in %v", uses)
	}
}

// reentrantContext is a context of a user's own type. Its methods call the store.
type reentrantContext struct {
	context.Context
	t     *testing.T
	store *Store
	calls atomic.Int64
}

func (c *reentrantContext) enter() {
	rank.AssertNone("a method of the test's context")
	if c.calls.Add(1) > mostReentries {
		return
	}
	if err := c.store.Put([]byte("from the context"), make([]byte, 100)); err != nil && !errors.Is(err, ErrClosed) {
		c.t.Error(err)
	}
	_ = c.store.Stats()
	_ = c.store.Compact(context.Background())
}

func (c *reentrantContext) Done() <-chan struct{} { c.enter(); return c.Context.Done() }
func (c *reentrantContext) Err() error            { c.enter(); return c.Context.Err() }
func (c *reentrantContext) Value(key any) any     { c.enter(); return c.Context.Value(key) }

// TestContextMayCallTheStore: a context of a user's own type may use the store, and
// still cancels the call that it was passed to.
func TestContextMayCallTheStore(t *testing.T) {
	for name, call := range map[string]func(ctx context.Context, s *Store) error{
		"Compact": func(ctx context.Context, s *Store) error { return s.Compact(ctx) },
		"Store.Verify": func(ctx context.Context, s *Store) error {
			_, err := s.Verify(ctx)
			return err
		},
		"Verify": func(ctx context.Context, s *Store) error {
			_, err := Verify(ctx, s.path, nil)
			return err
		},
		"Salvage": func(ctx context.Context, s *Store) error {
			_, err := Salvage(ctx, killed(t, s, s.path), "", &SalvageOptions{DryRun: true})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			hangs := time.AfterFunc(time.Minute, func() { panic(t.Name() + ": the store hangs") })
			defer hangs.Stop()
			s := open(t, t.TempDir(), tiny())
			putSome(s, 200)
			putSome(s, 100)
			ctx, cancel := context.WithCancel(t.Context())
			users := &reentrantContext{Context: ctx, t: t, store: s}
			if err := call(users, s); err != nil {
				t.Errorf("with a context that goes on: %v", err)
			}
			if users.calls.Load() == 0 {
				t.Error("the context was not asked")
			}
			cancel()
			if err := call(users, s); !errors.Is(err, context.Canceled) {
				t.Errorf("with one that has ended: %v", err)
			}
			closeStore(t, s)
		})
	}
}
