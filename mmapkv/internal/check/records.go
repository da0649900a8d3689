package check

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"github.com/mmapkv/mmapkv/internal/vfs"
	"github.com/mmapkv/mmapkv/mmapkv/internal/failure"
	"github.com/mmapkv/mmapkv/mmapkv/internal/pace"
	"github.com/mmapkv/mmapkv/mmapkv/internal/patient"
	"github.com/mmapkv/mmapkv/segment"
)

// coldPart is a part of a file. If less than that is in the page cache, a check takes the
// file out of the page cache when it is done.
const coldPart = 0.1

const badRecord = "no valid record is here"

// recordCheck checks every record of a file with a known end, and its hint against them.
type recordCheck struct {
	reader    *patient.Reader
	pacer     *pace.Pacer
	name      string
	info      segment.SegmentInfo
	dataStart int64
	size      int64          // of the file
	after     uint64         // the number that the log had reached before the file
	hint      *segment.Table // nil if there is none to compare with
	found     func(Damage)   // called for each damage

	records int
	at      *segment.Cursor  // of the hint
	last    uint64           // the number of the previous record
	follows bool             // nothing is lost since the previous record
	lost    []segment.Damage // ranges that cannot be read, in order of offset
	seen    []uint64         // a bit for each entry of the hint, set if its record is there
}

// run checks the file, and leaves about as much of it in the page cache as it found
// there.
func (c *recordCheck) run() error {
	cold := vfs.Resident(c.reader.File, c.size) < coldPart
	err := c.check()
	if cold {
		vfs.Evict(c.reader.File)
	}
	return err
}

func (c *recordCheck) check() error {
	c.last, c.follows = c.after, false
	if c.hint != nil {
		c.seen, c.at = make([]uint64, c.hint.Len()/64+1), c.hint.Cursor()
	}
	end := c.info.End
	err := segment.Scan(c.reader, c.info.Salt, c.dataStart, end.Offset, c.record, c.damage)
	if err != nil {
		return err
	}
	if c.size < end.Offset && c.lostEnd() < end.Offset {
		c.found(Damage{Kind: DamagedRange, File: c.name, Offset: c.size, Size: end.Offset - c.size,
			Reason: fmt.Sprintf("the file ends here and not at %d", end.Offset)})
	}
	if c.info.Kind == segment.Log && c.last < end.Seq && c.lostEnd() < end.Offset {
		c.disorder(end.Offset, nil, fmt.Sprintf("the file ends with record %d and not with %d", c.last, end.Seq))
	}
	if c.hint != nil {
		c.compareRest()
	}
	return nil
}

// disorder reports a sequence number that does not go on from the previous one.
func (c *recordCheck) disorder(offset int64, key []byte, reason string) {
	c.found(Damage{Kind: DamagedOrder, File: c.name, Offset: offset, Key: cloneKey(key), Reason: reason})
}

// cloneKey copies a key. An unknown key stays nil, and the empty key does not become nil.
func cloneKey(key []byte) []byte {
	if key == nil {
		return nil
	}
	return append([]byte{}, key...)
}

// lostEnd is where the last unreadable range ends, 0 if there is none.
func (c *recordCheck) lostEnd() int64 {
	if len(c.lost) == 0 {
		return 0
	}
	d := c.lost[len(c.lost)-1]
	return d.Offset + d.Length
}

// damage takes a range that holds no valid record.
func (c *recordCheck) damage(d segment.Damage) {
	c.lost = append(c.lost, d)
	c.follows = false
	c.found(Damage{Kind: DamagedRange, File: c.name, Offset: d.Offset, Size: d.Length, Reason: c.reader.Why(d.Offset, d.Length, badRecord)})
}

// record takes a valid record, whose value may be damaged.
func (c *recordCheck) record(e segment.Entry) {
	c.records++
	switch {
	case e.Seq <= c.last:
		c.disorder(e.Offset, e.Key, fmt.Sprintf("record %d comes behind record %d", e.Seq, c.last))
	case c.info.Kind == segment.Log && c.follows && e.Seq != c.last+1:
		c.disorder(e.Offset, e.Key, fmt.Sprintf("record %d comes just behind record %d", e.Seq, c.last))
	case e.Seq > c.info.End.Seq:
		c.disorder(e.Offset, e.Key, fmt.Sprintf("record %d is in a file that ends with %d", e.Seq, c.info.End.Seq))
	}
	c.last, c.follows = e.Seq, true
	if !e.ValueOK {
		c.found(Damage{Kind: DamagedValue, File: c.name, Offset: e.Offset, Size: e.Size, Key: cloneKey(e.Key),
			Reason: c.reader.Why(e.Offset, e.Size, failure.BadValue)})
	}
	if c.hint != nil {
		c.compare(&e)
	}
	c.pacer.Rest(e.Size)
}

// compare looks a record up in the hint, which has the newest record of each key.
func (c *recordCheck) compare(e *segment.Entry) {
	if !c.at.Seek(e.Key) || !bytes.Equal(c.at.Entry().Key, e.Key) {
		c.badHint(0, e.Key, fmt.Sprintf("it has no entry for the record at %d", e.Offset))
		return
	}
	entry, i := c.at.Entry(), c.at.Index()
	switch {
	case entry.Seq > e.Seq:
		return // the record is an older one of its key
	case entry.Seq < e.Seq:
		c.badHint(c.at.Place(), e.Key, fmt.Sprintf("the entry is of record %d, but there is a newer one, %d, at %d", entry.Seq, e.Seq, e.Offset))
	case entry.Offset != e.Offset || entry.Size != e.Size || entry.Flags != e.Flags&segment.HintFlags || entry.Expiry != e.Expiry:
		c.badHint(c.at.Place(), e.Key, fmt.Sprintf("the entry is not that of the record at %d", e.Offset))
	}
	c.seen[i/64] |= 1 << (i % 64)
}

// badHint reports the entry at a place in the hint, or the whole hint if the place is 0.
func (c *recordCheck) badHint(place int64, key []byte, reason string) {
	c.found(Damage{Kind: WrongHint, File: segment.HintName(c.info.ID), Offset: place, Key: cloneKey(key), Reason: reason})
}

// compareRest looks at the entries of the hint whose records were not found. Where no
// record can be read, the entry still knows the key.
func (c *recordCheck) compareRest() {
	for more := c.at.First(); more; more = c.at.Next() {
		if i := c.at.Index(); c.seen[i/64]&(1<<(i%64)) != 0 {
			continue
		}
		e := c.at.Entry()
		if c.isLost(e.Offset) {
			c.found(Damage{Kind: DamagedRecord, File: c.name, Offset: e.Offset, Size: e.Size, Key: cloneKey(e.Key), Reason: badRecord})
		} else {
			c.badHint(c.at.Place(), e.Key, fmt.Sprintf("there is no record %d at %d", e.Seq, e.Offset))
		}
	}
	for _, d := range c.hint.Damages() {
		if !c.isLost(d.Offset) {
			c.found(Damage{Kind: WrongHint, File: segment.HintName(c.info.ID), Reason: fmt.Sprintf(
				"it calls %d bytes at %d damaged, and they can be read", d.Length, d.Offset)})
		}
	}
}

// isLost says whether an offset lies in an unreadable range.
func (c *recordCheck) isLost(offset int64) bool {
	i, found := slices.BinarySearchFunc(c.lost, offset, func(d segment.Damage, offset int64) int {
		return cmp.Compare(d.Offset, offset)
	})
	return found || i > 0 && offset-c.lost[i-1].Offset < c.lost[i-1].Length
}
