package webhooks

import (
	"context"
	"fmt"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/contender"
	"github.com/klingwatch/klingwatch/cmd/klingbench/standin"
)

// crash is kill -9 of a process that sends, when half of its deliveries have arrived.
type crash struct {
	places, deliveries int
	other              bool // a second process sends beside it and takes over, else it is started again
}

// crashed is what was seen of it.
type crashed struct {
	lost, twice int           // deliveries
	last        time.Duration // from the kill until the last delivery arrived
}

func (c crash) measure(ctx context.Context, b *bench.Bench) (seen crashed, err error) {
	err = b.WithDatabase(ctx, func(d *bench.Database) error {
		return b.WithReceivers(ctx, func(r *standin.Receivers) error {
			return withSender(ctx, b, d, func(victim *contender.Service) error {
				if !c.other {
					seen, err = c.kill(ctx, b, d, r, victim)
					return err
				}
				return withSender(ctx, b, d, func(*contender.Service) error {
					seen, err = c.kill(ctx, b, d, r, victim)
					return err
				})
			})
		})
	})
	return seen, err
}

// withSender calls work with a worker that has come to rest.
func withSender(ctx context.Context, b *bench.Bench, d *bench.Database, work func(*contender.Service) error) error {
	return b.WithService(ctx, contender.WorkerRole, func(s *contender.Service) error {
		if err := s.Run(ctx, b.DefaultPlan(d)); err != nil {
			return err
		}
		if err := bench.Pause(ctx, bench.Settle); err != nil {
			return err
		}
		return work(s)
	})
}

// kill kills the victim in the middle of its deliveries and waits until all have arrived.
func (c crash) kill(ctx context.Context, b *bench.Bench, d *bench.Database, r *standin.Receivers, victim *contender.Service) (seen crashed, err error) {
	urls, err := r.Open(ctx, standin.ReceiverPlan{Places: c.places, Manner: standin.Prompt, Log: true})
	if err != nil {
		return seen, err
	}
	if err := insertDeliveries(ctx, d.Pool, c.deliveries, urls); err != nil {
		return seen, err
	}
	half := int64(c.deliveries / 2)
	if _, err := bench.Until(ctx, "half of the webhooks have arrived", streamPatience, r.Requests, func(n int64) bool { return n >= half }); err != nil {
		return seen, err
	}
	killed := time.Now()
	victim.Kill()
	await := func() error {
		return bench.UntilNone(ctx, "the last attempts are written", func(ctx context.Context) (bool, error) { return anyPending(ctx, d.Pool) })
	}
	if c.other {
		err = await()
	} else {
		err = b.WithService(ctx, contender.WorkerRole, func(s *contender.Service) error {
			if err := s.Run(ctx, b.DefaultPlan(d)); err != nil {
				return err
			}
			return await()
		})
	}
	if err != nil {
		return seen, err
	}
	hits, err := r.Hits(ctx)
	return c.judge(hits, killed), err
}

// judge counts what did not arrive, and what arrived more than once.
func (c crash) judge(hits []standin.Hit, killed time.Time) (seen crashed) {
	arrived := map[string]int{}
	for _, h := range hits {
		if arrived[h.ID]++; arrived[h.ID] == 1 {
			seen.last = time.Unix(0, h.At).Sub(killed)
		}
		if arrived[h.ID] == 2 {
			seen.twice++
		}
	}
	seen.lost = c.deliveries - len(arrived)
	return seen
}

// String names the situation.
func (c crash) String() string {
	if c.other {
		return fmt.Sprintf("kill -9 of one of two processes during %d deliveries", c.deliveries)
	}
	return fmt.Sprintf("kill -9 during %d deliveries, started again", c.deliveries)
}
