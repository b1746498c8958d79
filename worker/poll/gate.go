package poll

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/klingwatch/klingwatch/klingapi"
)

const (
	// gateFailures different tasks in trouble, without a good answer in between,
	// mean that the relay is in trouble: then all slow down together.
	gateFailures = 5
	// gateFirst is the first wait of a closed gate; it doubles with each probe
	// that fails, up to gateLongest.
	gateFirst   = time.Second
	gateLongest = time.Minute
	// gateObeys caps how long a Retry-After closes the gate: one answer speaks for
	// all tasks there, and the task that got it waits its full time anyway.
	gateObeys = 5 * time.Minute
)

// gate holds requests back while the whole relay is in trouble. After each
// wait one request goes through as a probe; its answer opens the gate or
// doubles the wait. Time is passed in.
type gate struct {
	isTrouble func(error) bool // nil: relayInTrouble

	mu       sync.Mutex
	failing  []failure // tasks in trouble since the last good answer, while open
	closings int       // in a row; 0: open
	until    time.Time // closed until then
	probing  bool      // the probe is on its way
}

// failure is a task in trouble, and how long the relay asked it to wait.
type failure struct {
	task       int64
	retryAfter time.Duration
}

// ticket is the right to ask once; it must be given back with report.
type ticket struct{ probe bool }

// admit returns a ticket, or how long to wait before asking for one again.
func (g *gate) admit(now time.Time) (t ticket, wait time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.closings == 0:
		return ticket{}, 0
	case now.Before(g.until):
		return ticket{}, g.until.Sub(now)
	case g.probing:
		return ticket{}, gateFirst
	}
	g.probing = true
	return ticket{probe: true}, 0
}

// report takes in how the request of a ticket, about a task, ended. It returns
// true when that closed or opened the gate.
func (g *gate) report(t ticket, task int64, err error, now time.Time) (turned bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if t.probe {
		g.probing = false
	}
	trouble := relayInTrouble
	if g.isTrouble != nil {
		trouble = g.isTrouble
	}
	if !trouble(err) {
		turned = g.closings > 0
		g.failing, g.closings = g.failing[:0], 0
		return turned
	}
	asked := retryAfterOf(err)
	if g.closings == 0 && !slices.ContainsFunc(g.failing, func(f failure) bool { return f.task == task }) {
		g.failing = append(g.failing, failure{task, asked})
	}
	if g.closings == 0 && len(g.failing) < gateFailures || g.closings > 0 && !t.probe {
		return false // too few to tell, or asked before the gate closed
	}
	if g.closings == 0 {
		for _, f := range g.failing { // what all of them were asked for
			asked = min(asked, f.retryAfter)
		}
	}
	wait := max(min(gateFirst<<min(g.closings, maxDoublings), gateLongest), min(asked, gateObeys))
	g.closings++
	g.until = now.Add(wait)
	return g.closings == 1
}

// retryAfterOf is how long the relay asked to wait, 0 where it did not.
func retryAfterOf(err error) time.Duration {
	if apiErr, ok := errors.AsType[*klingapi.Error](err); ok {
		return apiErr.RetryAfter
	}
	return 0
}

// closed reports whether requests are held back.
func (g *gate) closed() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.closings > 0
}

// cancel gives a ticket back that was not used.
func (g *gate) cancel(t ticket) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if t.probe {
		g.probing = false
	}
}

// relayInTrouble reports whether an answer speaks of the relay as a whole. A
// refused credential does not count: it pauses polling in its own way. Neither
// do answers that make no sense: they may come from one wrong path, and each
// task that gets them backs off by itself.
func relayInTrouble(err error) bool {
	if err == nil {
		return false
	}
	var apiErr *klingapi.Error
	if !errors.As(err, &apiErr) {
		return true
	}
	switch apiErr.Kind {
	case klingapi.Unreachable, klingapi.Unavailable, klingapi.Throttled, klingapi.TokenTime:
		return true
	}
	return false
}
