package rank

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/mmapkv/mmapkv/internal/invariant"
)

// complaint returns what fn panics with, "" if it returns.
func complaint(fn func()) (text string) {
	defer func() {
		if r := recover(); r != nil {
			text = fmt.Sprint(r)
		}
	}()
	fn()
	return ""
}

// wants checks a complaint. While assertions are disabled there must be none.
func wants(t *testing.T, want string, fn func()) {
	t.Helper()
	if !invariant.Enabled {
		want = ""
	}
	if got := complaint(fn); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestLocksAreTakenInOrder(t *testing.T) {
	var files Mutex[Files]
	var manifest Mutex[Manifest]
	var other Mutex[Manifest]
	var page Mutex[Page]
	var scrubs Mutex[Scrubs]
	var space Mutex[Space]
	none := func() { AssertNone("a callback") }
	wants(t, "", func() {
		manifest.Lock()
		files.Lock()
		page.Lock()
		files.Unlock() // in any order
		page.Unlock()
		manifest.Unlock()
		none()
	})
	files.Lock()
	wants(t, "invariant: Manifest.Mu is taken under FileList.Mu", manifest.Lock)
	wants(t, "invariant: Compactor.Compacting is taken under FileList.Mu", Acquire[Compacting])
	wants(t, "invariant: a callback is called under FileList.Mu", none)
	files.Unlock()
	if !invariant.Enabled {
		return // nothing refused the locks above, so they are still held
	}
	manifest.Lock()
	wants(t, "invariant: Manifest.Mu is taken under Manifest.Mu", other.Lock)
	page.Lock()
	scrubs.Lock()
	wants(t, "invariant: Space.Mu is taken under Scrubber.mu", space.Lock)
	wants(t, "invariant: a callback is called under Manifest.Mu and page.mu and Scrubber.mu", none)
	scrubs.Unlock()
	page.Unlock()
	manifest.Unlock()
	wants(t, "invariant: page.mu is released by a goroutine that does not hold it", page.Unlock)
	none()
}

func TestTryLockCountsWhenItLocks(t *testing.T) {
	var growing Mutex[Growing]
	if !growing.TryLock() {
		t.Fatal("a free lock")
	}
	wants(t, "invariant: a callback is called under KeyDir.growing", func() { AssertNone("a callback") })
	var group sync.WaitGroup
	group.Go(func() {
		if growing.TryLock() {
			t.Error("locked twice")
		}
		AssertNone("another goroutine's callback")
	})
	group.Wait()
	growing.Unlock()
	AssertNone("a callback")
}

func TestUnheldHoldsNothingMeanwhile(t *testing.T) {
	var files Mutex[Files]
	files.Lock()
	Unheld(func() {
		AssertNone("a test")
		Acquire[Leadership]()
		Release[Leadership]()
	})
	wants(t, "invariant: a callback is called under FileList.Mu", func() { AssertNone("a callback") })
	files.Unlock()
}

func TestGoroutinesHoldTheirOwn(t *testing.T) {
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() {
			var files Mutex[Files]
			var page Mutex[Page]
			for range 1000 {
				AssertNone("a callback")
				files.Lock()
				page.Lock()
				files.Unlock()
				page.Unlock()
			}
		})
	}
	group.Wait()
}

// TestOrderIsThatOfTheDocumentation: every lock has a name, and the names stand in the list in
// mmapkv/doc.go in the same order.
func TestOrderIsThatOfTheDocumentation(t *testing.T) {
	text, err := os.ReadFile("../../mmapkv/doc.go")
	if err != nil {
		t.Fatal(err)
	}
	_, list, found := strings.Cut(string(text), "// # Locks\n")
	if !found {
		t.Fatal("mmapkv/doc.go has no list of locks")
	}
	for l, name := range names {
		if name == "" {
			t.Errorf("lock %d has no name", l)
		}
		_, after, found := strings.Cut(list, name)
		if !found {
			t.Errorf("%s is not in the list of locks, or not in the order of ranks", name)
			continue
		}
		if level(l) < firstLeaf {
			list = after
		}
	}
}
