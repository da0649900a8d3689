package mmapkv

import (
	"cmp"
	"hash/maphash"
	"slices"

	"github.com/mmapkv/mmapkv/segment"
)

// versions is the newest record of each key, and the newest whose value cannot be
// read. A key is known by 128 bits of keyed hash.
type versions struct {
	hash     keyHash
	readable map[keyPrint]version
	damaged  map[keyPrint]damagedVersion
	kept     int // bytes of keys in damaged
}

type keyPrint [2]uint64

// version is where a record lies.
type version struct {
	seq  uint64
	file int32  // in salvage.sources; noFile: the key is gone
	unit uint32 // the offset in units of segment.Alignment
}

const noFile = -1

func (v version) offset() int64 { return int64(v.unit) * segment.Alignment }

type damagedVersion struct {
	version
	key []byte // nil when there are too many
}

// mostKept bounds the bytes of keys that are kept only to be listed.
const mostKept = 4 << 20

func newVersions() versions {
	return versions{hash: newKeyHash(), readable: map[keyPrint]version{}, damaged: map[keyPrint]damagedVersion{}}
}

// add takes a record that can be read. Where a number comes twice, compaction has
// copied the record, and made a tombstone of one that had expired.
func (n *versions) add(p keyPrint, v version) {
	old, known := n.readable[p]
	if !known || v.seq > old.seq || v.seq == old.seq && v.file == noFile {
		n.readable[p] = v
	}
}

// addDamaged takes a record whose value cannot be read.
func (n *versions) addDamaged(p keyPrint, key []byte, v version) {
	if old, known := n.damaged[p]; known && old.seq >= v.seq {
		return
	}
	d := damagedVersion{version: v}
	if n.kept+len(key) <= mostKept {
		n.kept += len(key)
		d.key = append([]byte{}, key...)
	}
	n.damaged[p] = d
}

// settle decides what is lost, and lists what is to be copied, by age.
func (n *versions) settle(s *salvage) []version {
	for p, d := range n.damaged {
		v, known := n.readable[p]
		if known && v.seq >= d.seq {
			continue // it was overwritten, or there is a copy
		}
		lost := LostKey{Key: d.key, File: s.sources[d.file].name, Offset: d.offset(), Seq: d.seq}
		switch {
		case !known || v.file == noFile:
		case s.OlderVersions:
			lost.Older = v.seq
		default:
			delete(n.readable, p)
		}
		s.lose(lost)
	}
	list := make([]version, 0, len(n.readable))
	for _, v := range n.readable {
		if v.file != noFile {
			list = append(list, v)
		} else {
			s.report.Gone++
		}
	}
	*n = versions{}
	slices.SortFunc(list, func(a, b version) int { return cmp.Compare(a.seq, b.seq) })
	return list
}

// keyHash makes of a key what stands for it. Its seeds are random, so that nobody
// can store keys that collide.
type keyHash [2]maphash.Seed

func newKeyHash() keyHash { return keyHash{maphash.MakeSeed(), maphash.MakeSeed()} }

func (h *keyHash) of(key []byte) keyPrint {
	return keyPrint{maphash.Bytes(h[0], key), maphash.Bytes(h[1], key)}
}
