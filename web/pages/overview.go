package pages

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"sync"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/reports"
	"github.com/klingwatch/klingwatch/doctor"
	"github.com/klingwatch/klingwatch/web/pages/board"
	"github.com/klingwatch/klingwatch/web/pages/show"
	"github.com/klingwatch/klingwatch/web/pages/words"
)

// overviewPage is what runs now.
type overviewPage struct {
	shell
	board.Shown
	Relays []relayLoad
	All    openTasks
	Charts []chart
	Wrong  []doctor.Finding // bad ones first
	Fine   []doctor.Finding
	Tasks  []latestTask
	Keeps  bool // files are kept somewhere
}

// OpenCount is a number of open tasks, of which not all may have been counted.
func (o overviewPage) OpenCount(n int64) string {
	if o.All.More {
		return show.Number(n) + "+"
	}
	return show.Number(n)
}

// Count is a number that was counted up to a bound.
func (o overviewPage) Count(n int64) string {
	if n > board.CountUpTo {
		return show.Number(board.CountUpTo) + "+"
	}
	return show.Number(n)
}

// latestTask is a task to which something has just happened.
type latestTask struct{ board.Task }

// Thumbnail is a file that there is a small picture of; nil: there is none.
func (t latestTask) Thumbnail() *db.Output {
	for i, o := range t.Outputs {
		if o.ThumbnailKey != nil {
			return &t.Outputs[i]
		}
	}
	return nil
}

// Changed is when something happened to it.
func (t latestTask) Changed() time.Time {
	for _, at := range []*time.Time{t.FinishedAt, t.ProcessingAt, t.SubmittedAt} {
		if at != nil {
			return *at
		}
	}
	return t.CreatedAt
}

// Reason is why it ended so, or what is wrong with the last question.
func (t latestTask) Reason() string { return cmp.Or(t.StatusMessage, deref(t.LastError)) }

// openTasks are those of all relays.
type openTasks struct {
	reports.Open
	More bool // there are more than were counted
}

// relayLoad is how much of its rate a relay needs.
type relayLoad struct {
	reports.Open
	Needed float64   // requests per second, to ask about each open task once per poll interval
	Pause  *db.Pause // nil: it is asked
}

// chart is a chart with the id of its elements.
type chart struct {
	ID string
	show.Chart
}

// overviewParts are the templates of the parts that are live, by the ids of their elements.
var overviewParts = map[string]string{
	"as-of": "part-as-of", "alerts": "part-alerts", "figures": "part-figures", "latest": "part-latest", "webhooks": "part-webhooks", "relays": "part-relays",
	"doctor": "part-doctor", "doctor-fine": "part-fine", "doctor-fine-title": "part-fine-title",
}

func (p *Pages) showOverview(v *visit) error {
	ctx, cancel := v.within()
	defer cancel()
	shown, err := p.board.Open(ctx)
	if err != nil {
		return err
	}
	page := v.overview(shown)
	page.Live, page.Reload = liveAt("overview", nil), 10
	return v.render(http.StatusOK, "overview", page)
}

func (v *visit) overview(shown board.Shown) overviewPage {
	page := overviewPage{shell: v.shell("overview"), Shown: shown, Charts: lastDay(v.lang, shown.Hours), Keeps: v.Archive != nil}
	page.Relays = loads(shown.Open, shown.Pauses, v.PollInterval)
	for _, o := range shown.Open {
		page.All.Pending += o.Pending
		page.All.Submitted += o.Submitted
		page.All.Processing += o.Processing
		page.All.Overdue += o.Overdue
		page.All.Troubled += o.Troubled
	}
	for _, task := range shown.Tasks {
		page.Tasks = append(page.Tasks, latestTask{task})
	}
	page.All.More = page.All.Total() > board.CountUpTo
	page.Wrong, page.Fine = sorted(shown.Findings, v.lang)
	return page
}

// loads tells how much of the rate of each relay its open tasks need.
func loads(open []reports.Open, pauses []db.Pause, interval time.Duration) []relayLoad {
	list := make([]relayLoad, len(open))
	for i, o := range open {
		list[i] = relayLoad{Open: o, Needed: float64(o.Total()) / float64(max(o.BatchSize, 1)) / interval.Seconds()}
		for j, pause := range pauses {
			for _, relay := range pause.Relays {
				if relay == o.Relay {
					list[i].Pause = &pauses[j]
				}
			}
		}
	}
	return list
}

// Full tells whether the rate does not suffice.
func (l relayLoad) Full() bool { return l.Needed > l.PollRate }

