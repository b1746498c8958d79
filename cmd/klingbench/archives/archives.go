package archives

import (
	"context"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/figures"
)

// Command measures how files are kept.
type Command struct {
	bench.Options
	Only  []string `placeholder:"PART" help:"Parts to measure: kill, throughput, memory, stored, beside; default: all."`
	Runs  int      `placeholder:"N" help:"Runs of throughput and beside, whose median counts; default: 3, with --quick 1."`
	Store string   `enum:"disk,s3" default:"disk" help:"Where files are kept: ${enum}; s3 starts the versitygw that VERSITYGW names."`
}

// Run measures.
func (cmd Command) Run(ctx context.Context, c *figures.Console) error {
	return cmd.MeasureParts(ctx, c, "archive", cmd.plan().parts(), cmd.Only)
}

// plan is the size of everything that archive does.
type plan struct {
	runs       int
	kill       kill
	throughput throughput
	memory     memory
	stored     stored
	beside     beside
}

func (cmd Command) plan() plan {
	p := plan{
		runs:       3,
		kill:       kill{kills: 10, files: 500, least: 10 << 10, most: 2 << 20, window: 20 * time.Second},
		throughput: throughput{files: 100, size: 20_000_000},
		memory:     memory{files: 8, size: 200_000_000},
		stored:     stored{files: 60, size: 1_000_000, distance: 400 * time.Millisecond},
		beside:     beside{flight: 2000, interval: 5 * time.Second, rate: 50, window: 20 * time.Second, streams: 4, size: 100_000_000, speed: 25_000_000},
	}
	if cmd.Quick {
		p.runs = 1
		p.kill = kill{kills: 1, files: 6, least: 10 << 10, most: 100 << 10, window: bench.Settle}
		p.throughput = throughput{files: 4, size: 1_000_000}
		p.memory = memory{files: 8, size: 2_000_000}
		p.stored = stored{files: 2, size: 100_000, distance: 100 * time.Millisecond}
		p.beside = beside{flight: 100, interval: bench.Settle, rate: 20, window: bench.Settle, streams: 4, size: 1_000_000, speed: 1_000_000}
	}
	if cmd.Runs > 0 {
		p.runs = cmd.Runs
	}
	p.kill.at, p.throughput.at, p.memory.at, p.stored.at, p.beside.at = cmd.Store, cmd.Store, cmd.Store, cmd.Store, cmd.Store
	return p
}

// parts are all that can be measured alone.
func (p plan) parts() []bench.Part {
	return []bench.Part{
		{Name: "kill", Runs: 1, Measure: p.kill.measure},
		{Name: "throughput", Runs: p.runs, Measure: p.throughput.measure},
		{Name: "memory", Runs: 1, Measure: p.memory.measure},
		{Name: "stored", Runs: 1, Measure: p.stored.measure},
		{Name: "beside", Runs: p.runs, Measure: p.beside.measure},
	}
}
