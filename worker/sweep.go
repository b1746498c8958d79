package worker

import (
	"context"
	"fmt"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/worker/deliver"
	"github.com/klingwatch/klingwatch/worker/poll"
)

const (
	// DefaultSweepInterval bounds how long the jobs of a dead process wait.
	DefaultSweepInterval = 5 * time.Second
	// lookEvery sweeps, rows without a job are looked for: that reads all open
	// tasks, 0.1 s at 50,000.
	lookEvery = 3
	// sweepPart is the part of the time that work may take which reads all open tasks or jobs:
	// it must not keep the database from what the tasks need.
	sweepPart = 0.1
	// longestRest bounds how long the jobs of a dead process wait where sweeps take long.
	longestRest = 30 * time.Second
	// unaskedGrace is how long after its deadline a task expires whose relay this process
	// cannot ask: one that can has done it long before.
	unaskedGrace = 15 * time.Second
	// maxWake bounds how many jobs that are due are woken at once.
	maxWake = 10_000
	// clockTold is how often a clock that has moved is told; it may go on for long.
	clockTold = 10 * time.Minute
	// longSleep is from when a sleeping job is woken whose row is due: a shorter
	// sleep ends by itself.
	longSleep = 15 * time.Second
)

// Limits are the times by which metrics and doctor count.
var Limits = db.FigureLimits{
	Overdue:  time.Minute, // a sweep and a retry fit in
	Expiring: 3 * 24 * time.Hour,
	Expired:  24 * time.Hour,
}

// sweeper looks after what no single job does: jobs of instances that are gone,
// rows without a job, endpoints.
type sweeper struct {
	cfg    Config
	asked  *poll.Relays
	sender *deliver.Sender
	clocks *clocks
	told   time.Time // that a clock has moved
}

// sweepUntil sweeps at once and then regularly, until ctx ends.
func (s *sweeper) sweepUntil(ctx context.Context) {
	regularly(ctx, s.cfg.SweepInterval, func(n int) {
		err := s.sweep(ctx, n%lookEvery == 0)
		s.sender.Survey()
		if err != nil && ctx.Err() == nil {
			s.cfg.Log.Warn("sweeping, trying again", "error", err, "in", s.cfg.SweepInterval.String())
		}
	})
}

// regularly does work at once and then once in an interval, less often where it takes long,
// until ctx ends. The work is told how often it was done before.
func regularly(ctx context.Context, interval time.Duration, work func(n int)) {
	for n := 0; ; n++ {
		begun := time.Now()
		work(n)
		select {
		case <-ctx.Done():
			return
		case <-time.After(restAfter(time.Since(begun), interval)):
		}
	}
}

// restAfter returns how long to wait after work that took some time, and is done once in an
// interval.
func restAfter(took, interval time.Duration) time.Duration {
	return max(interval-took, min(rest(took, sweepPart), longestRest))
}

// sweep gives back the jobs of instances that are gone, and shortens waits where a clock
// has moved;
// with look it gives jobs to rows that have none. Several instances may do it
// at once: all of it is idempotent.
func (s *sweeper) sweep(ctx context.Context, look bool) error {
	if err := s.returnJobs(ctx, 0); err != nil {
		return err
	}
	if _, err := db.WakeDueJobs(ctx, s.cfg.Pool, maxWake); err != nil {
		return err
	}
	if err := s.shortenWaits(ctx); err != nil {
		return err
	}
	if !look {
		return nil
	}
	if err := s.sender.WatchEndpoints(ctx); err != nil {
		return err
	}
	// an endpoint may have been enabled while an event was written, or by plain SQL
	if _, err := db.ReleaseParked(ctx, s.cfg.Pool); err != nil {
		return fmt.Errorf("releasing parked deliveries: %w", err)
	}
	if err := s.asked.ExpireUnasked(ctx, unaskedGrace); err != nil {
		return err
	}
	given, err := db.GiveMissingJobs(ctx, s.cfg.Pool, longSleep)
	if err != nil {
		return err
	}
	if given > 0 {
		s.cfg.Metrics.MissingJobs.Add(float64(given))
		s.cfg.Log.Warn("gave jobs to tasks and deliveries that had none", "jobs", given)
	}
	s.cfg.Metrics.LastSweep.SetToCurrentTime()
	return nil
}

// shortenWaits brings forward what a clock that moved has put off.
func (s *sweeper) shortenWaits(ctx context.Context) error {
	read, err := db.Clock(ctx, s.cfg.Pool)
	if err != nil {
		return fmt.Errorf("reading the database's clock: %w", err)
	}
	if !s.clocks.compare(read, time.Now()) {
		return nil
	}
	for {
		shortened, err := db.ShortenWaits(ctx, s.cfg.Pool, longestRetry, maxWake)
		if err != nil {
			return err
		}
		if shortened > 0 && time.Since(s.told) > clockTold {
			s.told = time.Now()
			s.cfg.Log.Warn("a clock has moved: what would have waited too long is due in time; see the clocks in klingwatch doctor", "jobs", shortened)
		}
		if shortened < maxWake {
			return nil
		}
	}
}

// returnJobs gives back the jobs of instances that are gone; own is the slot
// that was just claimed, or 0.
func (s *sweeper) returnJobs(ctx context.Context, own int) error {
	returned, err := db.ReturnJobs(ctx, s.cfg.Pool, own)
	if returned > 0 {
		s.cfg.Metrics.ReturnedJobs.Add(float64(returned))
		s.cfg.Log.Info("took over jobs of an instance that is gone", "jobs", returned)
	}
	return err
}
