package webhooks

import (
	"context"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/contender"
	"github.com/klingwatch/klingwatch/cmd/klingbench/process"
	"github.com/klingwatch/klingwatch/cmd/klingbench/standin"
)

// trickle is deliveries to receivers that answer a byte per second.
type trickle struct {
	places int
	each   int           // deliveries to one
	window time.Duration // in which the memory is watched
}

// trickled is what was seen meanwhile; memory of the worker in bytes.
type trickled struct {
	idle, peak int64
	open       int64 // most requests that were not answered yet
}

// memoryEvery is how often the memory is read.
const memoryEvery = 100 * time.Millisecond

// measure measures how much memory the worker needs for slow receivers.
func (t trickle) measure(ctx context.Context, b *bench.Bench) (seen trickled, err error) {
	err = b.WithDatabase(ctx, func(d *bench.Database) error {
		return b.WithReceivers(ctx, func(r *standin.Receivers) error {
			urls, err := r.Open(ctx, standin.ReceiverPlan{Places: t.places, Manner: standin.Dripping})
			if err != nil {
				return err
			}
			return b.WithService(ctx, contender.WorkerRole, func(c *contender.Service) error {
				if seen.idle, err = idleMemory(ctx, b, d, c); err != nil {
					return err
				}
				if err := insertDeliveries(ctx, d.Pool, t.places*t.each, urls); err != nil {
					return err
				}
				if _, err := bench.Until(ctx, "a receiver drips", streamPatience, r.Counts, func(n standin.ReceiverCounts) bool { return n.Peak > 0 }); err != nil {
					return err
				}
				if seen.peak, err = peakMemory(ctx, c.PID(), t.window); err != nil {
					return err
				}
				counts, err := r.Counts(ctx)
				seen.open = counts.Peak
				return err
			})
		})
	})
	return seen, err
}

// idleMemory starts the worker with nothing to do and returns its memory.
func idleMemory(ctx context.Context, b *bench.Bench, d *bench.Database, c *contender.Service) (int64, error) {
	if err := c.Run(ctx, b.DefaultPlan(d)); err != nil {
		return 0, err
	}
	if err := bench.Pause(ctx, bench.Settle); err != nil {
		return 0, err
	}
	memory, err := c.Memory(ctx)
	return memory.Collected, err
}

// peakMemory returns the most that a process has in a window, in bytes.
func peakMemory(ctx context.Context, pid int, window time.Duration) (peak int64, err error) {
	for end := time.Now().Add(window); time.Now().Before(end); {
		now, err := process.ResidentMemory(pid)
		if err != nil {
			return 0, err
		}
		peak = max(peak, now)
		if err := bench.Pause(ctx, memoryEvery); err != nil {
			return 0, err
		}
	}
	return peak, nil
}
