package main

import (
	"context"
	"fmt"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/figures"
)

// flight is a time with a fixed number of tasks in flight, none of which ends,
// below saturation.
type flight struct {
	tasks    int
	interval time.Duration // between two polls of a task
	rate     float64       // polls per second that are allowed; 0: twice what is wanted
	window   time.Duration // that is measured
	log      bool          // keep when each poll was due and when it arrived
}

// flown is what was seen in the window of a flight.
type flown struct {
	usage
	tasks         int
	before, after Memory // of the worker, without and with the tasks
	peak          int64  // most polls in any second, from the first insert
	polls         []poll // with log: all since the first insert
	arrivals      []arrival
}

// memoryPerTask in KiB.
func (f flown) memoryPerTask() float64 {
	return figures.Ratio(float64(f.after.Collected-f.before.Collected)/1024, float64(f.tasks))
}

const (
	// insertStep is the distance of the small inserts by which tasks come in.
	insertStep = 50 * time.Millisecond
	// warmLimit bounds the interval that a flight goes on before it is measured.
	warmLimit = 5 * time.Second
	// askedLimit bounds the wait for the first poll of every task.
	askedLimit = time.Minute
)

// fly measures the worker with tasks in flight.
func (b *bench) fly(ctx context.Context, f flight) (seen flown, err error) {
	if f.rate == 0 {
		f.rate = 2 * float64(f.tasks) / f.interval.Seconds()
	}
	seen.tasks = f.tasks
	err = b.withDatabase(ctx, func(d *database) error {
		if err := b.relay.plan(ctx, StubPlan{Tasks: f.tasks, Polls: never, Log: f.log}); err != nil {
			return err
		}
		return b.withProcess(ctx, "worker", func(c *child) error {
			plan := b.workerPlan(d, f.interval, f.rate)
			plan.LogPolls = f.log
			if err := b.takeOff(ctx, c, d, f, plan, &seen); err != nil {
				return err
			}
			b.progress.Sayf("%d tasks in flight: measuring for %s", f.tasks, f.window)
			before, err := b.usage(ctx, c)
			if err != nil {
				return err
			}
			if err := pause(ctx, f.window); err != nil {
				return err
			}
			after, err := b.usage(ctx, c)
			if err != nil {
				return err
			}
			seen.usage = after.since(before)
			return b.land(ctx, c, f, &seen)
		})
	})
	return seen, err
}

// takeOff starts the worker and brings the tasks in, spread over one interval
// as they would come in over time: inserted at once they would all be due in
// the same moments for a while, and their lateness would be that of the rate.
func (b *bench) takeOff(ctx context.Context, c *child, d *database, f flight, plan WorkerPlan, seen *flown) error {
	if err := c.call(ctx, "Run", plan, new(none)); err != nil {
		return err
	}
	if err := pause(ctx, settle); err != nil {
		return err
	}
	if err := c.call(ctx, "Memory", none(true), &seen.before); err != nil {
		return err
	}
	b.progress.Sayf("inserting %d tasks over %s", f.tasks, f.interval)
	if err := insertSpread(ctx, d, f.tasks, f.interval); err != nil {
		return err
	}
	what := fmt.Sprintf("each of %d tasks is asked once", f.tasks)
	if _, err := b.relay.await(ctx, what, askedLimit, func(s StubCounts) bool { return s.Asked == int64(f.tasks) }); err != nil {
		return err
	}
	return pause(ctx, min(f.interval, warmLimit))
}

// land reads what the processes have noted.
func (b *bench) land(ctx context.Context, c *child, f flight, seen *flown) error {
	counts, err := b.relay.counts(ctx)
	if err != nil {
		return err
	}
	seen.peak = counts.Peak
	if f.log {
		if err := c.call(ctx, "Polls", none(true), &seen.polls); err != nil {
			return err
		}
		if err := b.relay.call(ctx, "Arrivals", none(true), &seen.arrivals); err != nil {
			return err
		}
	}
	return c.call(ctx, "Memory", none(true), &seen.after)
}

// insertSpread inserts tasks evenly over a time.
func insertSpread(ctx context.Context, d *database, tasks int, over time.Duration) error {
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
	return checkNumbers(ctx, d.Pool, tasks)
}
