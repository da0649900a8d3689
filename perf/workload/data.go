package workload

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// Minimum sizes in bytes: keys and values contain their own number, and values their
// version.
const (
	MinKeySize   = 16
	MinValueSize = 16
)

const wordSize = 8

// Data is keys of one size with values of one size.
//
// A key begins with its scrambled number, so that keys have no order, and ends with
// the number itself. A value begins with two words that identify its key and version;
// the rest is noise, different in every value.
type Data struct {
	Keys, KeySize, ValueSize int
	Seed                     uint64
}

// Check returns an error if such data cannot exist.
func (d Data) Check() error {
	if d.Keys < 1 || int64(d.Keys) >= 1<<40 || d.KeySize < MinKeySize || d.KeySize > 1<<15 || d.ValueSize < MinValueSize || d.ValueSize > 1<<28 {
		return fmt.Errorf("workload: %d keys of %d bytes, values of %d bytes: there must be a key, of 16 bytes or more, and 16 bytes of value", d.Keys, d.KeySize, d.ValueSize)
	}
	return nil
}

// Bytes is the size of this many pairs, keys and values.
func (d Data) Bytes(pairs int) int64 { return int64(pairs) * int64(d.KeySize+d.ValueSize) }

// AppendKey appends the key of a number. Keys of numbers from Keys on are absent until
// a workload inserts them.
func (d Data) AppendKey(dst []byte, number int) []byte {
	return d.appendKey(dst, scramble(uint64(number)^d.Seed), uint64(number))
}

// appendKey appends a key that begins and ends with these words.
func (d Data) appendKey(dst []byte, first, number uint64) []byte {
	dst = binary.BigEndian.AppendUint64(dst, first)
	left := d.KeySize - 2*wordSize
	for ; left > len(padding); left -= len(padding) {
		dst = append(dst, padding...)
	}
	dst = append(dst, padding[:left]...)
	return binary.LittleEndian.AppendUint64(dst, number)
}

const padding = "--------------------------------"

// Number is the number of a key.
func (d Data) Number(key []byte) (int, error) {
	if len(key) != d.KeySize {
		return 0, fmt.Errorf("workload: a key has %d bytes, not %d", len(key), d.KeySize)
	}
	return int(binary.LittleEndian.Uint64(key[d.KeySize-wordSize:])), nil
}

// Fill writes the value of a key's version.
func (d Data) Fill(value []byte, number int, version uint64) {
	own, second, noise := words(number, version)
	binary.LittleEndian.PutUint64(value, own)
	binary.LittleEndian.PutUint64(value[wordSize:], second)
	for at, i := 2*wordSize, 0; at < d.ValueSize; at, i = at+wordSize, i+1 {
		putWord(value[at:], noise^static[i%len(static)])
	}
}

// words returns what a value is made of: its first word, which identifies the key, its
// second, which encodes the version, and the noise that the other words are mixed
// with.
func words(number int, version uint64) (own, second, noise uint64) {
	own = scramble(uint64(number) + 1)
	return own, version ^ bits.RotateLeft64(own, 17), scramble(own ^ version)
}

// Verify returns an error if a value is not the key's. It checks the length, the first
// word and the last word.
func (d Data) Verify(number int, value []byte) error {
	if len(value) != d.ValueSize {
		return d.foreign(number, value)
	}
	own := binary.LittleEndian.Uint64(value)
	version := binary.LittleEndian.Uint64(value[wordSize:]) ^ bits.RotateLeft64(own, 17)
	want, _, noise := words(number, version)
	if own != want {
		return d.foreign(number, value)
	}
	if noisy := d.ValueSize - 2*wordSize; noisy > 0 {
		last := (noisy - 1) / wordSize
		if !hasWord(value[(last+2)*wordSize:], noise^static[last%len(static)]) {
			return d.foreign(number, value)
		}
	}
	return nil
}

// VerifyFully checks every byte.
func (d Data) VerifyFully(number int, value []byte) error {
	if err := d.Verify(number, value); err != nil {
		return err
	}
	own := binary.LittleEndian.Uint64(value)
	_, _, noise := words(number, binary.LittleEndian.Uint64(value[wordSize:])^bits.RotateLeft64(own, 17))
	for at, i := 2*wordSize, 0; at < len(value); at, i = at+wordSize, i+1 {
		if !hasWord(value[at:], noise^static[i%len(static)]) {
			return d.foreign(number, value)
		}
	}
	return nil
}

func (d Data) foreign(number int, value []byte) error {
	return fmt.Errorf("workload: key %d has a value of %d bytes that is not its own", number, len(value))
}

// static is noise that is the same in every value, 4 KiB so that it stays in the L1
// cache.
var static = func() (noise [512]uint64) {
	for i := range noise {
		noise[i] = scramble(uint64(i) + 0x5bd1e995)
	}
	return noise
}()

// scramble is a bijection that looks random (the finalizer of splitmix64).
func scramble(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// putWord and hasWord handle the next word of a value; the last may be shorter.
func putWord(b []byte, word uint64) {
	if len(b) >= wordSize {
		binary.LittleEndian.PutUint64(b, word)
		return
	}
	for i := range b {
		b[i] = byte(word >> (8 * i))
	}
}

func hasWord(b []byte, word uint64) bool {
	if len(b) >= wordSize {
		return binary.LittleEndian.Uint64(b) == word
	}
	for i := range b {
		if b[i] != byte(word>>(8*i)) {
			return false
		}
	}
	return true
}
