// Package report presents the results of a run, over all its rounds: as a table for a
// terminal, and as a self-contained page for a browser.
//
// A row is a workload, a number of goroutines and an engine. Its figures are the
// medians of the rounds, its percentiles are over all rounds. A ratio is the median of
// the ratios within each round, because the machine behaves differently from round to
// round, and less so within one.
package report

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/mmapkv/mmapkv/perf/workload"
)

// Report collects results.
type Report struct {
	Title string
	// Stamp says what the figures depend on.
	Stamp []Line
	// Baselines are the names of the engines that the others are compared with.
	Baselines []string

	rows  []*row // in the order of their first results
	byKey map[key]*row
}

// Line is a line of the stamp.
type Line struct{ Name, Value string }

type key struct {
	workload   string
	goroutines int
	engine     string
}

type row struct {
	key
	perOperation map[int]float64 // nanoseconds, by round
	processor    map[int]float64 // the same for processor time; 0 if that is not known
	latency      *hdrhistogram.Histogram
	figures      []figure
}

type figure struct {
	name, unit string
	values     []float64
}

// Add adds a result of a round.
func (r *Report) Add(round int, result workload.Result) {
	k := key{result.Workload, result.Goroutines, result.Engine}
	to, found := r.byKey[k]
	if !found {
		to = &row{key: k, perOperation: map[int]float64{}, processor: map[int]float64{}}
		if r.byKey == nil {
			r.byKey = map[key]*row{}
		}
		r.byKey[k] = to
		r.rows = append(r.rows, to)
	}
	if result.Operations > 0 {
		to.perOperation[round] = result.PerOperation()
		to.processor[round] = float64(result.Processor) / float64(result.Operations)
	}
	if result.Latency != nil {
		if to.latency == nil {
			to.latency = workload.NewHistogram()
		}
		to.latency.Merge(result.Latency)
	}
	for _, f := range result.Figures {
		to.add(f)
	}
}

func (r *row) add(f workload.Figure) {
	at := slices.IndexFunc(r.figures, func(other figure) bool { return other.name == f.Name })
	if at < 0 {
		at = len(r.figures)
		r.figures = append(r.figures, figure{name: f.Name, unit: f.Unit})
	}
	r.figures[at].values = append(r.figures[at].values, f.Value)
}

// sorted returns the rows, those of one workload next to each other.
func (r *Report) sorted() []*row {
	place := map[string]int{}
	for _, row := range r.rows {
		if _, known := place[row.workload]; !known {
			place[row.workload] = len(place)
		}
	}
	rows := slices.Clone(r.rows)
	slices.SortStableFunc(rows, func(a, b *row) int {
		if d := place[a.workload] - place[b.workload]; d != 0 {
			return d
		}
		return a.goroutines - b.goroutines
	})
	return rows
}

// header and cells are the table, as text.
func (r *Report) header() []string {
	cells := []string{"workload", "goroutines", "engine", "time each", "best", "worst", "a second"}
	for _, b := range r.Baselines {
		cells = append(cells, "/ "+b)
	}
	cells = append(cells, "CPU each")
	for _, b := range r.Baselines {
		cells = append(cells, "CPU / "+b)
	}
	return append(cells, "p50", "p99", "p99.9", "p99.99", "max", "more")
}

func (r *Report) cells(row *row) []string {
	cells := []string{row.workload, count(row.goroutines), row.engine}
	each := values(row.perOperation)
	if len(each) == 0 {
		cells = append(cells, "", "", "", "")
	} else {
		m := Median(each)
		cells = append(cells, Time(m), Time(slices.Min(each)), Time(slices.Max(each)), perSecond(m))
	}
	for _, b := range r.Baselines {
		cells = append(cells, r.ratio(row, b, timeEach))
	}
	cells = append(cells, processorTime(row))
	for _, b := range r.Baselines {
		cells = append(cells, r.ratio(row, b, processorEach))
	}
	cells = append(cells, percentiles(row.latency)...)
	return append(cells, row.more())
}

func timeEach(r *row) map[int]float64 { return r.perOperation }

func processorEach(r *row) map[int]float64 { return r.processor }

func processorTime(r *row) string {
	if m := Median(values(r.processor)); m > 0 {
		return Time(m)
	}
	return ""
}

// ratio is the row's figure divided by the baseline's.
func (r *Report) ratio(row *row, baseline string, each func(*row) map[int]float64) string {
	base, found := r.byKey[key{row.workload, row.goroutines, baseline}]
	if !found || base == row {
		return ""
	}
	var ratios []float64
	for round, own := range each(row) {
		if other := each(base)[round]; other > 0 {
			ratios = append(ratios, own/other)
		}
	}
	if len(ratios) == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f", Median(ratios))
}

func (r *row) more() string {
	var more []string
	for _, f := range r.figures {
		more = append(more, fmt.Sprintf("%s %s %s", f.name, number(Median(f.values)), f.unit))
	}
	return strings.Join(more, ", ")
}

func percentiles(h *hdrhistogram.Histogram) []string {
	if h == nil {
		return make([]string, 5)
	}
	var cells []string
	for _, p := range []float64{50, 99, 99.9, 99.99} {
		cells = append(cells, Time(float64(h.ValueAtPercentile(p))))
	}
	return append(cells, Time(float64(h.Max())))
}

// WriteTable prints the stamp and the table.
func (r *Report) WriteTable(out io.Writer) error {
	stamp := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, l := range r.Stamp {
		fmt.Fprintf(stamp, "%s\t%s\n", l.Name, l.Value)
	}
	fmt.Fprintln(stamp)
	if err := stamp.Flush(); err != nil {
		return err
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, strings.Join(r.header(), "\t"))
	for _, row := range r.sorted() {
		fmt.Fprintln(table, strings.Join(r.cells(row), "\t"))
	}
	return table.Flush()
}

// Median returns the median, 0 for an empty slice.
func Median(of []float64) float64 {
	if len(of) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(of))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

// values returns the values of all rounds, 0 for a round with an infinite one or NaN.
func values(m map[int]float64) (all []float64) {
	for _, v := range m {
		if math.IsInf(v, 0) || math.IsNaN(v) {
			v = 0
		}
		all = append(all, v)
	}
	return all
}

func count(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

// Time formats nanoseconds with three digits and a unit.
func Time(nanoseconds float64) string {
	for _, u := range []struct {
		name string
		size time.Duration
	}{{"s", time.Second}, {"ms", time.Millisecond}, {"µs", time.Microsecond}} {
		if size := float64(u.size); nanoseconds >= 0.9995*size {
			return number(nanoseconds/size) + " " + u.name
		}
	}
	return number(nanoseconds) + " ns"
}

func perSecond(nanoseconds float64) string {
	if nanoseconds == 0 {
		return ""
	}
	return number(1e9 / nanoseconds)
}

// number formats f with three digits, or with all digits before the point.
func number(f float64) string {
	digits := 2
	if f != 0 {
		rounded, _ := strconv.ParseFloat(strconv.FormatFloat(f, 'e', digits, 64), 64) // always valid: it was just formatted
		digits = min(max(2-int(math.Floor(math.Log10(math.Abs(rounded)))), 0), 6)
	}
	return strconv.FormatFloat(f, 'f', digits, 64)
}
