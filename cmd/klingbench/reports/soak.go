package reports

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/contender"
	"github.com/klingwatch/klingwatch/cmd/klingbench/figures"
	"github.com/klingwatch/klingwatch/cmd/klingbench/standin"
)

// SoakCommand runs everything at once for some minutes and measures whether the
// database stays small.
type SoakCommand struct {
	bench.Options
	Half time.Duration `placeholder:"TIME" help:"Half of the soak: sizes at its end are compared with those in the middle; default: 3m, with --quick 3s."`
	Rate int           `default:"50" help:"Tasks inserted per second."`
}

// Run measures.
func (cmd SoakCommand) Run(ctx context.Context, c *figures.Console) error {
	if cmd.Half == 0 {
		cmd.Half = 3 * time.Minute
		if cmd.Quick {
			cmd.Half = 3 * time.Second
		}
	}
	return cmd.Measure(ctx, c, "soak", cmd.measure)
}

const (
	// soakRetention is how long tasks and deliveries are kept: much shorter than
	// the service allows, so that a soak of minutes sees what months would.
	soakRetention = 20 * time.Second
	soakSweep     = time.Second
	soakPolls     = 4
	soakInterval  = 500 * time.Millisecond
	soakPollRate  = 1000
)

// summaries has rows for each day.
const summaries = "daily_summaries"

// soakTables are measured, with their indexes.
var soakTables = []string{"tasks", "outputs", "events", "deliveries", "delivery_attempts", "river_job", summaries}

func (cmd SoakCommand) measure(ctx context.Context, b *bench.Bench) ([]figures.Figure, error) {
	s := figures.NewSeries(figures.Median)
	total := int(2*cmd.Half/soakStep+1) * tasksPerStep(cmd.Rate)
	err := b.WithDatabase(ctx, func(d *bench.Database) error {
		if err := b.Relay.Plan(ctx, standin.RelayPlan{Tasks: total, Polls: soakPolls}); err != nil {
			return err
		}
		return b.WithService(ctx, contender.WorkerRole, func(c *contender.Service) error {
			plan := b.ServicePlan(d, soakInterval, soakPollRate)
			plan.Retention, plan.SweepInterval = soakRetention, soakSweep
			if err := c.Run(ctx, plan); err != nil {
				return err
			}
			return cmd.soak(ctx, b, d, s)
		})
	})
	return s.Result(), err
}

// soak measures the sizes in the middle and at the end, while tasks are inserted
// and reports are read beside the worker.
func (cmd SoakCommand) soak(ctx context.Context, b *bench.Bench, d *bench.Database, s *figures.Series) error {
	var sizes [2]map[string]int64
	err := cmd.underLoad(ctx, b, d, func(ctx context.Context) (err error) {
		for i, part := range []string{"first", "second"} {
			b.Progress.Sayf("%s half of %s: %d tasks per second, a reader, retention", part, cmd.Half, cmd.Rate)
			if err := bench.Pause(ctx, cmd.Half); err != nil {
				return err
			}
			if sizes[i], err = tableSizes(ctx, d, soakTables); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	counts, err := b.Relay.Counts(ctx)
	if err != nil {
		return err
	}
	s.Add("tasks_ended", "tasks that ended", "", float64(counts.Ended), nil)
	for _, table := range soakTables {
		middle, end := float64(sizes[0][table])/(1<<20), float64(sizes[1][table])/(1<<20)
		s.Add(table+"_size", fmt.Sprintf("%s after %s", table, 2*cmd.Half), "MiB", end, nil)
		target := figures.AtMost(1.25)
		if table == summaries { // there are twice as many days at the end
			target = nil
		}
		s.Add(table+"_growth", "  end : middle", "", figures.Ratio(end, middle), target)
	}
	return nil
}

// underLoad calls work while tasks are inserted and reports are read. The first
// error of the three ends the others and is returned.
func (cmd SoakCommand) underLoad(ctx context.Context, b *bench.Bench, d *bench.Database, work func(context.Context) error) error {
	busy, stop := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	for _, load := range []func(context.Context) error{
		func(ctx context.Context) error { return insertSteadily(ctx, d, cmd.Rate, b.Relay.HookURL()) },
		func(ctx context.Context) error { return readSteadily(ctx, d) },
	} {
		wg.Go(func() {
			if err := load(busy); err != nil {
				stop(err) // no effect when busy has ended already
			}
		})
	}
	err := work(busy)
	stop(err)
	wg.Wait()
	cause := context.Cause(busy)
	if err == nil && errors.Is(cause, context.Canceled) {
		return nil
	}
	return cause
}
