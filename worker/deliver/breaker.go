package deliver

import (
	"math/rand/v2"
	"time"
)

const (
	// breakAfter failures in a row open a breaker: first for openFor, then twice as
	// long each time, at most for maxOpen.
	breakAfter = 5
	openFor    = 10 * time.Second
	maxOpen    = 5 * time.Minute
)

// breaker holds back what fails again and again: a receiver, or a host.
type breaker struct {
	failures  int // in a row
	opened    int // times that it opened in a row
	openUntil time.Time
	probing   bool // the one request that an open breaker lets through is on its way
}

// broken reports whether it is open: one request at a time probes.
func (b *breaker) broken() bool { return b.failures >= breakAfter }

// shut reports whether nothing may be sent now.
func (b *breaker) shut(now time.Time) bool {
	return now.Before(b.openUntil) || b.broken() && b.probing
}

// mend forgets the failures.
func (b *breaker) mend() { b.failures, b.opened, b.openUntil = 0, 0, time.Time{} }

// fail counts a failure. It opens the breaker when there are too many, and closes
// the door for as long as was asked for.
func (b *breaker) fail(now time.Time, slowDown time.Duration) {
	b.failures++
	var shut time.Duration
	if b.broken() && !now.Before(b.openUntil) { // not for what was under way when it opened
		shut = min(openFor<<min(b.opened, 10), maxOpen)
		shut = time.Duration(float64(shut) * (0.9 + 0.2*rand.Float64()))
		b.opened++
	}
	if shut = max(shut, min(slowDown, maxOpen)); shut > 0 {
		b.openUntil = later(b.openUntil, now.Add(shut))
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
