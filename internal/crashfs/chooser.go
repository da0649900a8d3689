package crashfs

// Chooser decides what a power cut leaves. One that always returns 0 keeps the least, one that
// always returns n-1 the most. A *rand.Rand of math/rand is a Chooser.
type Chooser interface {
	// Intn returns a number in [0, n).
	Intn(n int) int
}

// ChooserFunc adapts a function to a Chooser, for instance a draw from rapid.
type ChooserFunc func(n int) int

// Intn calls the function.
func (choose ChooserFunc) Intn(n int) int { return choose(n) }

// The two ends of what can happen.
var (
	KeepNothing Chooser = ChooserFunc(func(int) int { return 0 })       // only what was synced
	KeepAll     Chooser = ChooserFunc(func(n int) int { return n - 1 }) // everything, as if it had been synced
)

// Random returns a Chooser that makes the same choices for the same seed.
func Random(seed uint64) Chooser { return &random{seed} }

type random struct{ state uint64 }

func (r *random) Intn(n int) int { return int(r.next() % uint64(n)) }

// next is a step of SplitMix64.
func (r *random) next() uint64 {
	r.state += 0x9e3779b97f4a7c15
	z := r.state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// minWidth lets an Enumerator try every way.
const minWidth = int(waysCount)

// Enumerator tries every sequence of choices, one sequence a round. The range of a choice must
// depend only on the choices before it in the same round.
//
//	for e := crashfs.Enumerate(16); e.Next(); {
//		state := disk.PowerCut(e)
//		…
//	}
type Enumerator struct {
	width    int
	branches []branch // the choices of this round
	at       int      // how many of them have been made
	begun    bool
}

// branch is a choice among n possibilities, count of which are tried.
type branch struct{ n, count, index int }

// Enumerate returns an Enumerator. Where a choice has more than width possibilities, it tries
// only width of them: the first, the last and some in between. A width below 7 counts as 7.
func Enumerate(width int) *Enumerator {
	return &Enumerator{width: max(width, minWidth)}
}

// Next begins a round. It returns false when no round is left.
func (e *Enumerator) Next() bool {
	e.at = 0
	if !e.begun {
		e.begun = true
		return true
	}
	for len(e.branches) > 0 {
		last := &e.branches[len(e.branches)-1]
		if last.index++; last.index < last.count {
			return true
		}
		e.branches = e.branches[:len(e.branches)-1]
	}
	return false
}

// Intn makes one choice of the round.
func (e *Enumerator) Intn(n int) int {
	if e.at == len(e.branches) {
		e.branches = append(e.branches, branch{n: n, count: min(n, e.width)})
	}
	b := e.branches[e.at]
	if b.n != n {
		panic("crashfs: an enumerated choice depends on something other than the choices before it")
	}
	e.at++
	if b.count == n {
		return b.index
	}
	return b.index * (n - 1) / (b.count - 1)
}
