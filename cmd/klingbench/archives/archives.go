package archives

import (
	"context"
	"fmt"
	"slices"
	"strings"
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
	parts, err := cmd.plan().parts(cmd.Only)
	if err != nil {
		return err
	}
	return cmd.Measure(ctx, c, "archive", func(ctx context.Context, b *bench.Bench) ([]figures.Figure, error) {
		s := figures.NewSeries(figures.Median)
		for _, part := range parts {
			for run := range part.runs {
				b.Progress.Sayf("%s, run %d of %d", part.name, run+1, part.runs)
				if err := part.measure(ctx, b, s); err != nil {
					return nil, fmt.Errorf("measuring %s: %w", part.name, err)
				}
			}
		}
		return s.Result(), nil
	})
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

// part is what can be measured alone.
type part struct {
	name    string
	runs    int
	measure func(context.Context, *bench.Bench, *figures.Series) error
}

// parts returns those that are wanted.
func (p plan) parts(only []string) ([]part, error) {
	all := []part{
		{"kill", 1, p.kill.measure},
		{"throughput", p.runs, p.throughput.measure},
		{"memory", 1, p.memory.measure},
		{"stored", 1, p.stored.measure},
		{"beside", p.runs, p.beside.measure},
	}
	if len(only) == 0 {
		return all, nil
	}
	var names []string
	for _, part := range all {
		names = append(names, part.name)
	}
	for _, name := range only {
		if !slices.Contains(names, name) {
			return nil, fmt.Errorf("there is no part %q: try %s", name, strings.Join(names, ", "))
		}
	}
	return slices.DeleteFunc(all, func(part part) bool { return !slices.Contains(only, part.name) }), nil
}
