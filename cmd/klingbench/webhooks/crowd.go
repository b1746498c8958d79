package webhooks

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/contender"
	"github.com/klingwatch/klingwatch/cmd/klingbench/figures"
	"github.com/klingwatch/klingwatch/cmd/klingbench/standin"
)

// crowd is callbacks to paths of one host, which are due at once: healthy ones behind
// others in trouble.
type crowd struct {
	name             string // of its figures
	trouble, healthy int
}

// troubles are the manners of those in trouble; each has as many of them.
var troubles = []string{standin.Silent, standin.Failing, standin.Breaking, standin.Limiting, standin.Dripping}

// measure returns how long after their commit the healthy ones arrive, in milliseconds.
func (c crowd) measure(ctx context.Context, b *bench.Bench) (latencies []float64, err error) {
	manners := make([]string, 0, c.trouble+c.healthy)
	for i := range c.trouble {
		manners = append(manners, troubles[i%len(troubles)])
	}
	manners = append(manners, slices.Repeat([]string{standin.Prompt}, c.healthy)...)
	err = b.WithDatabase(ctx, func(d *bench.Database) error {
		return b.WithReceivers(ctx, func(r *standin.Receivers) error {
			urls, err := r.OpenPaths(ctx, manners)
			if err != nil {
				return err
			}
			return b.WithService(ctx, contender.WorkerRole, func(s *contender.Service) error {
				if _, err := idleMemory(ctx, b, d, s); err != nil {
					return err
				}
				if err := insertDeliveries(ctx, d.Pool, len(urls), urls); err != nil {
					return err
				}
				latencies, err = c.arrivals(ctx, r, time.Now())
				return err
			})
		})
	})
	return latencies, err
}

// arrivals waits for the healthy ones.
func (c crowd) arrivals(ctx context.Context, r *standin.Receivers, due time.Time) (latencies []float64, err error) {
	what := fmt.Sprintf("%d webhooks have arrived at healthy paths", c.healthy)
	_, err = bench.Until(ctx, what, streamPatience, r.Counts, func(n standin.ReceiverCounts) bool { return n.Logged >= int64(c.healthy) })
	if err != nil {
		return nil, err
	}
	hits, err := r.Hits(ctx)
	for _, h := range hits {
		latencies = append(latencies, figures.Milliseconds(time.Duration(h.At-due.UnixNano())))
	}
	return latencies, err
}
