package workload

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Result is the result of one measurement.
type Result struct {
	Workload   string // such as "view"
	Engine     string // or the name of a floor
	Goroutines int
	Operations int
	Took       time.Duration
	// Processor is the processor time of the process during the measurement, its
	// background included. It depends less on other load of the machine. 0: not known.
	Processor time.Duration
	// Latency is how long each operation took, in nanoseconds; nil if only their total
	// was timed. At a fixed rate it counts from the intended start of the operation.
	Latency *hdrhistogram.Histogram
	// Figures are further results.
	Figures []Figure
}

// Figure is a number with a name and a unit.
type Figure struct {
	Name  string
	Value float64
	Unit  string
}

// PerOperation is the time from one operation to the next in nanoseconds, all
// goroutines together; 0 if there were no operations.
func (r Result) PerOperation() float64 {
	if r.Operations == 0 {
		return 0
	}
	return float64(r.Took) / float64(r.Operations)
}

// longest is the longest latency that is recorded; longer ones count as this.
const longest = 10 * time.Minute

// NewHistogram returns a histogram of latencies in nanoseconds, with three digits.
func NewHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, int64(longest), 3)
}

// Record adds a latency.
func Record(h *hdrhistogram.Histogram, d time.Duration) {
	_ = h.RecordValue(int64(min(max(d, 1), longest))) // it is in range
}
