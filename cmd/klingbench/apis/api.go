package apis

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/figures"
	"github.com/klingwatch/klingwatch/cmd/klingbench/polls"
)

// Command measures the HTTP API.
type Command struct {
	bench.Options
	Only    []string `placeholder:"PART" help:"Parts to measure: stream, wait, list, post, cancel, callback; default: all."`
	Runs    int      `placeholder:"N" help:"Runs of stream, wait and callback, whose median counts; default: 3, with --quick 1."`
	Clients int      `placeholder:"N" help:"Followers of the feed; default: 1000, with --quick 20."`
	Waiters int      `placeholder:"N" help:"Clients that wait, each for a task of its own; default: 5000, with --quick 20."`
	Tasks   int      `placeholder:"N" help:"Tasks that are listed; default: 1000000, with --quick 5000."`
}

// Run measures.
func (cmd Command) Run(ctx context.Context, c *figures.Console) error {
	p := cmd.plan()
	parts, err := p.parts(cmd.Only)
	if err != nil {
		return err
	}
	return cmd.Measure(ctx, c, "api", func(ctx context.Context, b *bench.Bench) ([]figures.Figure, error) {
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

// plan is the size of everything that api does.
type plan struct {
	runs     int
	stream   stream
	wait     wait
	list     list
	post     post
	callback callback
	quick    bool
}

func (cmd Command) plan() plan {
	p := plan{
		runs:     3,
		stream:   stream{clients: 1000, rate: 50, window: 20 * time.Second, after: 10 * time.Second},
		wait:     wait{waiters: 5000, rate: 200, crowd: 1000},
		list:     list{tasks: 1_000_000, each: 40},
		post:     post{tasks: 1000, rounds: 15},
		callback: callback{tasks: 200, rate: 10},
		quick:    cmd.Quick,
	}
	if cmd.Quick {
		p.runs = 1
		p.stream = stream{clients: 20, rate: 50, window: bench.Settle, after: bench.Settle}
		p.wait = wait{waiters: 20, rate: 50, crowd: 5}
		p.list = list{tasks: 5000, each: 2}
		p.post = post{tasks: 100, rounds: 2}
		p.callback = callback{tasks: 10, rate: 20}
	}
	for _, given := range []struct {
		value int
		of    *int
	}{{cmd.Runs, &p.runs}, {cmd.Clients, &p.stream.clients}, {cmd.Waiters, &p.wait.waiters}, {cmd.Tasks, &p.list.tasks}} {
		if given.value > 0 {
			*given.of = given.value
		}
	}
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
		{"stream", p.runs, p.stream.measure},
		{"wait", p.runs, p.wait.measure},
		{"list", 1, p.list.measure},
		{"post", 1, p.post.measure},
		{"cancel", 1, func(ctx context.Context, b *bench.Bench, s *figures.Series) error {
			return polls.MeasureCancel(ctx, b, p.quick, cancelAll, s)
		}},
		{"callback", p.runs, p.callback.measure},
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
