package pages

import (
	"cmp"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/web/pages/show"
	"github.com/klingwatch/klingwatch/web/pages/words"
)

// bars are the values of a chart, by label and series.
type bars struct {
	say    func(key string) string
	labels []string
	series []show.Series
}

// drawReport are the charts of a report; none where there is nothing to draw.
func drawReport(lang, name string, rows []reportRow) []chart {
	if len(rows) == 0 {
		return nil
	}
	b := bars{say: func(key string) string { return fmt.Sprint(words.Say(lang, "reports", key)) }}
	switch name {
	case "daily":
		b.labels = daysOf(rows, "day")
		for _, status := range []string{db.Succeeded, db.Failed, db.Expired, db.NotFound, db.Canceled} {
			b.add(rows, b.say("status."+status), status, dayIn("day"), func(r reportRow) float64 { return r.number(status) })
		}
		b.add(rows, b.say("name.in_flight"), "c1", dayIn("day"), func(r reportRow) float64 {
			return r.number(db.Pending) + r.number(db.Submitted) + r.number(db.Processing)
		})
	case "throughput":
		return b.throughput(rows)
	case "failures":
		b.failures(rows)
	case "in_flight":
		b.labels = ages
		for i, status := range []string{db.Processing, db.Submitted, db.Pending} {
			b.add(rows, b.say("status."+status), fmt.Sprintf("c%d", i+1), ageOf, is("status", status))
		}
	case "outputs":
		b.labels = daysOf(rows, "expires_at")
		for i, state := range []string{db.ArchivePending, db.ArchiveStored, "", db.ArchiveLost, "skipped"} {
			b.add(rows, b.say("archive."+cmp.Or(state, "none")), fmt.Sprintf("c%d", i+1), dayIn("expires_at"), is("archive_state", state))
		}
	case "webhooks":
		b.labels = labelsOf(rows, receiverOf)
		for _, state := range []string{db.DeliveryDelivered, db.DeliveryPending, db.DeliveryExhausted} {
			b.add(rows, b.say("state."+state), state, receiverOf, func(r reportRow) float64 { return r.number(state) })
		}
	case "deliveries":
		b.labels = daysOf(rows, "created_at")
		for _, state := range []string{db.DeliveryDelivered, db.DeliveryPending, db.DeliveryExhausted} {
			b.add(rows, b.say("state."+state), state, dayIn("created_at"), is("state", state))
		}
	case "relays":
		relay := func(r reportRow) string { return r.text("name") }
		b.labels = labelsOf(rows, relay)
		b.add(rows, b.say("answered"), "c1", relay, func(r reportRow) float64 { return r.number("open_tasks") - r.number("in_trouble") })
		b.add(rows, b.say("in_trouble"), "c3", relay, func(r reportRow) float64 { return r.number("in_trouble") })
	}
	return []chart{b.chart(name, "chart."+name)}
}

// add adds a series: the sums of the rows of each label.
func (b *bars) add(rows []reportRow, name, class string, label func(reportRow) string, value func(reportRow) float64) {
	sums := map[string]float64{}
	for _, row := range rows {
		sums[label(row)] += value(row)
	}
	series := show.Series{Name: name, Class: class}
	for _, label := range b.labels {
		series.Values = append(series.Values, sums[label])
	}
	b.series = append(b.series, series)
}

func (b *bars) chart(id, title string) chart {
	labels := make([]string, len(b.labels))
	for i, label := range b.labels {
		labels[i] = label
		if _, err := time.Parse(time.DateOnly, label); err == nil {
			labels[i] = label[len("2006-"):]
		}
	}
	return chart{id, show.Chart{Title: b.say(title), Labels: labels, Series: b.series}}
}

