package polls

import (
	"context"
	"fmt"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/contender"
	"github.com/klingwatch/klingwatch/cmd/klingbench/figures"
	"github.com/klingwatch/klingwatch/cmd/klingbench/process"
	"github.com/klingwatch/klingwatch/cmd/klingbench/standin"
	"github.com/klingwatch/klingwatch/klingapi"
)

// flight is a time with a fixed number of tasks in flight, none of which ends,
// below saturation.
type flight struct {
	tasks    int
	interval time.Duration // between two polls of a task
	rate     float64       // polls per second that are allowed; 0: twice what the tasks need
	window   time.Duration // that is measured
	log      bool          // keep when each poll was due and when it arrived
	archive  contender.Archive
}

// flown is what was seen in the window of a flight.
type flown struct {
	bench.Usage
	tasks         int
	before, after process.Memory   // of the worker, without and with the tasks
	peak          int64            // most polls in any second, from the first insert
	polls         []contender.Poll // with log: all since the first insert
	arrivals      []standin.Arrival
}

// memoryPerTask in KiB.
func (f flown) memoryPerTask() float64 {
	return figures.Ratio(float64(f.after.Collected-f.before.Collected)/1024, float64(f.tasks))
}

const (
	// insertStep is the time between the small inserts by which tasks come in.
	insertStep = 50 * time.Millisecond
	// warmLimit bounds the interval that a flight goes on before it is measured.
	warmLimit = 5 * time.Second
	// firstPollsLimit bounds the wait for the first poll of every task.
	firstPollsLimit = time.Minute
	// arrivalLimit is longer than a request may take.
	arrivalLimit = klingapi.DefaultTimeout + 5*time.Second
)

// allowedRate is the rate in polls per second.
func (f flight) allowedRate() float64 {
	if f.rate > 0 {
		return f.rate
	}
	return 2 * float64(f.tasks) / f.interval.Seconds()
}

// fly measures the worker with tasks in flight.
func (f flight) fly(ctx context.Context, b *bench.Bench) (seen flown, err error) {
	seen.tasks = f.tasks
	err = b.WithDatabase(ctx, func(d *bench.Database) error {
		if err := b.Relay.Plan(ctx, standin.RelayPlan{Tasks: f.tasks, Polls: standin.Never, Log: f.log}); err != nil {
			return err
		}
		return b.WithService(ctx, contender.WorkerRole, func(c *contender.Service) error {
			if err := f.takeOff(ctx, b, d, c, &seen); err != nil {
				return err
			}
			b.Progress.Sayf("%d tasks in flight: measuring for %s", f.tasks, f.window)
			seen.Usage, err = b.Spent(ctx, c.PID(), b.Relay, func() error { return bench.Pause(ctx, f.window) })
			if err != nil {
				return err
			}
			return f.land(ctx, b, c, &seen)
		})
	})
	return seen, err
}

// takeOff starts the worker and brings the tasks in, spread over one interval
// as they would come in over time: inserted at once they would all be due in
// the same moments for a while, and their lateness would be that of the rate.
func (f flight) takeOff(ctx context.Context, b *bench.Bench, d *bench.Database, c *contender.Service, seen *flown) (err error) {
	plan := b.ServicePlan(d, f.interval, f.allowedRate())
	plan.LogPolls, plan.Archive = f.log, f.archive
	if err := c.Run(ctx, plan); err != nil {
		return err
	}
	if err := bench.Pause(ctx, bench.Settle); err != nil {
		return err
	}
	if seen.before, err = c.Memory(ctx); err != nil {
		return err
	}
	b.Progress.Sayf("inserting %d tasks over %s", f.tasks, f.interval)
	if err := insertSpread(ctx, d, f.tasks, f.interval); err != nil {
		return err
	}
	if err := untilPolled(ctx, b, f.tasks); err != nil {
		return err
	}
	return bench.Pause(ctx, min(f.interval, warmLimit))
}

// land reads what the processes have noted.
func (f flight) land(ctx context.Context, b *bench.Bench, c *contender.Service, seen *flown) error {
	counts, err := b.Relay.Counts(ctx)
	if err != nil {
		return err
	}
	seen.peak = counts.Peak
	if f.log {
		if seen.polls, err = c.Polls(ctx); err != nil {
			return err
		}
		if seen.arrivals, err = awaitArrivals(ctx, seen.polls, b.Relay.Arrivals); err != nil {
			return err
		}
	}
	seen.after, err = c.Memory(ctx)
	return err
}

// insertSpread inserts tasks evenly over a time.
func insertSpread(ctx context.Context, d *bench.Database, tasks int, over time.Duration) error {
	steps := max(int(over/insertStep), 1)
	ticker := time.NewTicker(insertStep)
	defer ticker.Stop()
	done := 0
	for step := range steps {
		upTo := tasks * (step + 1) / steps
		if upTo > done {
			if err := copyTasks(ctx, d.Pool, "tasks", done+1, upTo); err != nil {
				return err
			}
			done = upTo
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
	return d.CheckNumbers(ctx, tasks)
}

// untilPolled waits until each task has been polled.
func untilPolled(ctx context.Context, b *bench.Bench, tasks int) error {
	what := fmt.Sprintf("each of %d tasks has been polled", tasks)
	_, err := bench.Until(ctx, what, firstPollsLimit, b.Relay.Counts, func(s standin.RelayCounts) bool { return s.Asked == int64(tasks) })
	return err
}
