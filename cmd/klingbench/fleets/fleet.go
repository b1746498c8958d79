package fleets

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/contender"
	"github.com/klingwatch/klingwatch/cmd/klingbench/process"
	"github.com/klingwatch/klingwatch/cmd/klingbench/standin"
)

// fleet are processes on one database.
type fleet struct {
	b        *bench.Bench
	d        *bench.Database
	services []*contender.Service
	joining  time.Duration // how long they wait for each other when they have just started
}

// withFleet calls work with processes that do not run yet on a fresh database, and end
// after it.
func (p plan) withFleet(ctx context.Context, b *bench.Bench, n int, relay standin.RelayPlan, work func(*fleet) error) error {
	return b.WithDatabase(ctx, func(d *bench.Database) error {
		if err := b.Relay.Plan(ctx, relay); err != nil {
			return err
		}
		return enlist(ctx, &fleet{b: b, d: d, joining: p.joining}, n, work)
	})
}

// enlist starts n processes more.
func enlist(ctx context.Context, f *fleet, n int, work func(*fleet) error) error {
	if n == 0 {
		return work(f)
	}
	return f.b.WithService(ctx, contender.WorkerRole, func(c *contender.Service) error {
		f.services = append(f.services, c)
		return enlist(ctx, f, n-1, work)
	})
}

// run lets the processes work, and returns when they share the rate.
func (f *fleet) run(ctx context.Context, plan contender.ServicePlan) error {
	for _, c := range f.services {
		if err := c.Run(ctx, plan); err != nil {
			return err
		}
	}
	return bench.Pause(ctx, f.joining)
}

func (f *fleet) pids() (pids []int) {
	for _, c := range f.services {
		pids = append(pids, c.PID())
	}
	return pids
}

// spent returns what was used while work was called, by all processes together.
func (f *fleet) spent(ctx context.Context, work func() error) (bench.Usage, error) {
	return f.b.SpentBy(ctx, f.pids(), f.b.Relay, work)
}

// polls of each process, since it has run.
func (f *fleet) polls(ctx context.Context) ([][]contender.Poll, error) {
	polls := make([][]contender.Poll, len(f.services))
	for i, c := range f.services {
		var err error
		if polls[i], err = c.Polls(ctx); err != nil {
			return nil, err
		}
	}
	return polls, nil
}

// memory returns what all processes hold, after a collection, and the most of one.
func (f *fleet) memory(ctx context.Context) (all, most int64, err error) {
	for _, c := range f.services {
		m, err := process.Ask[process.Memory](ctx, c.Child, "Memory")
		if err != nil {
			return 0, 0, err
		}
		all, most = all+m.Collected, max(most, m.Used)
	}
	return all, most, nil
}

// untilPolled waits until each task has been polled.
func (f *fleet) untilPolled(ctx context.Context, tasks int, limit time.Duration) error {
	what := fmt.Sprintf("each of %d tasks has been polled", tasks)
	_, err := bench.Until(ctx, what, limit, f.b.Relay.Counts, func(s standin.RelayCounts) bool { return s.Asked == int64(tasks) })
	return err
}

// inPeriod counts the polls of each process that were begun in a period.
func inPeriod(polls [][]contender.Poll, period bench.Usage) []int {
	from, to := period.From.UnixNano(), period.From.Add(period.Elapsed).UnixNano()
	counts := make([]int, len(polls))
	for i, list := range polls {
		for _, p := range list {
			if p.Begun >= from && p.Begun < to {
				counts[i]++
			}
		}
	}
	return counts
}

// leastShare is what the process with the fewest has, as a part of an even share.
func leastShare(counts []int) float64 {
	total := 0
	for _, n := range counts {
		total += n
	}
	if total == 0 {
		return 0
	}
	return float64(slices.Min(counts)*len(counts)) / float64(total)
}

// watchConnections looks until stop is called, which returns the most connections of the
// processes at once.
func (f *fleet) watchConnections(ctx context.Context) (stop func() (int, error)) {
	ctx, cancel := context.WithCancel(ctx)
	most, failed := 0, error(nil)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			n, err := connections(ctx, f.d)
			if err != nil && ctx.Err() == nil {
				failed = err
			}
			most = max(most, n)
			if bench.Pause(ctx, connectionLook) != nil {
				return
			}
		}
	})
	return func() (int, error) {
		cancel()
		wg.Wait()
		return most, failed
	}
}

// connectionLook is how often connections are counted.
const connectionLook = 200 * time.Millisecond