// sorted are findings in a language: those that want something done, bad ones first, and
// the others.
func sorted(findings []doctor.Finding, lang string) (wrong, fine []doctor.Finding) {
	var warned []doctor.Finding
	for _, f := range findings {
		f.Found, f.Todo = words.Translate(lang, f.Found), words.Translate(lang, f.Todo)
		switch f.State {
		case doctor.Bad:
			wrong = append(wrong, f)
		case doctor.Warn:
			warned = append(warned, f)
		default:
			fine = append(fine, f)
		}
	}
	return append(wrong, warned...), fine
}

// lastDay are the charts of the hours, without bars where these are not known yet.
func lastDay(lang string, hours []reports.Hour) []chart {
	labels := make([]string, len(hours))
	for i, hour := range hours {
		labels[i] = hour.At.UTC().Format("15:04")
	}
	say := func(key string) string { return fmt.Sprint(words.Say(lang, "overview", key)) }
	series := func(name, class string, value func(reports.Hour) int64) show.Series {
		s := show.Series{Name: name, Class: class}
		for _, hour := range hours {
			s.Values = append(s.Values, float64(value(hour)))
		}
		return s
	}
	status := func(status string, value func(reports.Hour) int64) show.Series {
		return series(say("status."+status), status, value)
	}
	return []chart{
		{"ended", show.Chart{Title: say("chart.ended"), Labels: labels, Series: []show.Series{
			status(db.Succeeded, func(h reports.Hour) int64 { return h.Succeeded }), status(db.Failed, func(h reports.Hour) int64 { return h.Failed }),
			status(db.Expired, func(h reports.Hour) int64 { return h.Expired }), status(db.NotFound, func(h reports.Hour) int64 { return h.NotFound }),
			status(db.Canceled, func(h reports.Hour) int64 { return h.Canceled }),
		}}},
		{"tracked", show.Chart{Title: say("chart.tracked"), Labels: labels, Series: []show.Series{
			series(say("chart.tasks"), "c1", func(h reports.Hour) int64 { return h.Inserted }),
		}}},
		{"arrived", show.Chart{Title: say("chart.arrived"), Labels: labels, Series: []show.Series{
			series(say("chart.at_once"), "c2", func(h reports.Hour) int64 { return h.Webhooks - h.Again }),
			series(say("chart.again"), "c3", func(h reports.Hour) int64 { return h.Again }),
		}}},
	}
}

// liveOverview brings the overview up to date.
func (p *Pages) liveOverview(ctx context.Context, v *visit, changed []int64) (map[string]string, time.Duration, error) {
	var shown board.Shown
	var err error
	if changed == nil {
		shown, err = p.board.Open(ctx)
	} else {
		shown, err = p.board.Follow(ctx, len(changed) > 0)
	}
	if err != nil {
		return nil, 0, err
	}
	parts, err := p.rendered.of(v.lang, shown, func() (map[string]string, error) { return overviewHTML(v, v.overview(shown)) })
	return parts, shown.Again, err
}

// overviewHTML renders all that is live.
func overviewHTML(v *visit, page overviewPage) (map[string]string, error) {
	parts := map[string]string{}
	for id, name := range overviewParts {
		text, err := part(v.lang, "overview", name, page)
		if err != nil {
			return nil, err
		}
		parts[id] = text
	}
	for _, c := range page.Charts {
		for _, name := range []string{"drawing", "table"} {
			text, err := part(v.lang, "overview", "chart-"+name, c)
			if err != nil {
				return nil, err
			}
			parts["chart-"+c.ID+"-"+name] = text
		}
	}
	return parts, nil
}

// renderedBoards are the parts as they were rendered last, by language: all tabs get the
// same.
type renderedBoards struct {
	mu   sync.Mutex
	last map[string]renderedBoard
}

type renderedBoard struct {
	parts            map[string]string
	counted, checked time.Time
	checking         bool
	hours            int
}

func (r *renderedBoards) of(lang string, shown board.Shown, render func() (map[string]string, error)) (map[string]string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	last, known := r.last[lang]
	if known && last.counted == shown.At && last.checked == shown.CheckedAt && last.checking == shown.Checking && last.hours == len(shown.Hours) {
		return maps.Clone(last.parts), nil
	}
	parts, err := render()
	if err != nil {
		return nil, err
	}
	if r.last == nil {
		r.last = map[string]renderedBoard{}
	}
	r.last[lang] = renderedBoard{parts, shown.At, shown.CheckedAt, shown.Checking, len(shown.Hours)}
	return maps.Clone(parts), nil
}
