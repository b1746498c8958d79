package main

import (
	"context"
	"fmt"
	"time"
)

const (
	// saturatedInterval and saturatedRate let only the throughput limit.
	saturatedInterval = time.Millisecond
	saturatedRate     = 1e6
	// saturatedLimit bounds one saturated run.
	saturatedLimit = 5 * time.Minute
	// warmUp opens the connections of the HTTP client before it is measured.
	warmUp = 300 * time.Millisecond
)

// measureLimit asks with the HTTP client alone.
func (b *bench) measureLimit(ctx context.Context, tasks, goroutines int, duration time.Duration) (u usage, err error) {
	if err := b.relay.plan(ctx, StubPlan{Tasks: tasks, Polls: never}); err != nil {
		return u, err
	}
	err = b.withProcess(ctx, "http", func(c *child) error {
		plan := LimitPlan{RelayURL: b.relay.url, Tasks: tasks, Goroutines: goroutines, Duration: warmUp}
		var answered int64
		if err := c.call(ctx, "Measure", plan, &answered); err != nil {
			return err
		}
		before, err := b.usage(ctx, c)
		if err != nil {
			return err
		}
		plan.Duration = duration
		if err := c.call(ctx, "Measure", plan, &answered); err != nil {
			return err
		}
		after, err := b.usage(ctx, c)
		u = after.since(before)
		return err
	})
	return u, err
}

// saturate lets a service (naive or worker) work off tasks that were inserted
// before it starts, and measures from its start until the last one is terminal
// in the database. A task ends with the given number of polls.
func (b *bench) saturate(ctx context.Context, role string, tasks, polls int) (u usage, err error) {
	prepare, open := copyAllTasks, anyOpen
	if role == "naive" {
		prepare, open = prepareNaive, anyOpenNaive
	}
	err = b.withDatabase(ctx, func(d *database) error {
		if err := b.relay.plan(ctx, StubPlan{Tasks: tasks, Polls: polls}); err != nil {
			return err
		}
		if err := prepare(ctx, d.Pool, tasks); err != nil {
			return fmt.Errorf("preparing %d tasks: %w", tasks, err)
		}
		return b.withProcess(ctx, role, func(c *child) error {
			if err := pause(ctx, settle); err != nil {
				return err
			}
			before, err := b.usage(ctx, c)
			if err != nil {
				return err
			}
			if err := c.call(ctx, "Run", b.workerPlan(d, saturatedInterval, saturatedRate), new(none)); err != nil {
				return err
			}
			what := fmt.Sprintf("%d tasks are answered by the relay for the last time", tasks)
			if _, err := b.relay.await(ctx, what, saturatedLimit, func(s StubCounts) bool { return s.Ended == int64(tasks) }); err != nil {
				return err
			}
			if err := untilNone(ctx, func() (bool, error) { return open(ctx, d.Pool) }); err != nil {
				return err
			}
			after, err := b.usage(ctx, c)
			u = after.since(before)
			return err
		})
	})
	return u, err
}

// untilNone waits until no task, or delivery, is open.
func untilNone(ctx context.Context, open func() (bool, error)) error {
	for deadline := time.Now().Add(saturatedLimit); ; {
		any, err := open()
		if err != nil || !any {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the last answers were not written within %s", saturatedLimit)
		}
		if err := pause(ctx, lookEvery); err != nil {
			return err
		}
	}
}
