package index

// Loader puts keys into a KeyDir. Several Loaders, each in its own goroutine, are faster than goroutines that call Put,
// because a Loader adds its keys to the shared count only occasionally. Done adds the rest.
type Loader struct {
	keys      *KeyDir
	uncounted int64 // keys not yet added to the shared count
}

// countEvery is the most keys that a Loader puts before it counts them: far fewer than are put between two splits.
const countEvery = 256

// Loader returns a Loader.
func (d *KeyDir) Loader() Loader { return Loader{keys: d} }

// PutNewer sets the location of a fingerprint unless its current location is greater. While a store loads, the higher
// slot, or in the same slot the higher offset, is the newer record, in whatever order the records come. loser is the
// location that was dropped, NoLocation if there was only one. replaced reports whether the loser is the previous
// location. If both are equal, the loser is the new one.
func (l *Loader) PutNewer(fp Fingerprint, location Location) (loser Location, replaced bool) {
	s := l.keys.lockSlot(fp)
	switch {
	case location > s.old:
		l.keys.setLocked(s, location)
		s.page.mu.Unlock()
		if l.uncounted += s.keyDelta(location); l.uncounted >= min(countEvery, l.keys.pageKeys) {
			l.Done()
		}
		return s.old, s.old != NoLocation
	default:
		s.page.mu.Unlock()
		return location, false
	}
}

// Done adds the remaining keys to the shared count.
func (l *Loader) Done() {
	l.keys.live.Add(l.uncounted)
	l.uncounted = 0
	for l.keys.grow() {
	}
}
