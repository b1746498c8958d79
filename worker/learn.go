package worker

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
)

const (
	// learnEvery is how often the schedules are learned anew.
	learnEvery = time.Minute
	// learnFrom bounds the tasks looked at: the newest say most about how the
	// provider is today.
	learnFrom = 5000
)

// Kind is what durations are learned for.
type Kind struct{ Action, Action2 string }

// Learn reads recent tasks and returns a schedule for each kind with enough of
// them.
func Learn(ctx context.Context, pool *pgxpool.Pool, interval time.Duration) (map[Kind]*Schedule, error) {
	lifetimes, err := db.RecentLifetimes(ctx, pool, learnFrom)
	if err != nil {
		return nil, fmt.Errorf("reading the durations of recent tasks: %w", err)
	}
	samples := map[Kind][]Sample{}
	for _, l := range lifetimes {
		kind := Kind{l.Action, l.Action2}
		samples[kind] = append(samples[kind], Sample{Age: l.Age, Ended: l.Ended})
	}
	schedules := map[Kind]*Schedule{}
	for kind, list := range samples {
		if s := LearnSchedule(list, interval); s != nil {
			schedules[kind] = s
		}
	}
	return schedules, nil
}

// schedules are the ones in use; nil until the first were learned.
type schedules struct {
	current atomic.Pointer[map[Kind]*Schedule]
}

// usualWait returns the wait until the next poll of a task about which there is
// nothing special: learned, else the fixed interval, with jitter. random is
// from 0 up to 1.
func (s *schedules) usualWait(task db.PollTarget, interval time.Duration, random float64) time.Duration {
	step := 1 + jitter*(2*random-1)
	if current := s.current.Load(); current != nil {
		if learned := (*current)[Kind{task.Action, task.Action2}]; learned != nil {
			return learned.Wait(task.Age, step)
		}
	}
	return time.Duration(float64(interval) * step)
}

// learnUntil learns at once and then regularly, until ctx ends.
func (w *Worker) learnUntil(ctx context.Context) {
	for ctx.Err() == nil {
		learned, err := Learn(ctx, w.Pool, w.PollInterval)
		switch {
		case err == nil:
			w.schedules.current.Store(&learned)
		case ctx.Err() == nil:
			w.Log.Warn("learning the polling schedule, the last one stays in use", "error", err.Error())
		}
		sleep(ctx, time.Duration(float64(learnEvery)*(0.9+0.2*rand.Float64())))
	}
}
