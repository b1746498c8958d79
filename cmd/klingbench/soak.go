package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/figures"
)

// soakCommand lets everything run at once for some minutes and looks whether the
// database stays small.
type soakCommand struct {
	options
	Half time.Duration `placeholder:"TIME" help:"Half of the soak: sizes at its end are compared with those in the middle; default: 3m, with --quick 3s."`
	Rate int           `default:"50" help:"Tasks inserted per second."`
}

// Run measures.
func (cmd soakCommand) Run(ctx context.Context, c *figures.Console) error {
	if cmd.Half == 0 {
		cmd.Half = 3 * time.Minute
		if cmd.Quick {
			cmd.Half = 3 * time.Second
		}
	}
	return cmd.options.run(ctx, c, "soak", cmd.measure)
}

const (
	// soakRetention is how long tasks and deliveries are kept: much shorter than
	// the service allows, so that a soak of minutes sees what months would.
	soakRetention = 20 * time.Second
	soakSweep     = time.Second
	soakPolls     = 4
	soakInterval  = 500 * time.Millisecond
	soakPollRate  = 1000
	// soakSnapshot is how long the reader keeps each snapshot.
	soakSnapshot = 2 * time.Second
	// soakStep is between two inserts.
	soakStep = 100 * time.Millisecond
)

// soakTables are looked at, with their indexes.
var soakTables = []string{"tasks", "outputs", "events", "deliveries", "delivery_attempts", "river_job", "daily_summaries"}

func (cmd soakCommand) measure(ctx context.Context, b *bench) ([]figures.Figure, error) {
	s := figures.NewSeries(figures.Median)
	total := int(2*cmd.Half/soakStep+1) * max(cmd.Rate*int(soakStep)/int(time.Second), 1)
	err := b.withDatabase(ctx, func(d *database) error {
		if err := b.relay.plan(ctx, StubPlan{Tasks: total, Polls: soakPolls}); err != nil {
			return err
		}
		return b.withProcess(ctx, "worker", func(c *child) error {
			plan := b.workerPlan(d, soakInterval, soakPollRate)
			plan.Retention, plan.SweepInterval = soakRetention, soakSweep
			if err := c.call(ctx, "Run", plan, new(none)); err != nil {
				return err
			}
			return cmd.soak(ctx, b, d, s)
		})
	})
	return s.Result(), err
}

// soak inserts and reads beside the worker, and looks at the sizes in the middle
// and at the end.
func (cmd soakCommand) soak(ctx context.Context, b *bench, d *database, s *figures.Series) error {
	busy, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	failed := make(chan error, 2)
	for _, work := range []func(context.Context) error{
		func(ctx context.Context) error { return d.insertSteadily(ctx, cmd.Rate, b.relay.url+hookPath) },
		d.readSteadily,
	} {
		wg.Go(func() {
			if err := work(busy); err != nil && busy.Err() == nil {
				failed <- err
				stop()
			}
		})
	}
	var sizes [2]map[string]int64
	for i, part := range []string{"first", "second"} {
		b.progress.Sayf("%s half of %s: %d tasks per second, a reader, retention", part, cmd.Half, cmd.Rate)
		if err := pause(busy, cmd.Half); err != nil {
			break
		}
		var err error
		if sizes[i], err = d.tableSizes(ctx, soakTables); err != nil {
			return err
		}
	}
	stop()
	wg.Wait()
	select {
	case err := <-failed:
		return err
	default:
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	counts, err := b.relay.counts(ctx)
	if err != nil {
		return err
	}
	s.Add("tasks_ended", "tasks that ended", "", float64(counts.Ended), nil)
	for _, table := range soakTables {
		middle, end := float64(sizes[0][table])/(1<<20), float64(sizes[1][table])/(1<<20)
		s.Add(table+"_size", fmt.Sprintf("%s after %s", table, 2*cmd.Half), "MiB", end, nil)
		s.Add(table+"_growth", "  end : middle", "", figures.Ratio(end, middle), figures.AtMost(1.25))
	}
	return nil
}
