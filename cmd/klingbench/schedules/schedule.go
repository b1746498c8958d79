package schedules

import (
	"context"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/figures"
)

// ScheduleCommand compares the learned schedule with the fixed interval; it needs
// no Postgres.
type ScheduleCommand struct {
	figures.Output
	Median   time.Duration `default:"2m" help:"Median of the tasks' durations."`
	Interval time.Duration `default:"5s" help:"The fixed interval."`
	Tasks    int           `placeholder:"N" help:"Tasks to learn from, and as many to poll; default: 4000, with --quick 1000."`
	Runs     int           `placeholder:"N" help:"Runs with other random numbers, whose median counts; default: 5, with --quick 1."`
}

// spreads are the standard deviations of the durations' logarithm that are
// tried, from tasks that all take about the same time to those that take any.
var spreads = []float64{0.1, 0.2, 0.3, 0.5, 1}

// Run simulates.
func (cmd ScheduleCommand) Run(ctx context.Context, c *figures.Console) error {
	begun := time.Now()
	tasks, runs := 4_000, 5
	if cmd.Quick {
		tasks, runs = 1_000, 1
	}
	if cmd.Tasks > 0 {
		tasks = cmd.Tasks
	}
	if cmd.Runs > 0 {
		runs = cmd.Runs
	}
	s := figures.NewSeries(figures.Median)
	for _, spread := range spreads {
		for run := range runs {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			addSimulation(s, spread, simulate(cmd.Median, spread, cmd.Interval, tasks, uint64(run)+1))
		}
	}
	return c.Print(cmd.Output, figures.NewDocument(ctx, cmd.Output, "schedule", begun, s.Result()))
}

// addSimulation adds the figures of one simulation. Both schedules are meant to
// need the same number of polls; what is left of a difference is taken out by
// giving the fixed interval as many polls as the learned schedule needed, which
// shortens or lengthens its delay by that factor.
func addSimulation(s *figures.Series, spread float64, sim simulation) {
	name, label := "_spread_"+figures.Number(spread), ", durations' log sd "+figures.Number(spread)
	more := figures.Ratio(sim.learnedPolls, sim.fixedPolls)
	s.Add("delay"+name, "delay, learned : fixed"+label, "", more*figures.Ratio(sim.learnedDelay.Seconds(), sim.fixedDelay.Seconds()), figures.AtMost(0.5))
	s.Add("fixed_delay"+name, "  delay, fixed interval", "s", sim.fixedDelay.Seconds(), nil)
	s.Add("learned_delay"+name, "  delay, learned", "s", sim.learnedDelay.Seconds(), nil)
	s.Add("fixed_polls"+name, "  polls per task, fixed interval", "polls", sim.fixedPolls, nil)
	s.Add("learned_polls"+name, "  polls per task, learned", "polls", sim.learnedPolls, nil)
}
