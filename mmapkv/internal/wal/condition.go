package wal

import (
	"errors"

	"github.com/mmapkv/mmapkv/index"
	"github.com/mmapkv/mmapkv/segment"
)

// Condition says whether a Write may be made. The leader judges it, since nobody else writes
// meanwhile.
//
// What must hold:
//
//   - The leader asks Holds when everything that precedes the write in the log is published. So
//     what it asks about is exactly the state to which the write is applied. A verdict, also a
//     refusal, rests only on what readers can see, so no failed sync takes back what it rests on.
//   - Therefore a member that depends on an earlier member of its group waits until that is
//     published. Members that do not depend on each other share one write.
//   - A write that is refused leaves no trace: no record, no sequence number.
//   - A verdict is never kept. A write that is tried again is judged again.
//
// The leader reads no record: whoever makes a Condition has read and compared the values, and
// remembers where they lay.
type Condition interface {
	// Depends reports whether the verdict may change when a key is written. It may say yes when
	// in doubt: then the write waits for the other.
	Depends(fp index.Fingerprint, key []byte) bool
	// Holds reports whether the write may be made. It looks at memory only: it does not wait,
	// reads no record, and calls no code of the user.
	Holds() bool
}

// ErrRefused is the outcome of a Write whose condition does not hold. The methods of Log return no
// such error; it is exported for tests.
var ErrRefused = errors.New("mmapkv: the condition of the write does not hold")

// maxAsked is how many records of other members one group asks its conditions about. It bounds how
// long that holds up the group, to some 100 microseconds. A member that would go beyond is judged
// once they are published.
const maxAsked = 1 << 15

// PutIf is Put on a condition, and reports whether the value was set. If the condition does not
// hold, that is no error.
func (l *Log) PutIf(c Condition, key, value []byte, expiry int64) (done bool, err error) {
	return verdict(l.put(c, key, value, expiry))
}

// DeleteIf is Delete on a condition.
func (l *Log) DeleteIf(c Condition, key []byte, fp index.Fingerprint) (done bool, err error) {
	return verdict(l.delete(c, key, fp))
}

// WriteIf is Write on a condition.
func (l *Log) WriteIf(c Condition, draft *segment.Draft) (done bool, err error) {
	return verdict(l.write(c, draft))
}

// verdict returns what commit's error says.
func verdict(err error) (done bool, _ error) {
	if err == ErrRefused {
		return false, nil
	}
	return err == nil, err
}

// holds reports whether a write may be made.
func (w *Write) holds() bool { return w.Condition == nil || w.Condition.Holds() }

// dependsOn reports whether the verdict on a write may depend on members that are not published
// yet. asked counts the records that the group has asked about.
func (w *Write) dependsOn(members []*Write, asked *int) bool {
	for _, m := range members {
		if *asked += len(m.Fps); *asked > maxAsked {
			return true
		}
		for i, fp := range m.Fps {
			if w.Condition.Depends(fp, m.Draft.Key(i)) {
				return true
			}
		}
	}
	return false
}
