package worker

import "time"

// expired is our own verdict, so an expired task is asked again at growing
// distances: the provider may have finished, and billed, after all.
const (
	lateFirst = 5 * time.Minute
	// lateGrowth: each distance is this part of the time since the expiry; about
	// a dozen questions in all.
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
	return wait, ended+wait <= LateChecks
}
