package doctor

import (
	"time"

	"github.com/klingwatch/klingwatch/readable"
)

// skewOf returns how far a clock is ahead of ours that was read between two
// moments, and how uncertain that is.
func skewOf(read, sent, answered time.Time) (skew, within time.Duration) {
	half := answered.Sub(sent) / 2
	return read.Sub(sent.Add(half)), half
}

// judgeClock compares a clock with this machine's.
func judgeClock(whose string, skew, within, warnAt, badAt time.Duration) Finding {
	const todo = "set this machine's clock by NTP, if it is the one that is wrong: webhooks are signed with its time, and deadlines go by the database's"
	certain := max(skew.Abs()-within, 0)
	direction := "ahead of"
	if skew < 0 {
		direction = "behind"
	}
	switch {
	case certain > badAt:
		return bad(todo, "%s clock is %s %s this machine's", whose, readable.Duration(skew), direction)
	case certain > warnAt:
		return warn(todo, "%s clock is %s %s this machine's", whose, readable.Duration(skew), direction)
	}
	return fine("%s clock agrees with this machine's within %s", whose, max(certain+within, time.Millisecond).Round(time.Millisecond))
}
