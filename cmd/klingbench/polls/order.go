package polls

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

// OrderCommand measures what the order of events costs.
type OrderCommand struct {
	bench.Options
	Runs  int `placeholder:"N" help:"Runs, whose median counts; default: 5, with --quick 1."`
	Tasks int `placeholder:"N" help:"Tasks of a run; default: 20000, with --quick 1000."`
}

// Run measures.
func (cmd OrderCommand) Run(ctx context.Context, c *figures.Console) error {
	p := orderPlan{runs: 5, tasks: 20_000}
	if cmd.Quick {
		p = orderPlan{runs: 1, tasks: 2_000}
	}
	if cmd.Runs > 0 {
		p.runs = cmd.Runs
	}
	if cmd.Tasks > 0 {
		p.tasks = cmd.Tasks
	}
	return cmd.Measure(ctx, c, "order", p.measure)
}

type orderPlan struct {
	runs, tasks int
}

// measure ends tasks with and without the order of events, in turns; each run begins with
// the other one.
func (p orderPlan) measure(ctx context.Context, b *bench.Bench) ([]figures.Figure, error) {
	s := figures.NewSeries(figures.Median)
	for run := range p.runs {
		turns := []bool{true, false}
		if run%2 == 1 {
			slices.Reverse(turns)
		}
		rates := map[bool]float64{}
		for _, ordered := range turns {
			b.Progress.Sayf("run %d of %d: two processes end %d tasks, events in order: %t", run+1, p.runs, p.tasks, ordered)
			var err error
			if rates[ordered], err = p.complete(ctx, b, ordered); err != nil {
				return nil, err
			}
		}
		s.Add("ordered_completions_per_second", "completions, two processes, events in order", "/s", rates[true], nil)
		s.Add("unordered_completions_per_second", "completions without the order of events", "/s", rates[false], nil)
		s.Add("order_part", "with the order : without", "", figures.Ratio(rates[true], rates[false]), figures.AtLeast(0.9))
	}
	return s.Result(), nil
}

// complete has two processes end all tasks with one poll each, and returns how many per
// second; the first tenth is not counted, in which they find their pace.
func (p orderPlan) complete(ctx context.Context, b *bench.Bench, ordered bool) (rate float64, err error) {
	err = b.WithDatabase(ctx, func(d *bench.Database) error {
		if err := b.Relay.Plan(ctx, standin.RelayPlan{Tasks: p.tasks, Polls: 1}); err != nil {
			return err
		}
		if !ordered {
			if err := forgetOrder(ctx, d.Pool); err != nil {
				return err
			}
		}
		return b.WithService(ctx, contender.WorkerRole, func(one *contender.Service) error {
			return b.WithService(ctx, contender.WorkerRole, func(other *contender.Service) error {
				rate, err = p.time(ctx, b, d, one, other)
				return err
			})
		})
	})
	return rate, err
}

func (p orderPlan) time(ctx context.Context, b *bench.Bench, d *bench.Database, services ...*contender.Service) (rate float64, err error) {
	for _, service := range services {
		if err := service.Run(ctx, b.ServicePlan(d, saturatedInterval, saturatedRate)); err != nil {
			return 0, err
		}
	}
	// Both work by now: the first may not have ended all before the other has begun.
	if err := copyAllTasks(ctx, d.Pool, p.tasks); err != nil {
		return 0, err
	}
	ended := func(ctx context.Context) (int, error) { return countEnded(ctx, d.Pool) }
	counted, err := bench.Until(ctx, "the first tasks have ended", bench.SaturatedLimit, ended, func(n int) bool { return n >= p.tasks/10 })
	if err != nil {
		return 0, err
	}
	begun := time.Now()
	_, err = bench.Until(ctx, fmt.Sprintf("%d tasks have ended", p.tasks), bench.SaturatedLimit, ended, func(n int) bool { return n == p.tasks })
	return float64(p.tasks-counted) / time.Since(begun).Seconds(), err
}
