package workload

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Result is what one measurement showed.
type Result struct {
	Workload   string // such as "view"
	Engine     string // or the name of a floor
	Goroutines int
	Operations int
	Took       time.Duration
	// Processor is how long processors worked for the process meanwhile, its background
	// included: less depends on what else the machine does. 0: not known.
	Processor time.Duration
	// Latency is how long each operation took, in nanoseconds; nil where only all
	// together were timed. At a fixed rate it counts from when the operation was to
	// start.
	Latency *hdrhistogram.Histogram
	// Figures are what else it showed.
	Figures []Figure
}

// Figure is a number with a name and a unit.
type Figure struct {
	Name  string
	Value float64
	Unit  string
}

// PerOperation is the time from one operation to the next in nanoseconds, all
// goroutines together; 0 when there were no operations.
func (r Result) PerOperation() float64 {
	if r.Operations == 0 {
		return 0
	}
	return float64(r.Took) / float64(r.Operations)
}

// longest is the longest latency that is told from longer ones.
const longest = 10 * time.Minute

// NewHistogram is one for latencies in nanoseconds, of three digits.
func NewHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, int64(longest), 3)
}

// Record adds a latency.
func Record(h *hdrhistogram.Histogram, d time.Duration) {
	_ = h.RecordValue(int64(min(max(d, 1), longest))) // it is in range
}
