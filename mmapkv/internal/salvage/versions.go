package salvage

import (
	"cmp"
	"hash/maphash"
	"slices"

	"github.com/mmapkv/mmapkv/segment"
)

// versions has the newest record of each key, and the newest one whose value cannot be
// read. It knows a key by its fingerprint.
type versions struct {
	hash     keyHash
	readable map[fingerprint]version
	damaged  map[fingerprint]damagedVersion
	kept     int // bytes of the keys in damaged
}

// fingerprint is 128 bits of keyed hash.
type fingerprint [2]uint64

// version is where a record lies.
type version struct {
	seq  uint64
	file int32  // index in salvage.sources, or noFile if the key is gone
	unit uint32 // the offset in units of segment.Alignment
}

const noFile = -1

func (v version) offset() int64 { return int64(v.unit) * segment.Alignment }

// damagedVersion is a record whose value cannot be read.
type damagedVersion struct {
	version
	key []byte // nil if maxKept is reached
}

// maxKept bounds the bytes of keys that are kept only to be listed.
const maxKept = 4 << 20

func newVersions() versions {
	return versions{hash: newKeyHash(), readable: map[fingerprint]version{}, damaged: map[fingerprint]damagedVersion{}}
}

// add takes a record that can be read. If a number comes twice, compaction has copied the
// record, and may have made a tombstone of it because it had expired.
func (n *versions) add(fp fingerprint, v version) {
	old, known := n.readable[fp]
	if !known || v.seq > old.seq || v.seq == old.seq && v.file == noFile {
		n.readable[fp] = v
	}
}

// addDamaged takes a record whose value cannot be read.
func (n *versions) addDamaged(fp fingerprint, key []byte, v version) {
	if old, known := n.damaged[fp]; known && old.seq >= v.seq {
		return
	}
	d := damagedVersion{version: v}
	if n.kept+len(key) <= maxKept {
		n.kept += len(key)
		d.key = append([]byte{}, key...)
	}
	n.damaged[fp] = d
}

// settle decides what is lost, and returns what is to be copied, from the oldest on.
func (n *versions) settle(s *salvage) []version {
	for fp, d := range n.damaged {
		v, known := n.readable[fp]
		if known && v.seq >= d.seq {
			continue // it was overwritten, or there is a copy
		}
		lost := LostKey{Key: d.key, File: s.sources[d.file].name, Offset: d.offset(), Seq: d.seq}
		switch {
		case !known || v.file == noFile:
		case s.OlderVersions:
			lost.Older = v.seq
		default:
			delete(n.readable, fp)
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

// keyHash makes fingerprints. Its seeds are random, so that nobody can store keys that
// collide.
type keyHash [2]maphash.Seed

func newKeyHash() keyHash { return keyHash{maphash.MakeSeed(), maphash.MakeSeed()} }

func (h *keyHash) of(key []byte) fingerprint {
	return fingerprint{maphash.Bytes(h[0], key), maphash.Bytes(h[1], key)}
}
