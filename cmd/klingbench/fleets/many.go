package fleets

import (
	"context"
	"fmt"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/figures"
	"github.com/klingwatch/klingwatch/cmd/klingbench/polls"
	"github.com/klingwatch/klingwatch/cmd/klingbench/standin"
)

const (
	// manyWarm is how long so many tasks are in flight before they are measured.
	manyWarm = 30 * time.Second
	// heldPart of the jobs that were held must be taken again after a restart: a few end
	// their stay meanwhile.
	heldPart = 0.95
	// restartLimit bounds that.
	restartLimit = 5 * time.Minute
	// restartLook is how often the jobs are counted, which takes a moment.
	restartLook = 500 * time.Millisecond
)

// measureMany flies with very many tasks, and then restarts all processes at once.
func (p plan) measureMany(ctx context.Context, b *bench.Bench, s *figures.Series) error {
	m, allowed := p.many, spare*p.many.demand()
	relay := standin.RelayPlan{Tasks: m.tasks, Polls: standin.Never, Log: true}
	return p.withFleet(ctx, b, p.processes, relay, func(f *fleet) error {
		plan := b.ServicePlan(f.d, m.interval, allowed)
		plan.LogPolls = true
		if err := f.run(ctx, plan); err != nil {
			return err
		}
		idle, _, err := f.memory(ctx)
		if err != nil {
			return err
		}
		if err := m.bringIn(ctx, f, s); err != nil {
			return err
		}
		if err := m.watch(ctx, f, idle, s); err != nil {
			return err
		}
		return p.restart(ctx, f, s)
	})
}

// bringIn inserts the tasks over one interval.
func (f flight) bringIn(ctx context.Context, fl *fleet, s *figures.Series) error {
	fl.b.Progress.Sayf("inserting %d tasks over %s", f.tasks, f.interval)
	begun := time.Now()
	if err := polls.InsertSpread(ctx, fl.d, f.tasks, f.interval); err != nil {
		return err
	}
	inserted := time.Since(begun)
	if err := fl.untilPolled(ctx, f.tasks, firstPollsLimit+f.interval); err != nil {
		return err
	}
	s.Add("many_tasks", "tasks in flight", "", float64(f.tasks), nil)
	s.Add("many_interval", "  interval", "s", f.interval.Seconds(), nil)
	s.Add("many_inserted", "  inserted within", "s", inserted.Seconds(), nil)
	s.Add("many_asked", "  all asked about once after", "s", time.Since(begun).Seconds(), nil)
	return bench.Pause(ctx, min(f.interval, manyWarm))
}

// watch measures a window of the flight.
func (f flight) watch(ctx context.Context, fl *fleet, idle int64, s *figures.Series) error {
	fl.b.Progress.Sayf("%d tasks in flight: measuring for %s", f.tasks, f.window)
	seen, err := f.measure(ctx, fl)
	if err != nil {
		return err
	}
	s.Add("many_polls_per_second", "  polls", "polls/s", seen.Rate(), nil)
	s.Add("many_late_p50", "  lateness at the relay, p50", "ms", figures.Percentile(seen.late, 0.50), nil)
	s.Add("many_late_p99", "  lateness at the relay, p99", "ms", figures.Percentile(seen.late, 0.99), nil)
	s.Add("many_late_max", "  lateness at the relay, the latest", "ms", figures.Percentile(seen.late, 1), nil)
	s.Add("many_wal_per_poll", "  WAL per poll", "B", seen.WALPerRequest(), nil)
	s.Add("many_postgres_part", "  CPU of the machine: Postgres", "%", seen.Part(seen.Postgres), nil)
	s.Add("many_klingwatch_part", "  CPU of the machine: klingwatch", "%", seen.Part(seen.Client), nil)
	addShares(s, "many", seen)
	if err := f.addMemory(ctx, fl, idle, s); err != nil {
		return err
	}
	return addTables(ctx, fl, s)
}

// addMemory adds what the processes hold. What they have noted for the measurement is part
// of it: 24 B per poll, and as much again while it is read.
func (f flight) addMemory(ctx context.Context, fl *fleet, idle int64, s *figures.Series) error {
	held, most, err := fl.memory(ctx)
	if err != nil {
		return err
	}
	s.Add("many_memory_most", "  memory of the largest process, before a collection", "MiB", float64(most)/(1<<20), nil)
	s.Add("many_memory", "  memory of all processes, after one", "MiB", float64(held)/(1<<20), nil)
	s.Add("many_memory_per_task", "  memory per task", "KiB", float64(held-idle)/1024/float64(f.tasks), nil)
	return nil
}

// addTables adds what the database holds of tasks in flight.
func addTables(ctx context.Context, fl *fleet, s *figures.Series) error {
	for _, table := range []string{"tasks", "events", "river_job"} {
		bytes, err := sizeOf(ctx, fl.d, table)
		if err != nil {
			return err
		}
		s.Add("many_size_"+table, "  "+table+", with indexes", "MiB", float64(bytes)/(1<<20), nil)
	}
	for _, state := range []string{"running", "scheduled"} {
		n, err := jobsIn(ctx, fl.d, state)
		if err != nil {
			return err
		}
		s.Add("many_jobs_"+state, "  jobs "+state, "", float64(n), nil)
	}
	return nil
}

// restart kills all processes and starts as many: how soon are the tasks watched again?
func (p plan) restart(ctx context.Context, f *fleet, s *figures.Series) error {
	held, err := jobsIn(ctx, f.d, "running")
	if err != nil {
		return err
	}
	f.b.Progress.Sayf("restarting all processes, which hold %d tasks", held)
	for _, c := range f.services {
		c.Kill()
	}
	begun := time.Now()
	again := &fleet{b: f.b, d: f.d}
	return enlist(ctx, again, p.processes, func(f *fleet) error {
		for _, c := range f.services {
			if err := c.Run(ctx, f.b.ServicePlan(f.d, p.many.interval, spare*p.many.demand())); err != nil {
				return err
			}
		}
		what := fmt.Sprintf("%d tasks are watched again", held)
		look := func(ctx context.Context) (int, error) {
			if err := bench.Pause(ctx, restartLook); err != nil {
				return 0, err
			}
			return takenSince(ctx, f.d, begun)
		}
		_, err := bench.Until(ctx, what, restartLimit, look, func(n int) bool { return float64(n) >= heldPart*float64(held) })
		s.Add("many_restarted", "all processes killed and restarted: their tasks watched again after", "s", time.Since(begun).Seconds(), nil)
		return err
	})
}
