package fleets

import (
	"context"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/figures"
)

// Command measures many processes on one database.
type Command struct {
	bench.Options
	Only      []string      `placeholder:"PART" help:"Only these parts: saturated, shared, bound, change, disk, many."`
	Runs      int           `placeholder:"N" help:"Runs of saturated and shared, whose median counts; default: 3, with --quick 1."`
	Size      int           `placeholder:"N" help:"Tasks in flight of the part many; default: 100000, with --quick 1000."`
	Interval  time.Duration `placeholder:"TIME" help:"Between two polls of a task of the part many; default: 1m, with --quick 1s."`
	Processes int           `default:"4" help:"Processes of the parts bound, change and many."`
}

// Run measures.
func (cmd Command) Run(ctx context.Context, c *figures.Console) error {
	p := cmd.plan()
	return cmd.MeasureParts(ctx, c, "fleet", []bench.Part{
		{Name: "saturated", Runs: p.runs, Measure: p.measureSaturated},
		{Name: "shared", Runs: p.runs, Measure: p.measureShared},
		{Name: "bound", Runs: 1, Measure: p.measureBound},
		{Name: "change", Runs: 1, Measure: p.measureChange},
		{Name: "disk", Runs: 1, Measure: p.measureDisk},
		{Name: "many", Runs: 1, Measure: p.measureMany},
	}, cmd.Only)
}

// plan is the size of everything that fleet does.
type plan struct {
	runs      int
	sizes     []int         // of fleets that are compared
	processes int           // of the others
	joining   time.Duration // that processes get when they have just started, to see each other and to share the rate
	tasks     int           // of a saturated run
	polls     int           // per task of it
	flight    flight
	shareLook time.Duration // how often, and over how long, the share of a process that joins is counted
	evenLimit time.Duration // for that share
	kept      int           // tasks whose size on disk is measured
	many      flight
}

// flight is a number of tasks in flight, none of which ends.
type flight struct {
	tasks    int
	interval time.Duration // between two polls of a task
	window   time.Duration // that is measured
}

// demand is how many polls per second the tasks want.
func (f flight) demand() float64 { return float64(f.tasks) / f.interval.Seconds() }

func (cmd Command) plan() plan {
	p := plan{
		runs: 3, sizes: []int{1, 2, 4}, processes: cmd.Processes, joining: 4 * time.Second, tasks: 10_000, polls: 6,
		flight:    flight{tasks: 5_000, interval: 5 * time.Second, window: 20 * time.Second},
		shareLook: 5 * time.Second, evenLimit: 7 * time.Minute, kept: 20_000,
		many: flight{tasks: 100_000, interval: time.Minute, window: time.Minute},
	}
	if cmd.Quick {
		p.runs, p.sizes, p.tasks, p.kept = 1, []int{1, 2}, 1_000, 200
		p.joining, p.shareLook, p.evenLimit = time.Second, time.Second, 0
		p.flight = flight{tasks: 200, interval: time.Second, window: 2 * time.Second}
		p.many = flight{tasks: 1_000, interval: time.Second, window: 2 * time.Second}
	}
	if cmd.Runs > 0 {
		p.runs = cmd.Runs
	}
	if cmd.Size > 0 {
		p.many.tasks = cmd.Size
	}
	if cmd.Interval > 0 {
		p.many.interval = cmd.Interval
	}
	return p
}
