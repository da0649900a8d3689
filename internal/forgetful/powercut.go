package forgetful

import (
	"encoding/binary"
	"slices"
)

// PowerCut returns a state the disk may be in after a power loss now. All that
// Datasync and Dir.Sync made durable is there; of the rest, what the chooser
// says:
//
//   - Of a directory's pending changes nothing, a prefix, a subset or all. A
//     rename is there or not, never half.
//   - A file's length is the durable one or one it had since, also in the middle
//     of a write. Its pending writes arrive in pieces cut at sector boundaries:
//     none, a prefix, all but a hole, any subset, or all.
//   - What did not arrive is as it was before, or zero where nothing was. A
//     sector wholly behind the durable length may hold garbage instead.
//
// In the result everything is durable; the log and the calls start anew.
func (d *Disk) PowerCut(c Chooser) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	left := New()
	left.capacity = d.capacity
	left.root = left.cutDirectory(d.root, c)
	return left
}

// The answers to "how much survives?" have the same order everywhere: the first
// is nothing, the last is everything, so that a chooser that knows no more than
// the number of answers can ask for either.
const (
	directoryNothing = iota
	directoryPrefix
	directorySubset
	directoryEverything
	directoryAnswers
)

const (
	fileNothing = iota
	filePrefix
	fileHole
	fileSubset
	fileSubsetToo // twice as likely as the others
	fileEverything
	fileAnswers
)

func (d *Disk) cutDirectory(source *directory, c Chooser) *directory {
	survivors := slices.Clone(survivingEntries(source, c))
	for i, have := range survivors {
		if have.node.dir != nil {
			survivors[i].node.dir = d.cutDirectory(have.node.dir, c)
			continue
		}
		file := cutFile(have.node.file, c)
		d.used += file.length
		survivors[i].node.file = file
	}
	return &directory{current: survivors, durable: survivors}
}

func survivingEntries(source *directory, c Chooser) entries {
	if len(source.pending) == 0 {
		return source.current
	}
	answer := c.Intn(directoryAnswers)
	prefix := 0
	switch answer {
	case directoryNothing:
		return source.durable
	case directoryEverything:
		return source.current
	case directoryPrefix:
		prefix = c.Intn(len(source.pending) + 1)
	}
	survivors := source.durable
	for i, op := range source.pending {
		if i < prefix || answer == directorySubset && c.Intn(2) == 1 {
			survivors = op.applyTo(survivors)
		}
	}
	return survivors
}

// step is the smallest thing that happens to a file: one sector of a write, or
// a change of its length.
type step struct {
	op          fileOp // a write holds only the bytes of its sector
	lengthAfter int64
	arrives     bool
}

func cutFile(source *inode, c Chooser) *inode {
	memory := make([]byte, len(source.memory()))
	durable := source.durableBytes()
	if len(source.pending) == 0 {
		copy(memory, durable)
		return inodeOf(memory, int64(len(durable)))
	}
	steps := stepsOf(source.pending, int64(len(durable)))
	reached := chooseSteps(steps, c)
	length := int64(len(durable))
	if reached > 0 {
		length = steps[reached-1].lengthAfter
	}
	content := memory[:length]
	copy(content, durable)
	apply(content, steps, reached)
	spoil(content, steps, int64(len(durable)), c)
	return inodeOf(memory, length)
}

func stepsOf(pending []fileOp, length int64) []step {
	steps := make([]step, 0, 2*len(pending))
	for _, op := range pending {
		for {
			part := op
			if op.kind == pendingWrite {
				part.data = op.data[:min(int64(len(op.data)), sectorSize-op.offset%sectorSize)]
				op.data = op.data[len(part.data):]
				op.offset += int64(len(part.data))
			}
			length = part.lengthAfter(length)
			steps = append(steps, step{op: part, lengthAfter: length})
			if len(op.data) == 0 {
				break
			}
		}
	}
	return steps
}

// chooseSteps marks what arrives and returns how many of the steps the file's
// length has gone through.
func chooseSteps(steps []step, c Chooser) (reached int) {
	all := len(steps)
	holeStart, holeEnd := 0, 0
	switch c.Intn(fileAnswers) {
	case fileNothing:
		return 0
	case filePrefix:
		reached = c.Intn(all + 1)
		holeStart, holeEnd = reached, all
	case fileHole:
		reached = all
		holeStart = c.Intn(all + 1)
		holeEnd = holeStart + c.Intn(all-holeStart+1)
	case fileEverything:
		reached = all
	default:
		for i := range steps {
			steps[i].arrives = c.Intn(2) == 1
		}
		return c.Intn(all + 1)
	}
	for i := range steps {
		steps[i].arrives = i < holeStart || i >= holeEnd
	}
	return reached
}

// apply lets the steps happen to content, which has its final length already.
func apply(content []byte, steps []step, reached int) {
	end := int64(len(content))
	for i, s := range steps {
		switch {
		case s.op.kind == pendingTruncate && i < reached:
			if s.op.offset < int64(len(content)) {
				clear(content[s.op.offset:])
			}
		case s.op.kind == pendingTruncate:
			// The blocks behind the cut are other ones for the writes that
			// follow, and the file does not have them yet.
			end = min(end, s.op.offset)
		case s.arrives && s.op.kind == pendingWrite && s.op.offset < end:
			copy(content[s.op.offset:end], s.op.data)
		}
	}
}

// spoil fills sectors that were never durable and that no write reached.
func spoil(content []byte, steps []step, durableLength int64, c Chooser) {
	firstSector := (durableLength + sectorSize - 1) / sectorSize
	sectors := (int64(len(content))+sectorSize-1)/sectorSize - firstSector
	if sectors <= 0 {
		return
	}
	written := make([]bool, sectors)
	missing := sectors
	for _, s := range steps {
		at := s.op.offset/sectorSize - firstSector
		if s.arrives && s.op.kind == pendingWrite && at >= 0 && at < sectors && !written[at] {
			written[at] = true
			missing--
		}
	}
	// Garbage is neither the first nor the last answer: where all or nothing
	// survives, there is none.
	if missing == 0 || c.Intn(4) != 1 {
		return
	}
	seed := uint64(c.Intn(256))
	for i := range sectors {
		if !written[i] && c.Intn(3) == 1 {
			start := (firstSector + i) * sectorSize
			fillGarbage(content[start:min(start+sectorSize, int64(len(content)))], mix(seed, uint64(i)))
		}
	}
}

func fillGarbage(sector []byte, seed uint64) {
	random := seeded{state: seed}
	var word [8]byte
	for len(sector) > 0 {
		binary.LittleEndian.PutUint64(word[:], random.next())
		sector = sector[copy(sector, word[:]):]
	}
}
