package poll

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/schedule"
)

const (
	// learnEvery is how often the schedules are learned anew.
	learnEvery = time.Minute
	// keepLearned is how long a schedule stays in use whose type had no task among
	// the recent ones since.
	keepLearned = 24 * time.Hour
)

// schedules are the ones in use; nil until the first were learned.
type schedules struct {
	current atomic.Pointer[map[schedule.TaskType]learned]
}

type learned struct {
	*schedule.Schedule
	at time.Time
}

// use takes newly learned schedules and keeps those of other types for a while.
func (s *schedules) use(fresh map[schedule.TaskType]*schedule.Schedule, now time.Time) {
	next := make(map[schedule.TaskType]learned, len(fresh))
	if before := s.current.Load(); before != nil {
		for of, old := range *before {
			if now.Sub(old.at) < keepLearned {
				next[of] = old
			}
		}
	}
	for of, s := range fresh {
		next[of] = learned{s, now}
	}
	s.current.Store(&next)
}

// usualWait returns the wait until the next poll of a task about which there is
// nothing special: learned, else the fixed interval, with jitter. random is
// from 0 up to 1.
func (s *schedules) usualWait(task db.PollTarget, interval time.Duration, random float64) time.Duration {
	step := 1 + jitter*(2*random-1)
	if current := s.current.Load(); current != nil {
		if l, found := (*current)[schedule.TaskType{Relay: task.Relay, Action: task.Action, Action2: task.Action2}]; found {
			return l.Wait(task.Age, step)
		}
	}
	return time.Duration(float64(interval) * step)
}

// Learn learns schedules at once and then regularly, until ctx ends.
func (c *common) Learn(ctx context.Context) {
	for ctx.Err() == nil {
		fresh, err := schedule.LearnSchedules(ctx, c.Pool, c.Interval)
		switch {
		case err == nil:
			c.schedules.use(fresh, time.Now())
		case ctx.Err() == nil:
			c.Log.Warn("learning the polling schedule; the last one stays in use", "error", err.Error())
		}
		sleep(ctx, time.Duration(float64(learnEvery)*(0.9+0.2*rand.Float64())))
	}
}
