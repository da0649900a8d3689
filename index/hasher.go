package index

import "hash/maphash"

// Fingerprint stands for a key: readers look for the 64 bits of its hash, and writers compare 32
// more bits. Hash 0 means the same as 1, because hash word 0 marks a slot that was never used.
type Fingerprint struct {
	Hash  uint64 // never 0
	Check uint32 // independent of Hash; only writers compare it
}

// Hasher makes fingerprints of keys. Make one with NewHasher or NewHasherFrom. It may be copied,
// and used by many goroutines. Fingerprints of different hashers are unrelated.
type Hasher struct {
	hashSeed, checkSeed maphash.Seed
	injected            func(key []byte) (hash uint64, check uint32) // nil: maphash
}

// NewHasher returns a hasher with two random seeds, so that no one outside this process can
// construct keys that collide.
func NewHasher() Hasher {
	return Hasher{hashSeed: maphash.MakeSeed(), checkSeed: maphash.MakeSeed()}
}

// NewHasherFrom returns a hasher that calls hash, for tests that need the same fingerprints in
// every run or choose which keys collide. If hash is nil, it returns NewHasher().
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

// Fingerprint is the whole fingerprint, which writers need.
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
