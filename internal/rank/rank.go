// Package rank gives every lock of the store its place in the lock order. It also checks that
// the store holds no lock when it calls its user's code.
//
// What must hold: a goroutine takes a lock only while it holds none of the same or a later
// rank. It never holds two leaves. It holds no lock when it calls AssertNone. Then no two
// goroutines wait for each other's locks, and a user's callback, logger or context cannot wait
// for a lock that its own caller holds. mmapkv/doc.go says what each lock is for.
//
// With the build tag `invariants`, a violation panics and names the locks. Without it Mutex is
// sync.Mutex, and the functions are empty.
//
// For a lock that is not a mutex, such as a token in a channel, the goroutine that holds it
// calls Acquire and Release. Work that others wait for, such as the writes in flight that Close
// waits for, counts as a held lock too.
package rank

// Rank is one of the types below, which are listed in lock order.
type Rank interface{ level() level }

type (
	// Closing is the first call of Store.Close.
	Closing struct{}
	// Background is a goroutine that Close waits for.
	Background struct{}
	// InFlight is a call that Close waits for.
	InFlight struct{}
	// Leadership is the leadership of fsync.Group.
	Leadership struct{}
	// Compacting is the token of Compactor.Compacting.
	Compacting struct{}
	// Maintenance is Log.Maintenance.
	Maintenance struct{}
	// Syncing is the token of fsync.Syncer.
	Syncing struct{}
	// Manifest is Manifest.Mu.
	Manifest struct{}
	// Sorting is source.sorting of package order.
	Sorting struct{}
	// Files is FileList.Mu.
	Files struct{}
	// Sweeping is Sweeper.sweeping.
	Sweeping struct{}
	// Publishing is Catalog.Publishing.
	Publishing struct{}
	// Growing is index.KeyDir.growing.
	Growing struct{}
	// Page is index.page.mu.
	Page struct{}
)

// The leaves: a goroutine that holds one of them takes no other lock.
type (
	Group       struct{} // fsync.Group.mu
	Syncer      struct{} // fsync.Syncer.mu
	Loading     struct{} // Loading.mu
	Tables      struct{} // tables.mu
	Reserve     struct{} // Reserve.mu
	Space       struct{} // Space.Mu
	Retired     struct{} // retired.mu
	Compactions struct{} // compactions.mu
	Scrubs      struct{} // Scrubber.mu
	Swept       struct{} // Swept.mu
	Notifier    struct{} // notifier.mu
	Walks       struct{} // walks.mu
	Holds       struct{} // holds.mu
	Walkers     struct{} // index.walkers.mu
	Order       struct{} // Order.mu
	Conflicts   struct{} // List.mu of package conflict
)

// level is a place in the lock order. Levels from firstLeaf on are leaves.
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
	sorting
	files
	sweeping
	publishing
	growing
	page

	firstLeaf
)

const (
	group = firstLeaf + iota
	syncer
	loading
	tables
	reserve
	space
	retired
	compactions
	scrubs
	swept
	notifier
	walks
	holds
	walkers
	order
	conflicts
)

// names are the names in mmapkv/doc.go.
var names = [...]string{
	closing: "Store.closing", background: "Store.running", inFlight: "Store.writing",
	leadership: "leadership of Log.group", compacting: "Compactor.Compacting", maintenance: "Log.Maintenance",
	syncing: "Syncer.syncing", manifest: "Manifest.Mu", sorting: "source.sorting", files: "FileList.Mu",
	sweeping: "Sweeper.sweeping", publishing: "Catalog.Publishing", growing: "KeyDir.growing", page: "page.mu",

	group: "Group.mu", syncer: "Syncer.mu", loading: "Loading.mu", tables: "tables.mu", reserve: "Reserve.mu", space: "Space.Mu", retired: "retired.mu",
	compactions: "compactions.mu", scrubs: "Scrubber.mu", swept: "Swept.mu", notifier: "notifier.mu",
	walks: "walks.mu", holds: "holds.mu", walkers: "walkers.mu", order: "Order.mu",
	conflicts: "List.mu",
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
func (Sorting) level() level     { return sorting }
func (Sweeping) level() level    { return sweeping }
func (Publishing) level() level  { return publishing }
func (Growing) level() level     { return growing }
func (Page) level() level        { return page }

func (Group) level() level       { return group }
func (Syncer) level() level      { return syncer }
func (Loading) level() level     { return loading }
func (Tables) level() level      { return tables }
func (Reserve) level() level     { return reserve }
func (Space) level() level       { return space }
func (Retired) level() level     { return retired }
func (Compactions) level() level { return compactions }
func (Scrubs) level() level      { return scrubs }
func (Swept) level() level       { return swept }
func (Notifier) level() level    { return notifier }
func (Walks) level() level       { return walks }
func (Holds) level() level       { return holds }
func (Walkers) level() level     { return walkers }
func (Order) level() level       { return order }
func (Conflicts) level() level   { return conflicts }
