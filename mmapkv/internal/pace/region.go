package pace

import (
	"context"
	"runtime/trace"
)

// Region marks a piece of work in execution traces. The caller defers its End.
func Region(name string) *trace.Region {
	return trace.StartRegion(context.Background(), "mmapkv: "+name)
}

// Wake puts a token into a channel that has room for one, unless there is one already. It does not
// block.
func Wake(tokens chan struct{}) {
	select {
	case tokens <- struct{}{}:
	default:
	}
}
