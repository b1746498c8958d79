package fleets

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/figures"
	"github.com/klingwatch/klingwatch/cmd/klingbench/polls"
	"github.com/klingwatch/klingwatch/cmd/klingbench/standin"
)

// saturation is what was used to end all tasks.
type saturation struct {
	bench.Usage
	connections int
}

// measureSaturated ends the same tasks with fleets of each size.
func (p plan) measureSaturated(ctx context.Context, b *bench.Bench, s *figures.Series) error {
	seen := map[int]saturation{}
	for _, n := range p.sizes {
		b.Progress.Sayf("%d processes, %d tasks, %d polls each", n, p.tasks, p.polls)
		one, err := p.saturate(ctx, b, n)
		if err != nil {
			return err
		}
		seen[n] = one
	}
	alone := seen[p.sizes[0]]
	for _, n := range p.sizes {
		u, name, label := seen[n], fmt.Sprintf("saturated_%d", n), fmt.Sprintf("saturated, %d processes", n)
		s.Add(name+"_polls_per_second", label, "polls/s", u.Rate(), nil)
		if n > 1 {
			s.Add(name+"_to_1", fmt.Sprintf("throughput, %d : 1", n), "", figures.Ratio(u.Rate(), alone.Rate()), figures.AtLeast(0.9))
		}
		s.Add(name+"_wal_per_poll", "  WAL per poll", "B", u.WALPerRequest(), nil)
		s.Add(name+"_cpu_per_poll", "  CPU per poll: klingwatch", "us", u.PerRequest(u.Client), nil)
		s.Add(name+"_postgres_cpu_per_poll", "  CPU per poll: Postgres", "us", u.PerRequest(u.Postgres), nil)
		s.Add(name+"_connections", "  connections to Postgres, most", "", float64(u.connections), nil)
		s.Add(name+"_others", "  CPU of other work meanwhile", "%", u.Others(), nil)
	}
	return nil
}

// saturate inserts the tasks at once into a fleet that works, and measures until the last
// one has ended.
func (p plan) saturate(ctx context.Context, b *bench.Bench, n int) (seen saturation, err error) {
	relay := standin.RelayPlan{Tasks: p.tasks, Polls: p.polls}
	err = p.withFleet(ctx, b, n, relay, func(f *fleet) error {
		if err := f.run(ctx, b.ServicePlan(f.d, polls.SaturatedInterval, polls.SaturatedRate)); err != nil {
			return err
		}
		stop := f.watchConnections(ctx)
		seen.Usage, err = f.spent(ctx, func() error {
			if err := polls.InsertAll(ctx, f.d, p.tasks); err != nil {
				return err
			}
			return f.untilEnded(ctx, p.tasks)
		})
		var failed error
		seen.connections, failed = stop()
		return errors.Join(err, failed)
	})
	return seen, err
}

// untilEnded waits until all tasks have ended in the database.
func (f *fleet) untilEnded(ctx context.Context, tasks int) error {
	what := fmt.Sprintf("the relay has sent the last replies about %d tasks", tasks)
	_, err := bench.Until(ctx, what, bench.SaturatedLimit, f.b.Relay.Counts, func(s standin.RelayCounts) bool { return s.Ended == int64(tasks) })
	if err != nil {
		return err
	}
	return bench.UntilNone(ctx, "the last replies are written", func(ctx context.Context) (bool, error) { return anyOpen(ctx, f.d) })
}

// lateOf returns how late the polls of all processes arrived.
func (f *fleet) lateOf(ctx context.Context, period bench.Usage) (late []float64, counts []int, err error) {
	noted, err := f.polls(ctx)
	if err != nil {
		return nil, nil, err
	}
	arrivals, err := f.b.Relay.Arrivals(ctx)
	if err != nil {
		return nil, nil, err
	}
	late, err = polls.Lateness(period, slices.Concat(noted...), arrivals)
	return late, inPeriod(noted, period), err
}
