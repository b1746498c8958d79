package poll

import "time"

const (
	// maxBackoff is the longest wait of a task in trouble: an outage that ends
	// should be noticed within minutes.
	maxBackoff = 2 * time.Minute
	// maxDoublings keeps the doubling of the wait from overflowing.
	maxDoublings = 10
	// quickAgain is the first wait for a file that is missing of a success; it
	// doubles.
	quickAgain = time.Second
	// jitter spreads waits by this part, so that tasks inserted together are not
	// asked together for ever.
	jitter = 0.1
)

// pace returns the wait until the next poll. usual is the wait when there is
// nothing special, with its jitter; interval the fixed one, which trouble
// doubles; left the time until the task's deadline; random a number from 0 up
// to 1.
func pace(v verdict, usual, interval, left time.Duration, random float64) time.Duration {
	wait := usual
	spread := 1 + jitter*(2*random-1)
	switch {
	case v.outcome == throttled || v.outcome == unreachable || v.outcome == unreadable || v.outcome == refused:
		wait = time.Duration(float64(backoff(v.memory.Trouble, interval)) * spread)
	case v.outcome == notFound:
		wait = time.Duration(float64(interval) * spread)
	case v.memory.WithoutFile > 0:
		wait = time.Duration(float64(backoff(v.memory.WithoutFile, min(interval, quickAgain))) * spread)
	}
	wait = max(wait, v.retryAfter)
	return max(min(wait, left), 0) // the deadline is kept to the moment
}

// backoff doubles the interval with each answer in a row that said nothing.
func backoff(trouble int, interval time.Duration) time.Duration {
	return max(interval, min(interval<<min(max(trouble-1, 0), maxDoublings), maxBackoff))
}

// calledTurn is when to ask about a task because of a callback that comes now; false
// where an earlier one has it asked about later anyway. Anybody may send callbacks, and
// notes that say so: they cost at most one poll in an interval. called is the turn before.
func calledTurn(called, now time.Time, interval time.Duration) (turn time.Time, news bool) {
	switch wait := called.Sub(now); {
	case wait > interval:
		return now, true // the clock went back
	case wait > 0:
		return called, false
	}
	return later(now, called.Add(interval)), true
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// expired is our own verdict, so an expired task is asked again at growing
// distances: the provider may have finished, and billed, after all.
const (
	lateFirst = 5 * time.Minute
	// lateGrowth: each distance is this part of the time since the expiry; about
	// a dozen polls in all.
	lateGrowth = 0.5
	// LateChecks is for how long: providers keep results for 30 days, but nothing
	// was ever seen to finish after days.
	LateChecks = 3 * 24 * time.Hour
)

// latePace returns the wait until the next late check of a task that expired
// that long ago, and false when there is none.
func latePace(ended time.Duration, random float64) (time.Duration, bool) {
	wait := max(lateFirst, time.Duration(float64(ended)*lateGrowth))
	wait = time.Duration(float64(wait) * (1 + jitter*(2*random-1)))
	// the last one is at the end, when the row says that none is to come
	return min(wait, LateChecks-ended+time.Second), ended < LateChecks
}