// throughput are three charts of half hours.
func (b *bars) throughput(rows []reportRow) []chart {
	label := func(r reportRow) string { return r.at("minute").Truncate(30 * time.Minute).Format("01-02 15:04") }
	b.labels = labelsOf(rows, label)
	slices.Sort(b.labels)
	for _, status := range []string{db.Succeeded, db.Failed, db.Canceled} {
		b.add(rows, b.say("status."+status), status, label, func(r reportRow) float64 { return r.number(status) })
	}
	charts := []chart{b.chart("ended", "chart.throughput")}
	for i, column := range []string{"inserted", "webhooks"} {
		b.series = nil
		b.add(rows, b.say("series."+column), fmt.Sprintf("c%d", i+1), label, func(r reportRow) float64 { return r.number(column) })
		charts = append(charts, b.chart(column, "chart."+column))
	}
	for i := range charts {
		for j, label := range charts[i].Labels {
			charts[i].Labels[j] = label[len("01-02 "):]
		}
	}
	return charts
}

// mostReasons are shown by name, the others together.
const mostReasons = 4

func (b *bars) failures(rows []reportRow) {
	sums := map[string]float64{}
	reason := func(r reportRow) string { return cmp.Or(r.text("reason"), r.text("status")) }
	for _, row := range rows {
		sums[reason(row)] += row.number("tasks")
	}
	reasons := slices.SortedFunc(maps.Keys(sums), func(x, y string) int { return cmp.Or(cmp.Compare(sums[y], sums[x]), cmp.Compare(x, y)) })
	shown := reasons[:min(len(reasons), mostReasons)]
	b.labels = daysOf(rows, "day")
	for i, name := range shown {
		b.add(rows, name, fmt.Sprintf("c%d", i+1), dayIn("day"), func(r reportRow) float64 {
			if reason(r) != name {
				return 0
			}
			return r.number("tasks")
		})
	}
	if len(reasons) > len(shown) {
		b.add(rows, b.say("others"), "c5", dayIn("day"), func(r reportRow) float64 {
			if slices.Contains(shown, reason(r)) {
				return 0
			}
			return r.number("tasks")
		})
	}
}

// is counts the rows with a value.
func is(column, value string) func(reportRow) float64 {
	return func(r reportRow) float64 {
		if r.text(column) != value {
			return 0
		}
		return 1
	}
}

// dayIn is the day of a row, by a column with a day or a time.
func dayIn(column string) func(reportRow) string {
	return func(r reportRow) string {
		text := r.text(column)
		return text[:min(len(text), len(time.DateOnly))]
	}
}

// leastDays and mostDays bound the bars of a chart.
const (
	leastDays = 7
	mostDays  = 100
)

// daysOf are all days from the first to the last of rows, a week at least, those without a
// row included.
func daysOf(rows []reportRow, column string) (days []string) {
	known := labelsOf(rows, dayIn(column))
	slices.Sort(known)
	known = slices.DeleteFunc(known, func(day string) bool { return day == "" })
	if len(known) == 0 {
		return nil
	}
	last, err := time.Parse(time.DateOnly, known[len(known)-1])
	for i := mostDays - 1; i >= 0 && err == nil; i-- {
		if day := last.AddDate(0, 0, -i).Format(time.DateOnly); day >= known[0] || i < leastDays {
			days = append(days, day)
		}
	}
	return days
}

// labelsOf are the labels of rows, each once, in their order.
func labelsOf(rows []reportRow, label func(reportRow) string) (labels []string) {
	seen := map[string]bool{}
	for _, row := range rows {
		if name := label(row); !seen[name] {
			seen[name] = true
			labels = append(labels, name)
		}
	}
	return labels
}

// ages are the labels of how old a task is.
var ages = []string{"< 1 min", "< 5 min", "< 15 min", "< 1 h", "< 6 h", "< 24 h", ">= 24 h"}

func ageOf(r reportRow) string {
	for i, bound := range []float64{60, 300, 900, 3600, 6 * 3600, 24 * 3600} {
		if r.number("age_seconds") < bound {
			return ages[i]
		}
	}
	return ages[len(ages)-1]
}

// receiverOf is a receiver as far as a label has room.
func receiverOf(r reportRow) string {
	at, err := url.Parse(r.text("receiver"))
	if err != nil || at.Host == "" {
		return r.text("receiver")
	}
	name := at.Host
	if n := r.number("endpoint"); n > 0 {
		name = fmt.Sprintf("%d: %s", int64(n), name)
	}
	return name
}
