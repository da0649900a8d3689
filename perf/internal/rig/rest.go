package rig

import (
	"context"
	"time"
)

// The background is at rest when restLooks windows in a row show less than restWork
// of processor time.
const (
	restWindow = 10 * time.Millisecond
	restWork   = restWindow / 5
	restLooks  = 10 // one could be a wait for the disk
)

// AwaitRest returns when the process is nearly idle, so that the work that one
// measurement leaves to the background does not count for the next one. It waits no
// longer than this, and only until the context ends.
func AwaitRest(ctx context.Context, longest time.Duration) {
	quiet := 0
	for waited := time.Duration(0); waited < longest && quiet < restLooks && ctx.Err() == nil; waited += restWindow {
		before := ProcessorTime()
		time.Sleep(restWindow)
		if quiet++; ProcessorTime()-before >= restWork {
			quiet = 0
		}
	}
}
