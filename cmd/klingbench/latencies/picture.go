package latencies

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/figures"
)

// The picture is 400 wide, so that its text can be read where a phone shows it 340 wide.
const (
	pictureWidth = 400
	margin       = 12
	barsFrom     = 62 // the first row
	rowHeight    = 46
	barHeight    = 14
)

const pictureHead = `<svg xmlns="http://www.w3.org/2000/svg" width="600" viewBox="0 0 %d %d" role="img" aria-label="%s">
<style>
  text { font: 14px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; fill: #1f2328 }
  .title { font-weight: 600 }
  .small { font-size: 12px; fill: #59636e }
  .value { text-anchor: end; font-weight: 600 }
  .back { fill: #ffffff }
  .p99 { fill: #c6d9f2 }
  .mean { fill: #0b62c4 }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc }
    .small { fill: #9198a1 }
    .back { fill: #0d1117 }
    .p99 { fill: #24405f }
    .mean { fill: #58a6ff }
  }
</style>
<rect class="back" width="%[1]d" height="%[2]d" rx="6"/>
`

// bar is one way in the picture, in milliseconds.
type bar struct {
	label     string
	mean, p99 float64
}

// draw makes a picture of the figures.
func (p plan) draw(measured []figures.Figure, date time.Time) []byte {
	value := func(name string) float64 {
		i := slices.IndexFunc(measured, func(f figures.Figure) bool { return f.Name == name })
		if i < 0 {
			return 0
		}
		return measured[i].Value
	}
	var bars []bar
	for _, w := range p.ways {
		bars = append(bars, bar{w.drawn, value(w.name + "_mean"), value(w.name + "_p99")})
	}
	return drawBars(bars, fmt.Sprintf("%d tasks of about %s each, %s", p.tasks, span(figures.Milliseconds(p.median)), date.Format(time.DateOnly)))
}

// drawBars draws a row per bar, its mean over its 99th percentile.
func drawBars(bars []bar, footer string) []byte {
	var b bytes.Buffer
	var told []string
	longest := 1.0
	for _, one := range bars {
		longest = max(longest, one.p99)
		told = append(told, fmt.Sprintf("%s: %s on average, %s at the 99th percentile", one.label, span(one.mean), span(one.p99)))
	}
	height := barsFrom + rowHeight*len(bars) + 22
	fmt.Fprintf(&b, pictureHead, pictureWidth, height, "From the end of a task to its webhook. "+strings.Join(told, ". "))
	fmt.Fprintf(&b, `<text class="title" x="%d" y="24">From the end of a task to its webhook</text>`+"\n", margin)
	fmt.Fprintf(&b, `<text class="small" x="%d" y="43">equally many requests; mean, and faint the 99th percentile</text>`+"\n", margin)
	for i, one := range bars {
		y := barsFrom + i*rowHeight
		width := func(ms float64) float64 { return max(2, ms/longest*(pictureWidth-2*margin)) }
		fmt.Fprintf(&b, `<text x="%d" y="%d">%s</text><text class="value" x="%d" y="%d">%s</text>`+"\n", margin, y+12, one.label, pictureWidth-margin, y+12, span(one.mean))
		fmt.Fprintf(&b, `<rect class="p99" x="%d" y="%d" width="%.1f" height="%d" rx="2"/>`, margin, y+18, width(one.p99), barHeight)
		fmt.Fprintf(&b, `<rect class="mean" x="%d" y="%d" width="%.1f" height="%d" rx="2"/>`+"\n", margin, y+18, width(one.mean), barHeight)
	}
	fmt.Fprintf(&b, `<text class="small" x="%d" y="%d">%s</text>`+"\n</svg>\n", margin, height-10, footer)
	return b.Bytes()
}

// span is a time for people: in seconds from one second on.
func span(ms float64) string {
	if ms >= 1000 {
		return strings.TrimSuffix(fmt.Sprintf("%.1f", ms/1000), ".0") + " s"
	}
	return fmt.Sprintf("%.0f ms", ms)
}
