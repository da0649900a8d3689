package report

import (
	"html/template"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/mmapkv/mmapkv/perf/workload"
)

// page is self-contained: it refers to no script, font or picture.
var page = template.Must(template.New("page").Parse(`<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{{.Title}}</title>
<style>
body { font: 15px/1.4 sans-serif; margin: 2em; color: #222; background: #fff }
table { border-collapse: collapse; font-size: 13px }
th, td { padding: 2px 10px; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap }
th { position: sticky; top: 0; background: #fff }
td:nth-child(1), td:nth-child(3), td:last-child, th:nth-child(1), th:nth-child(3), th:last-child, .stamp td { text-align: left }
.stamp td { white-space: normal }
.pictures { display: flex; flex-wrap: wrap; gap: 12px; align-items: flex-start }
svg { border: 1px solid #ddd }
svg text { font-family: "Liberation Sans", Arial, Helvetica, sans-serif !important }
</style>
<h1>{{.Title}}</h1>
<table class="stamp">{{range .Stamp}}<tr><td>{{.Name}}</td><td>{{.Value}}</td></tr>
{{end}}</table>
<h2>Time of one operation, medians of the rounds</h2>
<p>Shorter is better. The whiskers reach from the best round to the worst.</p>
<div class="pictures">{{range .Bars}}
{{.}}{{end}}
</div>
<h2>Latency, over all rounds</h2>
<p>Lower and further to the right is better. Both axes are logarithmic: each step to the right is ten times as rare.</p>
<div class="pictures">{{range .Curves}}
{{.}}{{end}}
</div>
<h2>Figures</h2>
<table><tr>{{range .Header}}<th>{{.}}</th>{{end}}</tr>
{{range .Rows}}<tr>{{range .}}<td>{{.}}</td>{{end}}</tr>
{{end}}</table>
<h2>Workloads</h2>
<table class="stamp">{{range .Workloads}}<tr><td>{{.Name}}</td><td>{{.About}}</td></tr>
{{end}}</table>
</html>
`))

// WriteHTML writes the page.
func (r *Report) WriteHTML(out io.Writer) error {
	bars, err := r.bars()
	if err != nil {
		return err
	}
	curves, err := r.curves()
	if err != nil {
		return err
	}
	var cells [][]string
	for _, row := range r.sorted() {
		cells = append(cells, r.cells(row))
	}
	return page.Execute(out, map[string]any{
		"Title": r.Title, "Stamp": r.Stamp, "Bars": bars, "Curves": curves,
		"Header": r.header(), "Rows": cells, "Workloads": r.about(),
	})
}

// WriteFile writes the page to a file.
func (r *Report) WriteFile(name string) (err error) {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() {
		if closed := f.Close(); err == nil {
			err = closed
		}
	}()
	return r.WriteHTML(f)
}

// about returns the workloads that have results. The name in a result may end with
// the size of the values: "view 16B".
func (r *Report) about() []workload.Workload {
	return slices.DeleteFunc(workload.All(), func(w workload.Workload) bool {
		return !slices.ContainsFunc(r.rows, func(row *row) bool { return strings.Fields(family(row.workload))[0] == w.Name })
	})
}

// family is the name of a workload without its phase.
func family(name string) string {
	name, _, _ = strings.Cut(name, "/")
	return name
}

// bars draws a picture for each workload and number of goroutines.
func (r *Report) bars() (pictures []template.HTML, err error) {
	rows := slices.DeleteFunc(r.sorted(), func(row *row) bool { return len(row.perOperation) == 0 || paced(row) })
	for group := range chunks(rows, func(a, b *row) bool { return a.workload == b.workload && a.goroutines == b.goroutines }) {
		picture, err := r.drawBars(group)
		if err != nil {
			return nil, err
		}
		pictures = append(pictures, picture)
	}
	return pictures, nil
}

// paced reports whether a row's operations started at a fixed rate, so that their
// total time says nothing.
func paced(r *row) bool { return strings.HasSuffix(family(r.workload), "-latency") }

// curves draws a picture for each family and number of goroutines.
func (r *Report) curves() (pictures []template.HTML, err error) {
	rows := slices.DeleteFunc(r.sorted(), func(row *row) bool { return row.latency == nil })
	for group := range chunks(rows, func(a, b *row) bool {
		return family(a.workload) == family(b.workload) && (paced(a) || a.goroutines == b.goroutines)
	}) {
		picture, err := drawCurves(group)
		if err != nil {
			return nil, err
		}
		pictures = append(pictures, picture)
	}
	return pictures, nil
}

// chunks yields runs of rows that belong together.
func chunks(rows []*row, together func(a, b *row) bool) func(yield func([]*row) bool) {
	return func(yield func([]*row) bool) {
		for len(rows) > 0 {
			n := 1
			for n < len(rows) && together(rows[0], rows[n]) {
				n++
			}
			if !yield(rows[:n]) {
				return
			}
			rows = rows[n:]
		}
	}
}
