package segment

// Memory is how many bytes of memory the Table takes, without a hint that it was opened in.
func (t *Table) Memory() int64 {
	return int64(cap(t.fences)*prefixSize+cap(t.parts)*3*4+cap(t.pieces)*8+cap(t.common)) + int64(cap(t.damages)*damageSize)
}
