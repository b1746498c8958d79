package main

import (
	"context"
	"fmt"
	"time"

	"github.com/klingwatch/klingwatch/webhook"
)

// PostPlan is a measurement of the webhook client alone.
type PostPlan struct {
	URLs       []string // posted to in turn
	Body       []byte
	Secrets    []string
	Goroutines int
	Duration   time.Duration
}

// poster is the process that posts webhooks without a database: the limit that
// deliveries with this client can come near to.
type poster struct {
	ctx    context.Context
	client *webhook.Client
}

// Measure posts for the planned time and returns how many were accepted.
func (p *poster) Measure(plan PostPlan, accepted *int64) (err error) {
	if p.client == nil {
		p.client = newWebhookClient()
	}
	*accepted, err = hammer(p.ctx, plan.Goroutines, plan.Duration, func(ctx context.Context, n int) error {
		result := p.client.Send(ctx, webhook.Message{
			URL: plan.URLs[n%len(plan.URLs)], ID: "msg_bench", Body: plan.Body, Secrets: plan.Secrets,
		})
		if !result.Delivered() {
			return fmt.Errorf("posting a webhook: %s", result.Reason())
		}
		return nil
	})
	return err
}

// measurePosts posts with the webhook client alone, with the keys that a
// deployment has.
func (b *bench) measurePosts(ctx context.Context, places, goroutines int, duration time.Duration) (u usage, err error) {
	plan := PostPlan{Goroutines: goroutines, Duration: warmUp, Secrets: []string{webhook.NewSecret(), webhook.NewPrivateKey()}}
	if plan.Body, err = anyPayload(); err != nil {
		return u, err
	}
	err = b.withReceivers(ctx, func(r *receiverProcess) error {
		if plan.URLs, err = r.open(ctx, ReceiverPlan{Places: places, Manner: prompt}); err != nil {
			return err
		}
		return b.withProcess(ctx, "post", func(c *child) error {
			if err := c.call(ctx, "Measure", plan, new(int64)); err != nil {
				return err
			}
			before, err := r.usage(ctx, b, c)
			if err != nil {
				return err
			}
			plan.Duration = duration
			if err := c.call(ctx, "Measure", plan, new(int64)); err != nil {
				return err
			}
			after, err := r.usage(ctx, b, c)
			u = after.since(before)
			return err
		})
	})
	return u, err
}

// flood is many deliveries that are due at once.
type flood struct{ places, deliveries int }

// flooded is what was seen of a flood; requests counts each delivery once.
type flooded struct {
	usage
	attempts int
}

// flood lets the worker work off deliveries that were inserted before it starts,
// and measures from its start until the last attempt is in the database.
func (b *bench) flood(ctx context.Context, f flood) (seen flooded, err error) {
	err = b.withDatabase(ctx, func(d *database) error {
		return b.withReceivers(ctx, func(r *receiverProcess) error {
			urls, err := r.open(ctx, ReceiverPlan{Places: f.places, Manner: prompt})
			if err != nil {
				return err
			}
			if err := insertDeliveries(ctx, d.Pool, f.deliveries, urls); err != nil {
				return err
			}
			return b.withProcess(ctx, "worker", func(c *child) error {
				return f.run(ctx, b, d, c, r, &seen)
			})
		})
	})
	return seen, err
}

func (f flood) run(ctx context.Context, b *bench, d *database, c *child, r *receiverProcess, seen *flooded) error {
	if err := pause(ctx, settle); err != nil {
		return err
	}
	before, err := r.usage(ctx, b, c)
	if err != nil {
		return err
	}
	if err := c.call(ctx, "Run", b.workerPlan(d, defaultInterval, defaultRate), new(none)); err != nil {
		return err
	}
	what := fmt.Sprintf("%d webhooks arrive", f.deliveries)
	if err := r.await(ctx, what, saturatedLimit, func(c ReceiverCounts) bool { return c.Requests >= int64(f.deliveries) }); err != nil {
		return err
	}
	if err := untilNone(ctx, func() (bool, error) { return anyPending(ctx, d.Pool) }); err != nil {
		return err
	}
	after, err := r.usage(ctx, b, c)
	if err != nil {
		return err
	}
	seen.usage = after.since(before)
	seen.requests = float64(f.deliveries)
	seen.attempts, err = countAttempts(ctx, d.Pool, f.deliveries)
	return err
}
