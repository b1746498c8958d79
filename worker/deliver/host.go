package deliver

import (
	"fmt"
	"time"
)

const (
	// A host gets few requests at once to receivers without a 2xx, one more with
	// every connection, half as many when it cannot be reached.
	firstShare = 16
	maxShare   = 256
	// An answer is late after lateAfter, or lateFactor times what this host needs: from
	// then on the silence is the receiver's, and its request takes no share of its host.
	lateAfter  = 200 * time.Millisecond
	lateFactor = 3
	// Each failure makes the host's receivers without a 2xx wait. After patience more
	// failures than twice the successes, the host as a whole is asked gently.
	failureCost = 2 * time.Millisecond // 500 failures a second
	patience    = 1200
	gentleCost  = 50 * time.Millisecond // 20 failures a second
	gentleShare = 4
	maxDebt     = maxShare * failureCost
	// maxReceivers of one host are remembered, and maxRemembered of all: a URL that holds
	// the number of a task is never seen again.
	maxReceivers  = 10_000
	maxRemembered = 100_000 // 20 MB
	// forgetSample of them are looked at to find one to forget.
	forgetSample = 16
	// maxLine receivers without a 2xx wait in memory for the leave of their host.
	maxLine = patience
)

// host is what its receivers share; an endpoint has one of its own. All of it is
// guarded by receivers.mu.
type host struct {
	breaker   // counts what reached no server
	receivers map[uint64]*receiver
	sending   sending
	window    int           // bound of requests to receivers without a 2xx
	blame     int           // failures less twice the successes, 0 to patience
	owes      time.Time     // until then receivers without a 2xx wait
	answersIn time.Duration // what the quick ones of its receivers need for a 2xx; 0: unknown
	waiting   int
	lines     [standings][]*receiver // have a delivery to send, but not their host's leave
	queued    bool                   // is in receivers.queued
	waking    bool                   // a timer runs until it owes nothing
	busyUntil [standings]time.Time   // until then others have taken the turns
}

// admits reports whether one more request may be sent to a receiver of this standing.
func (h *host) admits(s standing, now time.Time) bool {
	switch {
	case h.shut(now):
		return false
	case h.broken():
		return true // it is probed
	case s == proven:
		return h.sending.proven < maxWindow
	}
	return h.sending.unproven < h.share() && !now.Before(h.owes)
}

// gentle reports whether so much fails here that the host must be spared.
func (h *host) gentle() bool { return h.blame >= patience }

func (h *host) share() int {
	if h.gentle() {
		return min(h.window, gentleShare)
	}
	return h.window
}

// cost is how long one failure makes the others wait.
func (h *host) cost() time.Duration {
	if h.gentle() {
		return gentleCost
	}
	return failureCost
}

// charge spaces the requests that fail, from when they began.
func (h *host) charge(begun, now time.Time) {
	h.owes = later(h.owes, begun).Add(h.cost())
	if limit := now.Add(maxDebt); h.owes.After(limit) {
		h.owes = limit
	}
}

// reached notes that a connection was made. It returns true when that closed the
// breaker.
func (h *host) reached() (mended bool) {
	mended = h.broken()
	h.mend()
	h.window = min(h.window+1, maxShare)
	return mended
}

// note takes in what came of a request.
func (h *host) note(r reply, p *pass, now time.Time) {
	switch r.answer {
	case answerGood:
		h.blame = max(h.blame-2, 0)
		if h.answersIn == 0 || r.firstByte < h.answersIn {
			h.answersIn = r.firstByte
		} else {
			h.answersIn += (r.firstByte - h.answersIn) / 20
		}
	case answerBad, answerNeutral:
		h.blame = min(h.blame+1, patience)
		if !p.late {
			h.charge(p.begun, now)
		}
	case answerUnreached:
		h.window = max(h.window/2, 1)
		h.fail(now, 0)
	}
}

// lateIn returns how long after its connection a request is late: others of this
// host's receivers would have answered.
func (h *host) lateIn() time.Duration { return max(lateAfter, lateFactor*h.answersIn) }

// turnIn estimates how long a receiver of this standing waits for the leave of its
// host: those that stand before it may fail.
func (h *host) turnIn(s standing) time.Duration {
	before := 0
	for better := untried; better <= s; better++ {
		before += len(h.lines[better])
	}
	return time.Duration(before) * h.cost()
}

// room reports whether one more receiver of this standing may wait for it.
func (h *host) room(s standing) bool {
	return s == proven || len(h.lines[s]) < maxLine && h.turnIn(s) <= maxWait
}

// holdBack says how long a delivery stays away that this host keeps from being sent.
func (h *host) holdBack(s standing, now time.Time) heldError {
	reason := "held_back: the receiver's host is busy with webhooks to other receivers"
	switch {
	case h.broken():
		reason = fmt.Sprintf("held_back: the receiver's host could not be reached %d times in a row and is asked again carefully", h.failures)
	case h.gentle():
		reason = "held_back: most webhooks to the receiver's host fail, so it is asked gently"
	}
	notBefore := later(h.openUntil, now.Add(h.turnIn(s)))
	return heldError{comeBack(&h.busyUntil[s], notBefore, now, h.cost()), reason, h.broken() || h.gentle()}
}

// add makes a receiver, which is given the benefit of the doubt.
func (h *host) add(key uint64) *receiver {
	r := &receiver{host: h, standing: untried, window: 1, latency: guessedLatency}
	h.receivers[key] = r
	return r
}

// forgetOne forgets the receiver that was idle for longest among a few; false: none is idle.
func (h *host) forgetOne() bool {
	var oldest *receiver
	var which uint64
	seen := 0
	for key, r := range h.receivers {
		if seen++; seen > forgetSample {
			break
		}
		if r.idle() && (oldest == nil || r.used.Before(oldest.used)) {
			oldest, which = r, key
		}
	}
	if oldest != nil {
		delete(h.receivers, which)
	}
	return oldest != nil
}

// line puts a receiver into the line where it belongs, at the end, if it lacks only
// the leave of its host or a slot of the process.
func (h *host) line(r *receiver, now time.Time) {
	if !r.lined && len(r.waiting) > 0 && r.takes(now) {
		r.lined = true
		h.lines[r.standing] = append(h.lines[r.standing], r)
	}
}

// next takes the first receiver out of a line; nil when it has no delivery to send
// any more, or stands in another line now.
func (h *host) next(s standing, now time.Time) *receiver {
	r := h.lines[s][0]
	h.lines[s] = h.lines[s][1:]
	r.lined = false
	if r.standing == s && len(r.waiting) > 0 && r.takes(now) {
		return r
	}
	h.line(r, now)
	return nil
}

// settle notes that nobody is before those that come now, if so.
func (h *host) settle() {
	for s, line := range h.lines {
		if len(line) == 0 && !h.broken() {
			h.busyUntil[s] = h.openUntil
		}
	}
}

// survey forgets receivers that were idle for long, and counts what is held back.
func (h *host) survey(now time.Time) (open int) {
	for key, r := range h.receivers {
		switch {
		case r.idle() && now.Sub(r.used) > forgetAfter:
			delete(h.receivers, key)
		case r.broken():
			open++
		}
	}
	if h.broken() && len(h.receivers) > 0 {
		return 1
	}
	return open
}
