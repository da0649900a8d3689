package segment

import "bytes"

// Find moves to the entry of a key, if the table has one. It reads no part that cannot have the key,
// so usually one, or none. The key must not lie in memory that Entry returned.
func (c *Cursor) Find(key []byte) bool {
	c.valid = false
	if !bytes.HasPrefix(key, c.t.common) {
		return false
	}
	_, to := c.t.candidates(key)
	part, ok := c.firstPart(key)
	if !ok {
		return false
	}
	if part < to && c.findIn(part, key) {
		return true
	}
	return c.err == nil && part > 0 && c.findIn(part-1, key)
}

// findIn moves to the entry of a key in a part, if it is there.
func (c *Cursor) findIn(part int, key []byte) bool {
	i, ok := c.seekIn(part, key)
	if !ok || i == c.part.Len() || !c.stand(i) {
		return false
	}
	c.valid = bytes.Equal(c.entry.Key, key)
	return c.valid
}
