package index

import "hash/maphash"

// Fingerprint stands for a key: 64 bits that readers look for, and 32 more that only writers compare. Hash 0 means
// the same as 1, because a slot with hash word 0 is one that was never used.
type Fingerprint struct {
	Hash  uint64
	Check uint32
}

// Hasher makes fingerprints of keys. Make one with NewHasher or NewHasherFrom; it may be copied and used by many
// goroutines. Fingerprints of different hashers have nothing to do with each other.
type Hasher struct {
	hashSeed, checkSeed maphash.Seed
	injected            func(key []byte) (hash uint64, check uint32) // nil: maphash
}

// NewHasher returns a hasher with two random seeds, so that nobody outside this process can build keys that collide.
func NewHasher() Hasher {
	return Hasher{hashSeed: maphash.MakeSeed(), checkSeed: maphash.MakeSeed()}
}

// NewHasherFrom returns a hasher that asks hash, for tests that need the same fingerprints in every run or choose
// which keys collide. A nil hash is NewHasher.
func NewHasherFrom(hash func(key []byte) (hash uint64, check uint32)) Hasher {
	if hash == nil {
		return NewHasher()
	}
	return Hasher{injected: hash}
}

// Hash is the part of the fingerprint that Find needs.
func (h *Hasher) Hash(key []byte) uint64 {
	if h.injected != nil {
		hash, _ := h.injected(key)
		return neverZero(hash)
	}
	return neverZero(maphash.Bytes(h.hashSeed, key))
}

// Fingerprint is what writers need.
func (h *Hasher) Fingerprint(key []byte) Fingerprint {
	if h.injected != nil {
		hash, check := h.injected(key)
		return Fingerprint{Hash: neverZero(hash), Check: check}
	}
	return Fingerprint{
		Hash:  neverZero(maphash.Bytes(h.hashSeed, key)),
		Check: uint32(maphash.Bytes(h.checkSeed, key) >> 32),
	}
}

// neverZero keeps 0 free for slots that were never used.
func neverZero(hash uint64) uint64 {
	if hash == 0 {
		return 1
	}
	return hash
}
