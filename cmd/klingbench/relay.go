package main

import (
	"context"
	"errors"
	"time"
)

// relay is the stub's process, seen from the parent.
type relay struct {
	*child
	url string
}

// startRelay starts the stub in a process of its own.
func startRelay(ctx context.Context, dir string) (*relay, error) {
	c, err := startChild(ctx, dir, "stub")
	if err != nil {
		return nil, err
	}
	r := &relay{child: c}
	if err := c.call(ctx, "Listen", none(true), &r.url); err != nil {
		c.stop()
		return nil, err
	}
	return r, nil
}

func (r *relay) plan(ctx context.Context, plan StubPlan) error {
	return r.call(ctx, "Plan", plan, new(none))
}

func (r *relay) counts(ctx context.Context) (counts StubCounts, err error) {
	err = r.call(ctx, "Counts", none(true), &counts)
	return counts, err
}

// lookEvery is how often a measurement looks whether it is over.
const lookEvery = 10 * time.Millisecond

// await waits until holds says so; what tells what for, limit how long at most.
func (r *relay) await(ctx context.Context, what string, limit time.Duration, holds func(StubCounts) bool) (StubCounts, error) {
	return await(ctx, what, limit, func() (StubCounts, error) { return r.counts(ctx) }, holds)
}

// await looks until holds says so, and returns what was seen then.
func await[T any](ctx context.Context, what string, limit time.Duration, look func() (T, error), holds func(T) bool) (T, error) {
	deadline := time.Now().Add(limit)
	for {
		seen, err := look()
		if err != nil || holds(seen) {
			return seen, err
		}
		if time.Now().After(deadline) {
			return seen, errors.New("waited " + limit.String() + " in vain: " + what)
		}
		if err := pause(ctx, lookEvery); err != nil {
			return seen, err
		}
	}
}

// pause waits, or returns the error of ctx.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
