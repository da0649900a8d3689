package fsync

import (
	"fmt"
	"strings"
	"time"
)

// DefaultInterval is the interval of the zero Policy.
const DefaultInterval = 200 * time.Millisecond

// Policy says when a write has to be on disk. Policies compare with ==. The zero
// value is Every(DefaultInterval).
type Policy struct {
	// spacing is the interval; 0 means DefaultInterval, and the two negative
	// values below have no interval.
	spacing time.Duration
}

const (
	spacingAlways time.Duration = -1
	spacingNever  time.Duration = -2
)

var (
	// Always syncs every write before it is acknowledged.
	Always = Policy{spacingAlways}
	// Never leaves syncing to the kernel.
	Never = Policy{spacingNever}
)

// Every syncs the log at least once in d while there is something to sync. A power
// failure loses at most the writes acknowledged in the last d and during the sync
// that is running at the time. d <= 0 is Always.
func Every(d time.Duration) Policy {
	switch {
	case d <= 0:
		return Always
	case d == DefaultInterval:
		return Policy{}
	}
	return Policy{d}
}

// Interval is the d of Every(d), 0 for Always and Never.
func (p Policy) Interval() time.Duration {
	switch {
	case p.spacing < 0:
		return 0
	case p.spacing == 0:
		return DefaultInterval
	}
	return p.spacing
}

// String is "always", "never", or "every 200ms"; ParsePolicy reads it.
func (p Policy) String() string {
	switch p {
	case Always:
		return "always"
	case Never:
		return "never"
	}
	return "every " + p.Interval().String()
}

// ParsePolicy reads "always", "never", "every 200ms", or just "200ms". "0" and
// "0s" are always.
func ParsePolicy(s string) (Policy, error) {
	switch s {
	case "always":
		return Always, nil
	case "never":
		return Never, nil
	}
	d, err := time.ParseDuration(strings.TrimPrefix(s, "every "))
	if err != nil || d < 0 {
		return Policy{}, fmt.Errorf(`fsync: policy %q: want "always", "never", or a duration such as "200ms"`, s)
	}
	return Every(d), nil
}
