package webhook

import "time"

// schedule has the wait before each attempt, as the specification of Standard
// Webhooks proposes it: about 3 days in all.
var schedule = []time.Duration{
	0,
	5 * time.Second,
	5 * time.Minute,
	30 * time.Minute,
	2 * time.Hour,
	5 * time.Hour,
	10 * time.Hour,
	14 * time.Hour,
	20 * time.Hour,
	24 * time.Hour,
}

// MaxAttempts is the number of attempts after which a delivery is exhausted.
var MaxAttempts = len(schedule)

// jitter is the part of the wait by which retries are spread, so that receivers
// that failed together are not asked together.
const jitter = 0.1

// NextAttempt returns the wait after a failed attempt (counted from 1), and false
// when it was the last. It honours a longer Retry-After of the receiver. random, in
// [0, 1), places the next attempt within the jitter.
func NextAttempt(attempt int, retryAfter time.Duration, random float64) (time.Duration, bool) {
	if attempt < 1 || attempt >= len(schedule) {
		return 0, false
	}
	wait := time.Duration(float64(schedule[attempt]) * (1 + jitter*(2*random-1)))
	return max(wait, retryAfter), true
}
