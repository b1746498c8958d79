package deliver

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/klingwatch/klingwatch/webhook"
)

const (
	// A receiver gets few requests at once, more with every 2xx, half as many
	// with every failure.
	firstWindow = 4
	maxWindow   = webhook.MaxConcurrent
	// breakAfter failures in a row open a receiver's breaker: first for openFor,
	// then twice as long each time, at most for maxOpen.
	breakAfter = 5
	openFor    = 10 * time.Second
	maxOpen    = 5 * time.Minute
	// minHold and maxHold bound how long a delivery without a turn is held back.
	minHold = time.Second
	maxHold = maxOpen
	// guessedLatency of a receiver that has not answered yet.
	guessedLatency = 100 * time.Millisecond
)

// receiver is one place. All of it is guarded by receivers.mu.
type receiver struct {
	place     string
	sending   int
	window    int           // bound of sending
	proven    bool          // its last answer was a 2xx
	known     bool          // it has answered, or failed to
	latency   time.Duration // moving average of requests
	waiting   []*turn
	queued    bool // is in receivers.queued
	failures  int  // in a row
	opened    int  // times that the breaker opened in a row
	openUntil time.Time
	probing   bool
	busyUntil time.Time // until then others have taken the turns
	used      time.Time
}

// heldError says that a delivery is not sent now, and why.
type heldError struct {
	wait    time.Duration
	reason  string
	refused bool // by the receiver: it keeps failing, or asked for it
}

func (e heldError) Error() string { return e.reason }

// answer is what a request showed of its receiver.
type answer int

const (
	answerGood    answer = iota // a 2xx
	answerBad                   // speaks against the receiver
	answerNeutral               // about this delivery alone, or cut off by us
)

// note takes in an answer.
func (r *receiver) note(a answer, took time.Duration) {
	if a != answerNeutral {
		r.known = true
		r.latency += (took - r.latency) / 5
	}
	switch a {
	case answerGood:
		if r.failures > 0 {
			r.busyUntil = time.Time{} // the line of those that were held back is no measure any more
		}
		r.proven, r.failures, r.opened, r.openUntil = true, 0, 0, time.Time{}
		r.window = min(r.window+1, maxWindow)
	case answerBad:
		r.proven = false
		r.failures++
		r.window = max(r.window/2, 1)
	case answerNeutral:
	}
}

// trip opens the breaker when there are too many failures, and closes the door
// for as long as the receiver asked for.
func (r *receiver) trip(now time.Time, slowDown time.Duration) {
	var shut time.Duration
	if r.broken() && !now.Before(r.openUntil) { // not for what was under way when it opened
		shut = min(openFor<<min(r.opened, 10), maxOpen)
		shut = time.Duration(float64(shut) * (0.9 + 0.2*rand.Float64()))
		r.opened++
	}
	if shut = max(shut, min(slowDown, maxOpen)); shut > 0 {
		r.openUntil = later(r.openUntil, now.Add(shut))
		r.busyUntil = later(r.busyUntil, r.openUntil)
	}
}

// broken reports whether the breaker is open: one request at a time probes.
func (r *receiver) broken() bool { return r.failures >= breakAfter }

// holdBack says how long the next delivery without a turn stays away: as long as
// those before it need.
func (r *receiver) holdBack(now time.Time) heldError {
	reason := "held_back: the receiver is busy with earlier webhooks"
	switch {
	case r.broken():
		reason = fmt.Sprintf("held_back: the receiver failed %d times in a row and is asked again carefully", r.failures)
	case now.Before(r.openUntil):
		reason = "held_back: the receiver asked to slow down"
	}
	if !r.known { // soon it will be
		return heldError{wait: time.Duration(float64(minHold) * (1 + rand.Float64())), reason: reason}
	}
	// at the speed that it may reach: who comes back too early waits again
	r.busyUntil = later(later(r.busyUntil, r.openUntil), now).Add(r.latency / maxWindow)
	wait := max(r.busyUntil.Sub(now), minHold)
	if wait > maxHold {
		wait = time.Duration(float64(maxHold) * (0.5 + 0.5*rand.Float64()))
	}
	return heldError{wait, reason, r.broken() || now.Before(r.openUntil)}
}

// turnIn estimates how long n requests take.
func (r *receiver) turnIn(n int) time.Duration {
	return time.Duration(n) * r.latency / time.Duration(max(r.window, 1))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
