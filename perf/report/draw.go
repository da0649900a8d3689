package report

import (
	"bytes"
	"fmt"
	"html/template"
	"image/color"
	"math"
	"slices"

	"github.com/HdrHistogram/hdrhistogram-go"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// palette is that of Okabe and Ito, whose colours colour-blind people can tell apart.
var palette = []color.Color{
	color.RGBA{0, 114, 178, 255}, color.RGBA{213, 94, 0, 255}, color.RGBA{0, 158, 115, 255}, color.RGBA{204, 121, 167, 255},
	color.RGBA{86, 180, 233, 255}, color.RGBA{230, 159, 0, 255}, color.RGBA{120, 120, 120, 255}, color.RGBA{0, 0, 0, 255},
}

const (
	barsWidth   = 4.2 * vg.Inch
	barHeight   = 0.16 * vg.Inch
	curvesWidth = 6.4 * vg.Inch
	curvesTall  = 4.4 * vg.Inch
)

func newPlot(title string) *plot.Plot {
	plot.DefaultFont = font.Font{Typeface: "Liberation", Variant: "Sans"}
	p := plot.New()
	p.Title.Text = title
	p.Title.Padding = vg.Points(6)
	p.Title.TextStyle.Font.Size = vg.Points(11)
	return p
}

func title(r *row) string {
	if r.goroutines > 1 {
		return fmt.Sprintf("%s, %d goroutines", r.workload, r.goroutines)
	}
	return r.workload
}

// drawBars draws a bar for each engine of one workload, the first on top.
func (r *Report) drawBars(rows []*row) (template.HTML, error) {
	p := newPlot(title(rows[0]))
	var names []string
	longest := 0.0
	for i, row := range slices.Backward(rows) {
		each := values(row.perOperation)
		middle := Median(each)
		longest = max(longest, slices.Max(each))
		bar, err := plotter.NewBarChart(plotter.Values{middle}, barHeight)
		if err != nil {
			return "", err
		}
		at := float64(len(rows) - 1 - i)
		bar.Horizontal, bar.XMin, bar.Color, bar.LineStyle.Width = true, at, r.color(row.engine), 0
		whiskers, err := plotter.NewLine(plotter.XYs{{X: slices.Min(each), Y: at}, {X: slices.Max(each), Y: at}})
		if err != nil {
			return "", err
		}
		p.Add(bar, whiskers)
		names = append(names, fmt.Sprintf("%s  %s", row.engine, Time(middle)))
	}
	p.NominalY(names...)
	p.X.Min, p.X.Max = 0, max(longest*1.02, 1)
	p.X.Tick.Marker = timeTicks{}
	return svg(p, barsWidth, vg.Length(len(rows))*barHeight*1.6+0.8*vg.Inch)
}

// color is the same for an engine in all bar charts.
func (r *Report) color(engine string) color.Color {
	var engines []string
	for _, row := range r.rows {
		if !slices.Contains(engines, row.engine) {
			engines = append(engines, row.engine)
		}
	}
	return palette[slices.Index(engines, engine)%len(palette)]
}

// timeTicks labels the ticks of an axis with times.
type timeTicks struct{}

func (timeTicks) Ticks(low, high float64) []plot.Tick {
	ticks := plot.DefaultTicks{}.Ticks(low, high)
	for i, t := range ticks {
		if t.Label != "" && t.Value != 0 {
			ticks[i].Label = Time(t.Value)
		}
	}
	return ticks
}

// drawCurves draws the latency of the slowest operations.
func drawCurves(rows []*row) (template.HTML, error) {
	heading := title(rows[0])
	if paced(rows[0]) {
		heading = family(rows[0].workload)
	}
	p := newPlot(heading)
	p.Legend.TextStyle.Font.Size = vg.Points(8)
	p.Legend.Top, p.Legend.Left = true, true
	p.Legend.Padding = vg.Points(2)
	low, high, rarest := math.MaxFloat64, 0.0, 1.0
	for i, row := range rows {
		points := curve(row.latency)
		line, err := plotter.NewLine(points)
		if err != nil {
			return "", err
		}
		line.Color, line.Width = palette[i%len(palette)], vg.Points(1.3)
		line.Dashes = []vg.Length{}
		if dashed := i / len(palette); dashed > 0 || row.engine == "floor" {
			line.Dashes = []vg.Length{vg.Points(4), vg.Points(2 + float64(dashed))}
		}
		p.Add(line)
		p.Legend.Add(label(row), line)
		low, high = min(low, points[0].Y), max(high, points[len(points)-1].Y)
		rarest = max(rarest, points[len(points)-1].X)
	}
	p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, decades{}
	p.Y.Min, p.Y.Max = math.Pow(10, math.Floor(math.Log10(low))), math.Pow(10, math.Ceil(math.Log10(high)+0.01))
	p.X.Min, p.X.Max, p.X.Tick.Marker = median, rarest, nines{}
	p.Add(plotter.NewGrid())
	return svg(p, curvesWidth, curvesTall)
}

func label(r *row) string {
	if phase := r.workload[len(family(r.workload)):]; phase != "" {
		return r.engine + ", " + phase[1:]
	}
	if r.goroutines > 1 {
		return fmt.Sprintf("%s, %d goroutines", r.engine, r.goroutines)
	}
	return r.engine
}

// median is where the curves begin, expressed as a number of nines.
const median = 0.30103

// curve has a point for each tenth of a nine, up to the slowest single operation.
func curve(h *hdrhistogram.Histogram) plotter.XYs {
	var points plotter.XYs
	last := math.Log10(float64(h.TotalCount()))
	for nines := median; nines < last; nines += 0.1 {
		quantile := 100 * (1 - math.Pow(10, -nines))
		points = append(points, plotter.XY{X: nines, Y: max(1, float64(h.ValueAtPercentile(quantile)))})
	}
	return append(points, plotter.XY{X: last, Y: max(1, float64(h.Max()))})
}

// nines are the ticks 90 %, 99 % and so on.
type nines struct{}

func (nines) Ticks(low, high float64) (ticks []plot.Tick) {
	ticks = append(ticks, plot.Tick{Value: median, Label: "50 %"})
	names := []string{"90 %", "99 %", "99.9 %", "99.99 %", "99.999 %", "99.9999 %", "99.99999 %"}
	for i, name := range names {
		if f := float64(i + 1); f >= low && f <= high+1e-9 {
			ticks = append(ticks, plot.Tick{Value: f, Label: name})
		}
	}
	return ticks
}

// decades are ticks at powers of ten of a nanosecond.
type decades struct{}

func (decades) Ticks(low, high float64) (ticks []plot.Tick) {
	for v := math.Pow(10, math.Floor(math.Log10(low))); v <= high*1.001; v *= 10 {
		ticks = append(ticks, plot.Tick{Value: v, Label: Time(v)})
		for digit := 2.0; digit < 10 && v*digit <= high; digit++ {
			ticks = append(ticks, plot.Tick{Value: v * digit})
		}
	}
	return ticks
}

// svg renders the picture for a page.
func svg(p *plot.Plot, width, height vg.Length) (template.HTML, error) {
	canvas := vgsvg.New(width, height)
	p.Draw(draw.New(canvas))
	var b bytes.Buffer
	if _, err := canvas.WriteTo(&b); err != nil {
		return "", err
	}
	// The text before the element is only needed in a separate file.
	_, rest, _ := bytes.Cut(b.Bytes(), []byte("<svg"))
	return template.HTML("<svg" + string(rest)), nil
}
