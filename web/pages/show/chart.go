package show

import (
	"fmt"
	"html/template"
	"math"
	"strconv"
	"strings"
)

// Series is a row of values in a chart.
type Series struct {
	Name   string    // as the legend has it
	Class  string    // of the stylesheet, which colours it: a status, or c1 to c5
	Values []float64 // as many as the chart has labels
}

// Chart is drawn as stacked bars, a table of the same stands beside it.
type Chart struct {
	Title  string
	Labels []string // below the bars
	Series []Series
	Unit   string // after values in titles, like "s"; "": none
}

const (
	chartWidth, chartHeight = 640.0, 160.0
	chartLeft, chartBottom  = 44.0, 18.0
	barGap                  = 0.22 // of the width that a bar has
	widestBar               = 48.0
)

// Max is the height of the highest bar.
func (c Chart) Max() (most float64) {
	for i := range c.Labels {
		sum := 0.0
		for _, s := range c.Series {
			sum += s.at(i)
		}
		most = max(most, sum)
	}
	return most
}

func (s Series) at(i int) float64 {
	if i >= len(s.Values) || math.IsNaN(s.Values[i]) || s.Values[i] < 0 {
		return 0
	}
	return s.Values[i]
}

// Bars draws a chart as SVG: its colours are those of the stylesheet.
func Bars(c Chart) template.HTML {
	top := niceTop(c.Max())
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="chart" viewBox="0 0 %g %g" role="img" aria-label="%s">`, chartWidth, chartHeight, template.HTMLEscapeString(c.Title))
	plot := chartHeight - chartBottom - 8
	for _, part := range []float64{0, 0.5, 1} {
		y := 8 + plot*(1-part)
		fmt.Fprintf(&b, `<line class="grid" x1="%g" x2="%g" y1="%.1f" y2="%.1f"/><text class="axis" x="%g" y="%.1f" text-anchor="end">%s</text>`,
			chartLeft, chartWidth, y, y, chartLeft-6, y+4, short(top*part))
	}
	room := (chartWidth - chartLeft) / float64(max(1, len(c.Labels)))
	width, every := min(room*(1-barGap), widestBar), max(1, (len(c.Labels)+7)/8)
	for i, label := range c.Labels {
		x, y := chartLeft+room*float64(i), 8+plot
		title := label
		for _, s := range c.Series {
			if v := s.at(i); v > 0 {
				h := plot * v / top
				y -= h
				fmt.Fprintf(&b, `<rect class="s-%s" x="%.1f" y="%.1f" width="%.1f" height="%.1f"/>`, template.HTMLEscapeString(s.Class), x+(room-width)/2, y, width, h)
				title += "\n" + s.Name + " " + short(v) + c.Unit
			}
		}
		fmt.Fprintf(&b, `<rect class="hit" x="%.1f" y="8" width="%.1f" height="%.1f"><title>%s</title></rect>`, x, room, plot, template.HTMLEscapeString(title))
		if i%every == 0 {
			fmt.Fprintf(&b, `<text class="axis" x="%.1f" y="%g">%s</text>`, x+(room-width)/2, chartHeight-4, template.HTMLEscapeString(label))
		}
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String())
}

// Spark draws values as a line of small bars.
func Spark(class, title string, values []float64) template.HTML {
	const width, height = 120.0, 28.0
	most := 1.0
	for _, v := range values {
		most = max(most, v)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="spark" viewBox="0 0 %g %g" role="img" aria-label="%s">`, width, height, template.HTMLEscapeString(title))
	room := width / float64(max(1, len(values)))
	for i, v := range values {
		h := max(1, (height-2)*v/most)
		fmt.Fprintf(&b, `<rect class="s-%s" x="%.2f" y="%.2f" width="%.2f" height="%.2f"/>`, template.HTMLEscapeString(class), room*float64(i), height-h, room*0.8, h)
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String())
}

// niceTop is the end of an axis: 1, 2 or 5 with zeros.
func niceTop(most float64) float64 {
	if most <= 0 {
		return 1
	}
	scale := math.Pow(10, math.Floor(math.Log10(most)))
	for _, step := range []float64{1, 2, 5, 10} {
		if most <= step*scale {
			return step * scale
		}
	}
	return 10 * scale
}

// short is a number of few digits.
func short(v float64) string {
	for _, unit := range []struct {
		size float64
		name string
	}{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if v >= unit.size {
			return strconv.FormatFloat(v/unit.size, 'g', 3, 64) + unit.name
		}
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}
