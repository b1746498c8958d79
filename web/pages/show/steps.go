package show

import (
	"fmt"
	"html/template"
	"strings"
	"time"
)

// Step is a part of a length of time.
type Step struct {
	Name  string
	Class string // of the stylesheet, which colours it
	Took  time.Duration
}

// Steps draws how a time was spent, one step after the other; what it says in words stands
// beside it.
func Steps(lang string, steps []Step) template.HTML {
	const width, height = 640.0, 14.0
	total := time.Duration(0)
	said := make([]string, len(steps))
	for i, s := range steps {
		total += s.Took
		said[i] = s.Name + " " + Took(lang, s.Took)
	}
	if total <= 0 {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="steps" viewBox="0 0 %g %g" preserveAspectRatio="none" role="img" aria-label="%s">`, width, height, template.HTMLEscapeString(strings.Join(said, ", ")))
	x := 0.0
	for i, s := range steps {
		w := width * float64(s.Took) / float64(total)
		fmt.Fprintf(&b, `<rect class="s-%s" x="%.2f" y="0" width="%.2f" height="%g"><title>%s</title></rect>`, template.HTMLEscapeString(s.Class), x, w, height, template.HTMLEscapeString(said[i]))
		x += w
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String())
}
