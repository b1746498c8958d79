package main

import (
	"context"
	"time"
)

// trickle is deliveries to receivers that drip.
type trickle struct {
	places int
	each   int           // deliveries to one
	window time.Duration // that is looked at
}

// trickled is what was seen meanwhile; memory of the worker in bytes.
type trickled struct {
	idle, peak int64
	inFlight   int64 // most requests on their way at once
}

// memoryEvery is how often the memory is looked at.
const memoryEvery = 100 * time.Millisecond

// trickle measures how much memory the worker needs for slow receivers.
func (b *bench) trickle(ctx context.Context, t trickle) (seen trickled, err error) {
	err = b.withDatabase(ctx, func(d *database) error {
		return b.withReceivers(ctx, func(r *receiverProcess) error {
			urls, err := r.open(ctx, ReceiverPlan{Places: t.places, Manner: dripping})
			if err != nil {
				return err
			}
			return b.withProcess(ctx, "worker", func(c *child) error {
				if seen.idle, err = b.idle(ctx, c, d); err != nil {
					return err
				}
				if err := insertDeliveries(ctx, d.Pool, t.places*t.each, urls); err != nil {
					return err
				}
				if seen.peak, err = peakMemory(ctx, c, t.window); err != nil {
					return err
				}
				counts, err := r.look(ctx)
				seen.inFlight = counts.Peak
				return err
			})
		})
	})
	return seen, err
}

// idle starts the worker with nothing to do and returns its memory.
func (b *bench) idle(ctx context.Context, c *child, d *database) (int64, error) {
	if err := c.call(ctx, "Run", b.workerPlan(d, defaultInterval, defaultRate), new(none)); err != nil {
		return 0, err
	}
	if err := pause(ctx, settle); err != nil {
		return 0, err
	}
	var m Memory
	err := c.call(ctx, "Memory", none(true), &m)
	return m.Collected, err
}

// peakMemory is the most that a process has in a window, in bytes.
func peakMemory(ctx context.Context, c *child, window time.Duration) (peak int64, err error) {
	for end := time.Now().Add(window); time.Now().Before(end); {
		now, err := residentMemory(c.pid())
		if err != nil {
			return 0, err
		}
		peak = max(peak, now)
		if err := pause(ctx, memoryEvery); err != nil {
			return 0, err
		}
	}
	return peak, nil
}
