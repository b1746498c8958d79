package fleets

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/figures"
	"github.com/klingwatch/klingwatch/cmd/klingbench/polls"
	"github.com/klingwatch/klingwatch/cmd/klingbench/standin"
)

const (
	// spare is how many times what the tasks want the rate allows.
	spare = 2
	// tolerance is by how much a second may exceed the rate, as a factor.
	tolerance = 1.1
	// firstPollsLimit bounds the wait for the first poll of every task.
	firstPollsLimit = 2 * time.Minute
)

// flown is what was seen in the window of a flight.
type flown struct {
	bench.Usage
	late        []float64 // milliseconds
	counts      []int     // polls of each process
	peak        int64     // most polls in any second, from the first insert
	connections int
}

// measureShared flies below saturation with fleets of each size.
func (p plan) measureShared(ctx context.Context, b *bench.Bench, s *figures.Series) error {
	for _, n := range p.sizes {
		allowed := spare * p.flight.demand()
		b.Progress.Sayf("%d processes, %d tasks every %s, %.0f polls/s allowed", n, p.flight.tasks, p.flight.interval, allowed)
		seen, err := p.fly(ctx, b, n, allowed)
		if err != nil {
			return err
		}
		name, label := fmt.Sprintf("shared_%d", n), fmt.Sprintf("%d processes: ", n)
		s.Add(name+"_polls_per_second", label+"below saturation", "polls/s", seen.Rate(), nil)
		s.Add(name+"_late_p50", "  lateness at the relay, p50", "ms", figures.Percentile(seen.late, 0.50), nil)
		s.Add(name+"_late_p99", "  lateness at the relay, p99", "ms", figures.Percentile(seen.late, 0.99), figures.AtMost(20))
		s.Add(name+"_peak_per_second", "  most polls in a second", "polls", float64(seen.peak), figures.AtMost(tolerance*allowed))
		s.Add(name+"_wal_per_poll", "  WAL per poll", "B", seen.WALPerRequest(), nil)
		addShares(s, name, seen)
	}
	return nil
}

// measureBound flies where the tasks want more than the rate allows.
func (p plan) measureBound(ctx context.Context, b *bench.Bench, s *figures.Series) error {
	allowed := p.flight.demand() / spare
	b.Progress.Sayf("%d processes, %.0f polls/s allowed, which is half of what %d tasks want", p.processes, allowed, p.flight.tasks)
	seen, err := p.fly(ctx, b, p.processes, allowed)
	if err != nil {
		return err
	}
	s.Add("bound_part_of_rate", "rate that is too low for the tasks: used : allowed", "", figures.Ratio(seen.Rate(), allowed), figures.AtLeast(0.9))
	s.Add("bound_peak_of_rate", "  most polls in a second : allowed", "", figures.Ratio(float64(seen.peak), allowed), figures.AtMost(tolerance))
	addShares(s, "bound", seen)
	return nil
}

// addShares adds how the processes shared the work, and what they took.
func addShares(s *figures.Series, name string, seen flown) {
	s.Add(name+"_least_share", "  polls of the process with the fewest : even share", "", leastShare(seen.counts), figures.AtLeast(0.5))
	s.Add(name+"_cpu_per_poll", "  CPU per poll: klingwatch", "us", seen.PerRequest(seen.Client), nil)
	s.Add(name+"_postgres_cpu_per_poll", "  CPU per poll: Postgres", "us", seen.PerRequest(seen.Postgres), nil)
	s.Add(name+"_connections", "  connections to Postgres, most", "", float64(seen.connections), nil)
	s.Add(name+"_others", "  CPU of other work meanwhile", "%", seen.Others(), nil)
}

// fly measures a fleet with tasks in flight.
func (p plan) fly(ctx context.Context, b *bench.Bench, n int, allowed float64) (seen flown, err error) {
	relay := standin.RelayPlan{Tasks: p.flight.tasks, Polls: standin.Never, Log: true}
	err = p.withFleet(ctx, b, n, relay, func(f *fleet) error {
		if err := p.flight.takeOff(ctx, f, allowed); err != nil {
			return err
		}
		seen, err = p.flight.measure(ctx, f)
		return err
	})
	return seen, err
}

// measure measures the window of a flight.
func (f flight) measure(ctx context.Context, fl *fleet) (seen flown, err error) {
	stop := fl.watchConnections(ctx)
	seen.Usage, err = fl.spent(ctx, func() error { return bench.Pause(ctx, f.window) })
	connections, failed := stop()
	if err := errors.Join(err, failed); err != nil {
		return seen, err
	}
	seen.connections = connections
	err = f.land(ctx, fl, &seen)
	return seen, err
}

// takeOff starts the processes and brings the tasks in over one interval.
func (f flight) takeOff(ctx context.Context, fl *fleet, allowed float64) error {
	plan := fl.b.ServicePlan(fl.d, f.interval, allowed)
	plan.LogPolls = true
	if err := fl.run(ctx, plan); err != nil {
		return err
	}
	if err := polls.InsertSpread(ctx, fl.d, f.tasks, f.interval); err != nil {
		return err
	}
	if err := fl.untilPolled(ctx, f.tasks, firstPollsLimit+f.interval); err != nil {
		return err
	}
	return bench.Pause(ctx, min(f.interval, fl.joining))
}

// land reads what the processes and the relay have noted.
func (f flight) land(ctx context.Context, fl *fleet, seen *flown) (err error) {
	if err := bench.Pause(ctx, bench.Settle); err != nil { // polls that were due in the last moment arrive
		return err
	}
	counts, err := fl.b.Relay.Counts(ctx)
	if err != nil {
		return err
	}
	seen.peak = counts.Peak
	seen.late, seen.counts, err = fl.lateOf(ctx, seen.Usage)
	return err
}
