package deliver

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/klingwatch/klingwatch/webhook"
)

const (
	// A receiver gets one request until it has answered, a few at once after the first
	// 2xx, more with every other, half as many with every failure.
	firstWindow = 4
	maxWindow   = webhook.MaxConcurrent
	// minHold and maxHold bound how long a delivery without a turn is held back.
	minHold = time.Second
	maxHold = maxOpen
	// After stuckAfter, nobody waits in memory any more for a receiver that is silent, but
	// stays away for as long as it has been silent, at most silentHold: it may have hung
	// for a moment only.
	stuckAfter = 500 * time.Millisecond
	silentHold = 5 * time.Second
	// guessedLatency of a receiver that has not answered yet.
	guessedLatency = 100 * time.Millisecond
)

// standing is what a receiver's answers say of it, the best first.
type standing int

const (
	proven  standing = iota // the last one was a 2xx
	untried                 // there is none yet, or the one before the last was a 2xx
	failing
	standings
)

// receiver is an endpoint, or the URL of callbacks. All of it is guarded by
// receivers.mu.
type receiver struct {
	breaker
	host      *host
	sending   sending
	window    int // bound of sending
	standing  standing
	latency   time.Duration // moving average of requests
	waiting   []*turn
	lined     bool      // is in a line of its host
	lateSince time.Time // when late requests began to be on their way
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

// answer is what a request showed.
type answer int

const (
	answerGood      answer = iota // a 2xx
	answerBad                     // speaks against the receiver
	answerNeutral                 // about this delivery alone
	answerUnreached               // no connection was made: speaks against the host
)

// reply is what came of a request.
type reply struct {
	answer    answer
	took      time.Duration
	firstByte time.Duration // from the connection to the first byte of the answer
	slowDown  time.Duration // how long the receiver wants to be left alone; 0: it did not ask
}

// note takes in what came of a request.
func (r *receiver) note(seen reply, now time.Time) {
	if seen.answer == answerUnreached {
		r.standing = max(r.standing, untried) // what it would have said nobody knows
		return
	}
	r.latency += (seen.took - r.latency) / 5
	switch {
	case seen.answer == answerGood:
		if r.failures > 0 {
			r.busyUntil = time.Time{} // the line of those that were held back is no measure any more
		}
		r.mend()
		r.standing = proven
		r.window = min(max(r.window+1, firstWindow), maxWindow)
	case seen.answer == answerBad:
		r.doubt()
		r.fail(now, seen.slowDown)
	case r.standing == untried:
		r.standing = failing
	}
}

// doubt makes a receiver prove itself again.
func (r *receiver) doubt() {
	r.standing = min(r.standing+1, failing)
	r.window = max(r.window/2, 1)
}

// takes reports whether the receiver itself may get a request now.
func (r *receiver) takes(now time.Time) bool {
	return !r.shut(now) && (r.broken() || r.sending.all() < r.window && !r.silent())
}

// silent reports whether it lets requests wait for longer than it used to.
func (r *receiver) silent() bool { return r.standing != proven && r.sending.late > 0 }

// stuck reports whether it has been silent for a while.
func (r *receiver) stuck(now time.Time) bool {
	return r.silent() && now.Sub(r.lateSince) >= stuckAfter
}

func (r *receiver) idle() bool { return r.sending.all() == 0 && len(r.waiting) == 0 }

// settle notes that nobody is before those that come now, if so.
func (r *receiver) settle() {
	if len(r.waiting) == 0 && !r.broken() {
		r.busyUntil = r.openUntil
	}
}

// holdBack says how long the next delivery without a turn stays away: as long as
// those before it need.
func (r *receiver) holdBack(now time.Time) heldError {
	reason := "held_back: the receiver is busy with earlier webhooks"
	switch {
	case r.host.shut(now), !r.shut(now) && r.standing != proven && r.sending.all() == 0:
		return r.host.holdBack(r.standing, now)
	case r.broken():
		reason = fmt.Sprintf("held_back: the receiver failed %d times in a row and is asked again carefully", r.failures)
	case r.shut(now):
		reason = "held_back: the receiver asked to slow down"
	case r.silent():
		silence := now.Sub(r.lateSince)
		return heldError{wait: about(min(max(silence, minHold), silentHold)), reason: "held_back: the receiver has not answered an earlier webhook yet"}
	case r.standing == untried && r.failures == 0: // soon it is known better
		return heldError{wait: about(minHold), reason: reason}
	}
	// at the speed that it may reach: who comes back too early waits again
	return heldError{comeBack(&r.busyUntil, r.openUntil, now, r.latency/maxWindow), reason, r.shut(now) || r.broken()}
}

// about spreads a wait, so that not all come back together.
func about(wait time.Duration) time.Duration {
	return time.Duration(float64(wait) * (1 + rand.Float64()))
}

// comeBack gives the next turn of a line that is busy until then.
func comeBack(busyUntil *time.Time, notBefore, now time.Time, step time.Duration) time.Duration {
	*busyUntil = later(later(*busyUntil, notBefore), now).Add(step)
	wait := max(busyUntil.Sub(now), minHold)
	if wait > maxHold {
		wait = time.Duration(float64(maxHold) * (0.5 + 0.5*rand.Float64()))
	}
	return wait
}

// turnIn estimates how long n requests take.
func (r *receiver) turnIn(n int) time.Duration {
	return time.Duration(n) * r.latency / time.Duration(max(r.window, 1))
}
