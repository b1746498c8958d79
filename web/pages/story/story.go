// Package story tells what happened to a task, what is to come, and why it is as it is. It
// decides only: what it needs has been read.
package story

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/operate"
)

// Moment is an entry in the timeline of a task.
type Moment struct {
	ID     string // of its element
	At     time.Time
	Kind   string // created, event, polled, trouble, attempt, next, kept, lost, expected, deadline
	Future bool

	Event    *db.Event             // of an event
	Delivery *operate.TaskDelivery // of an attempt, and of the next
	Attempt  *db.Attempt           // of an attempt
	Output   *db.Output            // of a file
	Task     *operate.TaskView     // of all others
	Last     bool                  // the last attempt of a delivery
}

// Status is the status that an event tells of, or what it tells about files.
func (m Moment) Status() string { return strings.TrimPrefix(m.Event.Type, "task.") }

// Took is how long an attempt took.
func (m Moment) Took() time.Duration { return m.Attempt.FinishedAt.Sub(m.Attempt.StartedAt) }

// Redeliverable tells whether its delivery has ended with it, and may be sent again.
func (m Moment) Redeliverable() bool {
	return m.Kind == "attempt" && m.Last && (m.Delivery.State == db.DeliveryDelivered || m.Delivery.State == db.DeliveryExhausted)
}

// Timeline merges all that has happened to a task, and what is to come, by time.
// Deliveries are told to whom they concern: not to an app.
func Timeline(view operate.TaskView, deliveries bool, now time.Time) []Moment {
	line := []Moment{{ID: elementID("created"), At: view.CreatedAt, Kind: "created", Task: &view}}
	for i, event := range view.Events {
		line = append(line, Moment{ID: elementID("event", event.ID), At: event.CreatedAt, Kind: "event", Event: &view.Events[i], Task: &view})
	}
	for i, o := range view.Outputs {
		if o.ArchivedAt != nil {
			line = append(line, Moment{ID: elementID("kept", o.Kind, o.Position), At: *o.ArchivedAt, Kind: "kept", Output: &view.Outputs[i]})
		}
	}
	line = append(line, polls(&view)...)
	if deliveries {
		for i := range view.Deliveries {
			line = append(line, attempts(&view.Deliveries[i])...)
		}
	}
	slices.SortStableFunc(line, func(a, b Moment) int { return a.At.Compare(b.At) })
	for i := range line {
		line[i].Future = line[i].At.After(now)
	}
	return line
}

// polls are the questions to the relay: their number, the trouble with the last, and what
// is expected of those to come.
func polls(view *operate.TaskView) (line []Moment) {
	if view.LastPolledAt != nil {
		kind := "polled"
		if view.LastError != nil {
			kind = "trouble"
		}
		at := *view.LastPolledAt
		if ended := view.FinishedAt; ended != nil && !at.Before(*ended) && at.Sub(*ended) < time.Second {
			at = ended.Add(-time.Microsecond) // the question that brought the end
		}
		line = append(line, Moment{ID: elementID("polled"), At: at, Kind: kind, Task: view})
	}
	if view.FinishedAt != nil {
		return line
	}
	if view.Expected != nil {
		line = append(line, Moment{ID: elementID("expected"), At: view.Expected.P50, Kind: "expected", Task: view})
	}
	if view.DeadlineAt != nil {
		line = append(line, Moment{ID: elementID("deadline"), At: *view.DeadlineAt, Kind: "deadline", Task: view})
	}
	return line
}

func attempts(d *operate.TaskDelivery) (line []Moment) {
	for i := range d.AttemptLog {
		a := &d.AttemptLog[i]
		line = append(line, Moment{ID: elementID("attempt", d.ID, a.Attempt), At: a.StartedAt, Kind: "attempt", Delivery: d, Attempt: a, Last: i == len(d.AttemptLog)-1})
	}
	if d.NextAttemptAt != nil && d.State == db.DeliveryPending {
		line = append(line, Moment{ID: elementID("next", d.ID), At: *d.NextAttemptAt, Kind: "next", Delivery: d})
	}
	return line
}

// Why says in words why a task is as it is: keys of the words of its page.
type Why struct {
	Key    string // the sentence
	Hint   string // what to do or to expect; "": nothing
	Quoted string // the words of the relay or of klingwatch, as they are
	Code   string // the relay's code; "": none
}

// Explain tells why a task is as it is.
func Explain(view operate.TaskView) Why {
	w := Why{Quoted: view.StatusMessage}
	if view.ErrorCode != nil {
		w.Code = *view.ErrorCode
	}
	by := ""
	if view.EndedBy != nil {
		by = "." + *view.EndedBy
	}
	switch view.Status {
	case db.Succeeded:
		w.Key, w.Hint = "why.succeeded", filesHint(view.Outputs)
	case db.Failed:
		w.Key, w.Hint = "why.failed"+by, "hint.failed"
	case db.Expired:
		w.Key, w.Hint = "why.expired", "hint.expired"
	case db.NotFound:
		w.Key, w.Hint = "why.not_found", "hint.not_found"
	case db.Canceled:
		w.Key, w.Hint = "why.canceled"+by, "hint.canceled"
	default:
		w.Key, w.Hint = "why."+view.Status, ""
		w.Quoted = cmp.Or(deref(view.LastError), view.StatusMessage)
		if view.LastError != nil {
			w.Key, w.Hint = "why.trouble", "hint.trouble"
		}
	}
	return w
}

// filesHint tells what is to be known of the files of a task that succeeded.
func filesHint(outputs []db.Output) string {
	states := map[string]int{}
	for _, o := range outputs {
		states[deref(o.ArchiveState)]++
	}
	switch {
	case len(outputs) == 0:
		return "hint.no_files"
	case states[db.ArchiveLost] > 0:
		return "hint.lost"
	case states[db.ArchivePending] > 0:
		return "hint.fetching"
	case states[db.ArchiveStored] == len(outputs):
		return "hint.stored"
	}
	return "hint.not_kept"
}

func deref(text *string) string {
	if text == nil {
		return ""
	}
	return *text
}

// elementID names the element of a moment in the timeline.
func elementID(kind string, ids ...any) string {
	name := "m-" + kind
	for _, id := range ids {
		name += fmt.Sprintf("-%v", id)
	}
	return name
}
