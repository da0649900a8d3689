package conflict

// Check judges whether one transaction may commit. Make one with NewCheck. It is for one goroutine at a
// time.
type Check struct {
	list  *List
	mark  *Mark
	reads *Reads
	since uint64 // the reads have been compared with everything up to this number
	over  uint64 // the hash of the key that broke it
}

// Over returns the hash of the key that was written, if the Check is Broken; 0 if nobody knows.
func (k *Check) Over() uint64 { return k.over }

// Verdict is what a Check says.
type Verdict uint8

const (
	// Holds means that nothing has been written that was read.
	Holds Verdict = iota
	// Broken means that something has, or that the List has forgotten whether.
	Broken
	// Unknown means that too much has been written to be looked at inside the leadership.
	Unknown
)

// Inside is how many keys a Check looks at, at most, while everybody waits. That takes some tens of
// microseconds.
const Inside = 256

// aheadRounds bounds how often Ahead looks at what has been written while it looked.
const aheadRounds = 8

// NewCheck returns a Check of reads, which are settled. Everything that was read is the state after
// the record with the number seq, which was captured after the Mark began.
func NewCheck(l *List, m *Mark, reads *Reads, seq uint64) Check {
	return Check{list: l, mark: m, reads: reads, since: seq}
}

// byHash reports whether it is enough, and quick, to look up the hashes of the reads.
func (k *Check) byHash() bool { return len(k.reads.ranges) == 0 && len(k.reads.hashes) <= Inside }

// Ahead compares the reads with most of what has been written, outside the leadership, so that Now
// has little to do. It returns Unknown if Now has to decide.
func (k *Check) Ahead() Verdict {
	if k.byHash() {
		return Unknown
	}
	for range aheadRounds {
		upTo, verdict := k.list.reached(), Unknown
		for k.since < upTo && verdict == Unknown {
			verdict = k.slice()
		}
		if verdict == Broken {
			return Broken
		}
		if k.list.few(k.since) {
			break
		}
	}
	return Unknown
}

// slice looks at as many keys as Now may.
func (k *Check) slice() Verdict {
	k.list.mu.Lock()
	defer k.list.mu.Unlock()
	return k.walkLocked()
}

// Now decides, inside the leadership, where nothing is added meanwhile. It returns Unknown if there is
// too much to look at, and then has looked at some of it.
func (k *Check) Now() Verdict {
	if k.reads.Empty() {
		return Holds
	}
	k.list.mu.Lock()
	defer k.list.mu.Unlock()
	if !k.byHash() {
		return k.walkLocked()
	}
	if k.mark.lost {
		return Broken
	}
	for _, hash := range k.reads.hashes {
		if k.list.newest[hash] > k.since {
			k.over = hash
			return Broken
		}
	}
	return Holds
}

// walkLocked compares the reads with the keys above k.since, and raises that.
func (k *Check) walkLocked() Verdict {
	if k.mark.lost {
		return Broken
	}
	left := Inside
	for at := k.list.chunkAfterLocked(k.since); at < len(k.list.chunks); at++ {
		c := k.list.chunks[at]
		for i := c.after(k.since); i < len(c.entries); i++ {
			if left--; left < 0 {
				return Unknown
			}
			e := &c.entries[i]
			if !e.dead && k.reads.Has(e.hash, c.key(i)) {
				k.over = e.hash
				return Broken
			}
			k.since = e.seq
		}
	}
	return Holds
}

// reached returns the highest number in the List, 0 if it is empty.
func (l *List) reached() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reachedLocked()
}

func (l *List) reachedLocked() uint64 {
	if n := len(l.chunks); n > 0 {
		return l.chunks[n-1].lastSeq()
	}
	return 0
}

// few reports whether Now may look at all keys above a number, with some to spare.
func (l *List) few(seq uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for at := l.chunkAfterLocked(seq); at < len(l.chunks) && n <= Inside/4; at++ {
		c := l.chunks[at]
		n += len(c.entries) - c.after(seq)
	}
	return n <= Inside/4
}
