package webhooks

import (
	"context"
	"fmt"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/contender"
	"github.com/klingwatch/klingwatch/cmd/klingbench/standin"
	"github.com/klingwatch/klingwatch/webhook"
)

// measureLimit posts with the webhook client alone, with the keys that a
// deployment has.
func measureLimit(ctx context.Context, b *bench.Bench, places, goroutines int, duration time.Duration) (used bench.Usage, err error) {
	plan := contender.PosterPlan{Goroutines: goroutines, Duration: bench.WarmUp, Secrets: []string{webhook.NewSecret(), webhook.NewPrivateKey()}}
	if plan.Body, err = standin.Payload(); err != nil {
		return used, err
	}
	err = b.WithReceivers(ctx, func(r *standin.Receivers) error {
		if plan.URLs, err = r.Open(ctx, standin.ReceiverPlan{Places: places, Manner: standin.Prompt}); err != nil {
			return err
		}
		return b.WithClient(ctx, contender.PosterRole, func(c *contender.Client) error {
			if err := c.Post(ctx, plan); err != nil {
				return err
			}
			plan.Duration = duration
			used, err = b.Spent(ctx, c.PID(), r, func() error { return c.Post(ctx, plan) })
			return err
		})
	})
	return used, err
}

// flood is many deliveries that are due at once.
type flood struct{ places, deliveries int }

// flooded is what was seen of a flood; Requests counts each delivery once.
type flooded struct {
	bench.Usage
	attempts int
}

// measure inserts the deliveries before the worker starts, and measures from its
// start until the last attempt is in the database.
func (f flood) measure(ctx context.Context, b *bench.Bench) (seen flooded, err error) {
	err = b.WithDatabase(ctx, func(d *bench.Database) error {
		return b.WithReceivers(ctx, func(r *standin.Receivers) error {
			urls, err := r.Open(ctx, standin.ReceiverPlan{Places: f.places, Manner: standin.Prompt})
			if err != nil {
				return err
			}
			if err := insertDeliveries(ctx, d.Pool, f.deliveries, urls); err != nil {
				return err
			}
			return b.WithService(ctx, contender.WorkerRole, func(c *contender.Service) error {
				if err := bench.Pause(ctx, bench.Settle); err != nil {
					return err
				}
				seen.Usage, err = b.Spent(ctx, c.PID(), r, func() error { return f.run(ctx, b, d, c, r) })
				if err != nil {
					return err
				}
				seen.Requests = float64(f.deliveries)
				seen.attempts, err = countAttempts(ctx, d.Pool, f.deliveries)
				return err
			})
		})
	})
	return seen, err
}

// run starts the worker and waits until it has made all deliveries.
func (f flood) run(ctx context.Context, b *bench.Bench, d *bench.Database, c *contender.Service, r *standin.Receivers) error {
	if err := c.Run(ctx, b.DefaultPlan(d)); err != nil {
		return err
	}
	what := fmt.Sprintf("%d webhooks have arrived", f.deliveries)
	_, err := bench.Until(ctx, what, bench.SaturatedLimit, r.Requests, func(n int64) bool { return n >= int64(f.deliveries) })
	if err != nil {
		return err
	}
	return bench.UntilNone(ctx, "the last attempts are written", func(ctx context.Context) (bool, error) { return anyPending(ctx, d.Pool) })
}
