package fuzz

import (
	"fmt"
	"time"

	"github.com/mmapkv/mmapkv/internal/oracle"
)

// writeIf makes a single change on a condition that holds, if there is one for it, after several
// that do not hold. What is refused leaves nothing on the disk, so the oracle hears only of the
// change.
func (l *life) writeIf(op oracle.Op) error {
	key, value := []byte(op.Key), []byte(op.Value)
	now, found := l.oracle.Current().Visible(l.now)[op.Key]
	must := func(what string, yes bool) func(done bool, err error) error {
		return func(done bool, err error) error {
			if err == nil && done != yes {
				return fmt.Errorf("%s of %q says %t", what, key, done)
			}
			return err
		}
	}
	refused := []error{must("a swap for another value", false)(l.store.CompareAndSwap(key, []byte(now+"!"), value)),
		must("a delete of another value", false)(l.store.CompareAndDelete(key, []byte(now+"!")))}
	if found {
		refused = append(refused, must("a put of what is there", false)(l.store.PutIfAbsent(key, value)))
	}
	for _, err := range refused {
		if err != nil {
			return err
		}
	}
	switch {
	case op.Delete && found:
		return must("a delete", true)(l.store.CompareAndDelete(key, []byte(now)))
	case op.Delete:
		return l.store.Delete(key)
	case found && op.Expiry == 0:
		return must("a swap", true)(l.store.CompareAndSwap(key, []byte(now), value))
	case found:
		return l.store.PutWithTTL(key, value, time.Duration(op.Expiry-l.now)*time.Millisecond)
	case op.Expiry != 0:
		return must("a put", true)(l.store.PutIfAbsentWithTTL(key, value, time.Duration(op.Expiry-l.now)*time.Millisecond))
	}
	return must("a put", true)(l.store.PutIfAbsent(key, value))
}
