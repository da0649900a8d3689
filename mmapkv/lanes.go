package mmapkv

import (
	"runtime"
	"sync/atomic"
	"time"
)

// lanes let Updates that keep writing the same keys go one after the other, before they take a snapshot,
// instead of running in vain. Each key has one lane, which other keys share. What must hold:
//
//   - A lane is cold unless there was a conflict over one of its keys a short time ago. A first read of a
//     key then pays one atomic load.
//   - An Update takes at most one lane, that of the first key that it reads, and waits for it for a bounded
//     time. Then it goes on without. So a lane decides how fast Updates are, and never what they do.
type lanes [64]lane

// lane is what Updates of the same keys take in turn.
type lane struct {
	token chan struct{} // holds one, unless somebody is in the lane
	heat  atomic.Int32  // how many more Updates take the lane
}

const (
	// laneHeat is how many Updates take a lane after a conflict, or after one had to wait for it.
	laneHeat = 64
	// laneTries is how often an Update looks for a free lane before it sleeps. A transaction is short,
	// and falling asleep takes about as long.
	laneTries = 4
	// laneTime is how long an Update waits for a lane at most.
	laneTime = 20 * time.Millisecond
)

func newLanes() *lanes {
	l := new(lanes)
	for i := range l {
		l[i].token = make(chan struct{}, 1)
		l[i].token <- struct{}{}
	}
	return l
}

// of returns the lane of the key that has a hash.
func (l *lanes) of(hash uint64) *lane { return &l[hash%uint64(len(l))] }

// conflict notes that there was a conflict over the key that has a hash.
func (l *lanes) conflict(hash uint64) { l.of(hash).heat.Store(laneHeat) }

// enter takes the lane if it is hot, and reports whether it has. stop ends the wait.
func (l *lane) enter(stop <-chan struct{}) bool {
	if l.heat.Load() <= 0 {
		return false
	}
	for try := range laneTries {
		select {
		case <-l.token:
			if try == 0 {
				l.heat.Add(-1)
			}
			return true
		default:
			runtime.Gosched()
		}
	}
	l.heat.Store(laneHeat)
	timer := time.NewTimer(laneTime)
	defer timer.Stop()
	select {
	case <-l.token:
		return true
	case <-timer.C:
	case <-stop:
	}
	return false
}

// leave gives the lane back.
func (l *lane) leave() { l.token <- struct{}{} }
