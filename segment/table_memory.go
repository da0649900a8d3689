package segment

// Memory is how many bytes of memory the Table takes, with the hint if it was opened in memory.
func (t *Table) Memory() int64 {
	return int64(cap(t.fences)*prefixSize+cap(t.parts)*3*4+cap(t.pieces)*8+cap(t.common)+cap(t.mapped)) + int64(cap(t.damages)*damageSize)
}
