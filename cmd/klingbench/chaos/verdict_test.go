package chaos

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/db"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// wellDone are the facts of a run in which nothing went wrong: one task, a promotion.
func wellDone() facts {
	end := eventKey{"fail-1", "task.failed"}
	promoted, _ := kindNamed(flip)
	out := window{promoted, noon, noon.Add(4 * time.Second)}
	return facts{
		orders:     map[string]order{"fail-1": {id: "fail-1", script: script{expect: db.Failed}, callback: true}},
		tasks:      []taskFact{{TaskID: "fail-1", Status: db.Failed, Events: 2, Terminals: 1, First: 1, Last: 2}},
		deliveries: 2,
		arrivals: arrivals{
			ids:      map[eventKey]int{end: 1},
			accepted: map[string]map[eventKey]int{endpointPath: {end: 1}, callbackPath: {end: 2}}, // twice is allowed
		},
		services:   []serviceFacts{{name: "worker-1", lines: 3, peak: 1 << 20, samples: readiness(out, http.StatusServiceUnavailable)}},
		faults:     []window{out},
		outages:    []window{out},
		recoveries: []recovery{{window: window{promoted, out.to, out.to.Add(2 * time.Second)}}},
	}
}

// readiness is what /readyz said during a window, and that it was ready afterwards.
func readiness(w window, status int) (samples []sample) {
	for at := w.from; at.Before(w.to); at = at.Add(watchEvery) {
		samples = append(samples, sample{at, status})
	}
	return append(samples, sample{w.to.Add(time.Second), http.StatusOK})
}

func TestEachVerdictFindsItsFault(t *testing.T) {
	t.Parallel()
	if wrong := faultsOf(wellDone()); len(wrong) > 0 {
		t.Fatalf("a run in which all was well: %q", wrong)
	}
	readOnlyKind, _ := kindNamed(readOnly)
	for want, spoil := range map[string]func(*facts){
		"fail-1 is still processing":            func(f *facts) { f.tasks[0].Status = db.Processing },
		"fail-1 is succeeded instead of failed": func(f *facts) { f.tasks[0].Status = db.Succeeded },
		"other was never inserted":              func(f *facts) { f.tasks = append(f.tasks, taskFact{TaskID: "other", Terminals: 1}) },
		"fail-1 is gone":                        func(f *facts) { f.tasks = nil },
		"fail-1 has 2":                          func(f *facts) { f.tasks[0].Terminals = 2 },
		"fail-1 has 2 events from 1 to 3":       func(f *facts) { f.tasks[0].Last = 3 },
		"task.failed of fail-1 is pending, due in 5m0s: timeout": func(f *facts) {
			f.undelivered = []deliveryFact{{"fail-1", "task.failed", db.DeliveryPending, new("timeout"), new(5 * time.Minute)}}
		},
		"task.failed of fail-1 did not arrive at the endpoint":        func(f *facts) { clear(f.arrivals.accepted[endpointPath]) },
		"task.failed of fail-1 did not arrive at its callback_url":    func(f *facts) { clear(f.arrivals.accepted[callbackPath]) },
		"task.failed of fail-1 arrived under 2":                       func(f *facts) { f.arrivals.ids[eventKey{"fail-1", "task.failed"}] = 2 },
		"1 requests had no valid signature":                           func(f *facts) { f.arrivals.unsigned = 1 },
		"a job is lost":                                               func(f *facts) { f.limbo = []string{"a job is lost"} },
		"3 sessions are still open there":                             func(f *facts) { f.staying = 3 },
		"worker-1 logged 30 lines: much":                              func(f *facts) { f.services[0].lines, f.services[0].said = 30, "much" },
		"worker-1 took 301 MiB":                                       func(f *facts) { f.services[0].peak = 301 << 20 },
		"worker-1 was ready all the time during flip, 16 times in 4s": func(f *facts) { f.services[0].samples = readiness(f.outages[0], http.StatusOK) },
		"worker-1 is not ready in the end":                            func(f *facts) { f.services[0].samples = nil },
		"no task ended within 15s after flip":                         func(f *facts) { f.recoveries[0].missing = "no task ended" },
		"worker-1: exit status 1: klingwatch: out of ideas":           func(f *facts) { f.services[0].ends = []string{"exit status 1: klingwatch: out of ideas"} },
		"worker-1: panic: index out of range":                         func(f *facts) { f.services[0].crashes = []string{"panic: index out of range"} },
		"": func(f *facts) { // another fault came between
			f.recoveries[0].missing = "no task ended"
			f.faults = append(f.faults, window{readOnlyKind, f.outages[0].to.Add(time.Second), f.outages[0].to.Add(2 * time.Second)})
		},
	} {
		f := wellDone()
		spoil(&f)
		if wrong := faultsOf(f); want == "" && len(wrong) > 0 || want != "" && !slices.Contains(wrong, want) {
			t.Errorf("%q is not among %q", want, wrong)
		}
	}
}

func faultsOf(f facts) (wrong []string) {
	for _, v := range judge(f) {
		wrong = append(wrong, v.wrong...)
	}
	return wrong
}
