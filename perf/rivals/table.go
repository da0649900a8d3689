package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// row is a line of the table: a figure, and how it is formatted.
type row struct {
	figure string
	write  func(float64) string
}

// section is the rows of one class.
type section struct {
	title string
	rows  []row
}

func sections() []section {
	timed := func(works []work) (rows []row) {
		for _, w := range works {
			rows = append(rows, row{w.name, nanoseconds})
		}
		return rows
	}
	kill := slices.Concat(
		[]row{{figureLoad, nanoseconds}},
		timed(writing),
		timed(reading),
		[]row{
			{figureRange, nanoseconds},
			{figureKeys, nanoseconds},
			{figureClose, nanoseconds},
			{figureOpenClosed, nanoseconds},
			{figureReadyClosed, nanoseconds},
			{figureOpenKilled, nanoseconds},
			{figureReadyKilled, nanoseconds},
			{figureLost, number},
			{figureHeap, size},
			{figureAnonymous, size},
			{figureDisk, number},
		})
	var paced []row
	for _, name := range []string{besidePuts[0].name, figurePacedPut, besidePuts[1].name} {
		for _, p := range percentiles {
			paced = append(paced, row{pacedFigure(name, p), nanoseconds})
		}
	}
	var ordered []row
	for _, figure := range scanFigures() {
		ordered = append(ordered, row{figure, nanoseconds})
	}
	return []section{
		{"survives SIGKILL: no sync for a write", kill},
		{"the same, keys in order", ordered},
		{"the same, reads and puts at a fixed rate: latency from the intended start", paced},
		{"survives power loss: a sync for each write or group of writes", timed(durable)},
	}
}

// nanoseconds formats a time with three digits and a unit.
func nanoseconds(n float64) string {
	for _, unit := range []struct {
		name string
		size time.Duration
	}{{"s", time.Second}, {"ms", time.Millisecond}, {"µs", time.Microsecond}} {
		if n >= float64(unit.size) {
			return threeDigits(n/float64(unit.size)) + " " + unit.name
		}
	}
	return threeDigits(n) + " ns"
}

func size(n float64) string { return threeDigits(n) + " B" }

func number(n float64) string { return threeDigits(n) }

func threeDigits(n float64) string {
	switch {
	case math.Abs(n) >= 100:
		return strconv.FormatFloat(n, 'f', 0, 64)
	case math.Abs(n) >= 10:
		return strconv.FormatFloat(n, 'f', 1, 64)
	}
	return strings.TrimSuffix(strconv.FormatFloat(n, 'f', 2, 64), ".00")
}

// results are the figures of all rounds, by engine.
type results map[string][]map[string]float64

// of returns an engine's figures of one kind, one for each round.
func (r results) of(engine, figure string) (figures []float64) {
	for _, round := range r[engine] {
		if f, measured := round[figure]; measured {
			figures = append(figures, f)
		}
	}
	return figures
}

// measured reports whether any engine has a figure of this kind.
func (r results) measured(figure string) bool {
	for engine := range r {
		if len(r.of(engine, figure)) > 0 {
			return true
		}
	}
	return false
}

// print writes the table in Markdown: medians of the rounds, and the median ratio to
// the first engine's figure of the same round.
func (r results) print(out io.Writer, engines []rival) {
	names := make([]string, len(engines))
	for i, e := range engines {
		names[i] = e.name
	}
	fmt.Fprintf(out, "| | %s |\n|---|%s\n", strings.Join(names, " | "), strings.Repeat("---:|", len(names)))
	for _, s := range sections() {
		rows := slices.DeleteFunc(s.rows, func(row row) bool { return !r.measured(row.figure) })
		if len(rows) == 0 {
			continue
		}
		fmt.Fprintf(out, "| **%s** |%s\n", s.title, strings.Repeat(" |", len(names)))
		for _, row := range rows {
			fmt.Fprintf(out, "| %s |", row.figure)
			for _, name := range names {
				fmt.Fprintf(out, " %s |", r.cell(row, name, names[0]))
			}
			fmt.Fprintln(out)
		}
	}
}

func (r results) cell(row row, engine, first string) string {
	figures := r.of(engine, row.figure)
	if len(figures) == 0 {
		return "–"
	}
	cell := row.write(median(figures))
	var ratios []float64
	for i, base := range r.of(first, row.figure) {
		if engine != first && i < len(figures) && base > 0 {
			ratios = append(ratios, figures[i]/base)
		}
	}
	if len(ratios) > 0 {
		cell += " (×" + threeDigits(median(ratios)) + ")"
	}
	return cell
}

func median(figures []float64) float64 {
	sorted := slices.Sorted(slices.Values(figures))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}
