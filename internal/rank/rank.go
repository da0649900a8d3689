// Package rank gives every lock of the store its place in the order in which they
// may be taken, and knows where none may be held: wherever the store calls code of
// its user.
//
// What must hold: a goroutine takes a lock only while it holds none of the same or
// a later rank, and no two leaves; and it holds none when it calls AssertNone.
// Then no two goroutines wait for each other's locks, and whatever a user's
// callback, logger or context does, it can wait for none that its own caller
// holds. What each lock is for is in mmapkv/doc.go.
//
// Built with the tag `invariants` a violation panics and names the locks. Without
// it Mutex is sync.Mutex, and the functions are empty.
//
// A lock that is no mutex, a token in a channel say, is told of by Acquire and
// Release, called by the goroutine that holds it. Those who are waited for, as
// Close waits for writes in flight, hold a lock in that sense too.
package rank

// Rank is one of the types below, in the order of the locks.
type Rank interface{ level() level }

type (
	// Closing is the first call of Store.Close.
	Closing struct{}
	// Background is a goroutine that Close waits for.
	Background struct{}
	// InFlight is a call that Close waits for.
	InFlight struct{}
	// Leadership is that of fsync.Group.
	Leadership struct{}
	// Compacting is the token of Store.compacting.
	Compacting struct{}
	// Maintenance is Store.maintenance.
	Maintenance struct{}
	// Syncing is the token of fsync.Syncer.
	Syncing struct{}
	// Manifest is manifestLog.mu.
	Manifest struct{}
	// Files is fileSet.mu.
	Files struct{}
	// Sweeping is expiry.sweeping.
	Sweeping struct{}
	// Growing is index.KeyDir.growing.
	Growing struct{}
	// Page is index.page.mu.
	Page struct{}
)

// The leaves: behind one of them no lock is taken.
type (
	Group       struct{} // fsync.Group.mu
	Syncer      struct{} // fsync.Syncer.mu
	Loading     struct{} // loading.mu
	Reserve     struct{} // reserve.mu
	Space       struct{} // space.mu
	Retired     struct{} // retiredFiles.mu
	Compactions struct{} // compactions.mu
	Scrubs      struct{} // scrubs.mu
	Swept       struct{} // sweptRecords.mu
	Notifier    struct{} // notifier.mu
	Walks       struct{} // walks.mu
	Walkers     struct{} // index.walkers.mu
)

// level is a place in the order. Those from firstLeaf on are leaves.
type level uint

const (
	closing level = iota
	background
	inFlight
	leadership
	compacting
	maintenance
	syncing
	manifest
	files
	sweeping
	growing
	page

	firstLeaf
)

const (
	group = firstLeaf + iota
	syncer
	loading
	reserve
	space
	retired
	compactions
	scrubs
	swept
	notifier
	walks
	walkers
)

// names are as mmapkv/doc.go has them.
var names = [...]string{
	closing: "Store.closing", background: "Store.running", inFlight: "Store.writing",
	leadership: "leadership of Store.group", compacting: "Store.compacting", maintenance: "Store.maintenance",
	syncing: "Syncer.syncing", manifest: "manifestLog.mu", files: "fileSet.mu",
	sweeping: "expiry.sweeping", growing: "KeyDir.growing", page: "page.mu",

	group: "Group.mu", syncer: "Syncer.mu", loading: "loading.mu", reserve: "reserve.mu", space: "space.mu", retired: "retiredFiles.mu",
	compactions: "compactions.mu", scrubs: "scrubs.mu", swept: "sweptRecords.mu", notifier: "notifier.mu",
	walks: "walks.mu", walkers: "walkers.mu",
}

func (Closing) level() level     { return closing }
func (Background) level() level  { return background }
func (InFlight) level() level    { return inFlight }
func (Leadership) level() level  { return leadership }
func (Compacting) level() level  { return compacting }
func (Maintenance) level() level { return maintenance }
func (Syncing) level() level     { return syncing }
func (Manifest) level() level    { return manifest }
func (Files) level() level       { return files }
func (Sweeping) level() level    { return sweeping }
func (Growing) level() level     { return growing }
func (Page) level() level        { return page }

func (Group) level() level       { return group }
func (Syncer) level() level      { return syncer }
func (Loading) level() level     { return loading }
func (Reserve) level() level     { return reserve }
func (Space) level() level       { return space }
func (Retired) level() level     { return retired }
func (Compactions) level() level { return compactions }
func (Scrubs) level() level      { return scrubs }
func (Swept) level() level       { return swept }
func (Notifier) level() level    { return notifier }
func (Walks) level() level       { return walks }
func (Walkers) level() level     { return walkers }
