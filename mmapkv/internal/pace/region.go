package pace

import (
	"context"
	"runtime/trace"
)

// Region marks a piece of work in execution traces; its End is deferred.
func Region(name string) *trace.Region {
	return trace.StartRegion(context.Background(), "mmapkv: "+name)
}

// Wake puts a token into a channel that has room for one. It does not wait.
func Wake(tokens chan struct{}) {
	select {
	case tokens <- struct{}{}:
	default: // there is one already
	}
}
