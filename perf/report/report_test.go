package report

import (
	"encoding/xml"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mmapkv/mmapkv/perf/workload"
)

func example() *Report {
	r := &Report{Title: "a <test>", Stamp: Stamp("/", Line{"seed", "7"}), Baselines: []string{"floor"}}
	for round, floor := range []int{100, 200, 400} {
		for engine, ratio := range map[string]int{"floor": 1, "store": 3} {
			latency := workload.NewHistogram()
			for i := range 1000 {
				workload.Record(latency, time.Duration(i*ratio)*time.Microsecond)
			}
			r.Add(round, workload.Result{
				Workload: "put", Engine: engine, Goroutines: 1, Operations: 1000, Took: time.Duration(floor*ratio) * 1000, Latency: latency,
				Figures: []workload.Figure{{Name: "heap", Value: float64(round), Unit: "B"}},
			})
		}
	}
	return r
}

func TestTableHasMediansAndRatios(t *testing.T) {
	var out strings.Builder
	if err := example().WriteTable(&out); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"seed", "processor", "200 ns", "600 ns", "1.20 µs", "3.00", "heap 1.00 B", "/ floor"} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("the table lacks %q:\n%s", part, &out)
		}
	}
}

func TestPageStandsAlone(t *testing.T) {
	var out strings.Builder
	if err := example().WriteHTML(&out); err != nil {
		t.Fatal(err)
	}
	page := out.String()
	if strings.Count(page, "<svg") != 2 || !strings.Contains(page, "a &lt;test&gt;") {
		t.Errorf("%d pictures:\n%.2000s", strings.Count(page, "<svg"), page)
	}
	// The namespaces of SVG are only names; nothing is fetched from them.
	for _, link := range regexp.MustCompile(`(src|href|url|@import)[^a-z].{0,60}`).FindAllString(page, -1) {
		if !strings.Contains(link, "#") {
			t.Errorf("the page refers to something else: %s", link)
		}
	}
	if strings.Contains(page, "<script") || strings.Contains(page, "<link") {
		t.Error("the page has a script or a link")
	}
	for _, picture := range strings.SplitAfter(page, "</svg>")[:2] {
		d := xml.NewDecoder(strings.NewReader(picture[strings.Index(picture, "<svg"):]))
		for {
			if _, err := d.Token(); err == io.EOF {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestTimesHaveThreeDigits(t *testing.T) {
	for nanoseconds, want := range map[float64]string{0: "0.00 ns", 4.56: "4.56 ns", 999.4: "999 ns", 999.6: "1.00 µs", 123456: "123 µs", 2.5e9: "2.50 s"} {
		if got := Time(nanoseconds); got != want {
			t.Errorf("%v: %s, not %s", nanoseconds, got, want)
		}
	}
}
