package chaos

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/klingwatch/klingwatch/db"
)

const (
	// maxLogLines is what a person can still read when everything fails at once.
	maxLogLines = 30
	// maxMemory of a process in RAM.
	maxMemory = 300 << 20
	// claims of readiness in a row, a second's worth, that cannot be a coincidence.
	claims = 4
)

// verdict is one thing that has to be true.
type verdict struct {
	what  string   // what was checked
	wrong []string // what is not so; empty: all is well
}

// judge checks the facts; it decides everything and touches nothing.
func judge(f facts) []verdict {
	return []verdict{
		judgeVerdicts(f), judgeTerminals(f), judgeSequences(f), judgeDeliveries(f), judgeArrivals(f), judgeIDs(f), judgeSignatures(f),
		judgeLimbo(f), judgeOldServer(f), judgeLogs(f), judgeMemory(f), judgeReadiness(f), judgeRecoveries(f), judgeProcesses(f),
	}
}

// judgeVerdicts: what the relay would say of each task, and no task but those.
func judgeVerdicts(f facts) verdict {
	v := verdict{what: fmt.Sprintf("%d tasks ended as they should", len(f.orders))}
	there := map[string]bool{}
	for _, t := range f.tasks {
		there[t.TaskID] = true
		o, known := f.orders[t.TaskID]
		switch {
		case !known:
			v.addf("%s was never inserted", t.TaskID)
		case t.Status != o.script.expect && !db.Terminal(t.Status):
			v.addf("%s is still %s%s", t.TaskID, t.Status, because(t.LastError))
		case t.Status != o.script.expect:
			v.addf("%s is %s instead of %s", t.TaskID, t.Status, o.script.expect)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(f.orders)) {
		if !there[id] {
			v.addf("%s is gone", id)
		}
	}
	return v
}

func judgeTerminals(f facts) verdict {
	v := verdict{what: "each has one event that ends it"}
	for _, t := range f.tasks {
		if t.Terminals != 1 {
			v.addf("%s has %d", t.TaskID, t.Terminals)
		}
	}
	return v
}

func judgeSequences(f facts) verdict {
	v := verdict{what: "the events of each are numbered without a gap"}
	for _, t := range f.tasks {
		if t.Events > 0 && (t.First != 1 || t.Last != t.Events) {
			v.addf("%s has %d events from %d to %d", t.TaskID, t.Events, t.First, t.Last)
		}
	}
	return v
}

func judgeDeliveries(f facts) verdict {
	v := verdict{what: fmt.Sprintf("%d webhooks are delivered", f.deliveries)}
	for _, d := range f.undelivered {
		due := ""
		if d.DueIn != nil {
			due = fmt.Sprintf(", due in %s", d.DueIn.Round(second))
		}
		v.addf("%s of %s is %s%s%s", d.Type, d.TaskID, d.State, due, because(d.LastError))
	}
	return v
}

// judgeArrivals: a delivery is not only called delivered.
func judgeArrivals(f facts) verdict {
	v := verdict{what: "the end of each arrived at the endpoint, and at its callback_url where it has one"}
	for _, id := range slices.Sorted(maps.Keys(f.orders)) {
		o := f.orders[id]
		end := eventKey{id, "task." + o.script.expect}
		if f.arrivals.accepted[endpointPath][end] == 0 {
			v.addf("%s of %s did not arrive at the endpoint", end.eventType, id)
		}
		if o.callback && f.arrivals.accepted[callbackPath][end] == 0 {
			v.addf("%s of %s did not arrive at its callback_url", end.eventType, id)
		}
	}
	return v
}

func judgeIDs(f facts) verdict {
	v := verdict{what: fmt.Sprintf("%d events arrived under one webhook-id each", len(f.arrivals.ids))}
	keys := slices.SortedFunc(maps.Keys(f.arrivals.ids), func(a, b eventKey) int {
		return cmp.Or(strings.Compare(a.taskID, b.taskID), strings.Compare(a.eventType, b.eventType))
	})
	for _, key := range keys {
		if n := f.arrivals.ids[key]; n != 1 {
			v.addf("%s of %s arrived under %d", key.eventType, key.taskID, n)
		}
	}
	return v
}

func judgeSignatures(f facts) verdict {
	v := verdict{what: "every webhook was signed"}
	if f.arrivals.unsigned > 0 {
		v.addf("%d requests had no valid signature", f.arrivals.unsigned)
	}
	return v
}

func judgeLimbo(f facts) verdict {
	return verdict{what: "nothing is left without a job, under a process that is gone, or paused", wrong: f.limbo}
}

func judgeOldServer(f facts) verdict {
	v := verdict{what: "klingwatch left the server that was replaced"}
	if f.staying > 0 {
		v.addf("%d sessions are still open there", f.staying)
	}
	return v
}

func judgeLogs(f facts) verdict {
	v := verdict{}
	var parts []string
	for _, s := range f.services {
		parts = append(parts, fmt.Sprintf("%s %d", s.name, s.lines))
		if s.lines >= maxLogLines {
			v.addf("%s logged %d lines: %s", s.name, s.lines, s.said)
		}
	}
	v.what = fmt.Sprintf("fewer than %d log lines in any second (%s)", maxLogLines, strings.Join(parts, ", "))
	return v
}

func judgeMemory(f facts) verdict {
	v := verdict{}
	var parts []string
	for _, s := range f.services {
		parts = append(parts, fmt.Sprintf("%s %d MiB", s.name, s.peak>>20))
		if s.peak > maxMemory {
			v.addf("%s took %d MiB", s.name, s.peak>>20)
		}
	}
	v.what = fmt.Sprintf("at most %d MiB of memory (%s)", maxMemory>>20, strings.Join(parts, ", "))
	return v
}

// judgeReadiness: 503 while the database was away or read-only, 200 in the end. A
// process that was down or stopped itself is not blamed for its silence.
func judgeReadiness(f facts) verdict {
	v := verdict{}
	times := 0
	for _, w := range f.outages {
		if !w.kind.away {
			continue
		}
		times++
		for _, s := range f.services {
			if yes, no := counted(s.samples, w); no == 0 && yes >= claims {
				v.addf("%s was ready all the time during %s, %d times in %s", s.name, w.kind.name, yes, w.to.Sub(w.from).Round(second/10))
			}
		}
	}
	for _, s := range f.services {
		if len(s.samples) == 0 || s.samples[len(s.samples)-1].status != http.StatusOK {
			v.addf("%s is not ready in the end", s.name)
		}
	}
	v.what = fmt.Sprintf("/readyz was 503 in each of %d times that the database was away or read-only, and is 200 in the end", times)
	return v
}

// counted counts the answers that were asked for in a window.
func counted(samples []sample, w window) (yes, no int) {
	for _, s := range samples {
		if s.asked.Before(w.from) || s.asked.After(w.to) {
			continue
		}
		switch s.status {
		case http.StatusOK:
			yes++
		case http.StatusServiceUnavailable:
			no++
		}
	}
	return yes, no
}

func judgeProcesses(f facts) verdict {
	v := verdict{what: "no process ended by itself"}
	for _, s := range f.services {
		for _, end := range s.ends {
			v.addf("%s: %s", s.name, end)
		}
		for _, line := range s.crashes {
			v.addf("%s: %s", s.name, line)
		}
	}
	return v
}

func (v *verdict) addf(format string, args ...any) {
	v.wrong = append(v.wrong, fmt.Sprintf(format, args...))
}

// because adds what went wrong last.
func because(lastError *string) string {
	if lastError == nil {
		return ""
	}
	return ": " + *lastError
}
