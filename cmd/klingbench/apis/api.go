package apis

import (
	"context"
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
	return cmd.MeasureParts(ctx, c, "api", cmd.plan().parts(), cmd.Only)
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
		post:     post{tasks: 1000, rounds: 15, rest: 2 * bench.Settle},
		callback: callback{tasks: 200, rate: 10},
		quick:    cmd.Quick,
	}
	if cmd.Quick {
		p.runs = 1
		p.stream = stream{clients: 20, rate: 50, window: bench.Settle, after: bench.Settle}
		p.wait = wait{waiters: 20, rate: 50, crowd: 5}
		p.list = list{tasks: 5000, each: 2}
		p.post = post{tasks: 100, rounds: 1, rest: bench.Settle}
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

// parts are all that can be measured alone.
func (p plan) parts() []bench.Part {
	return []bench.Part{
		{Name: "stream", Runs: p.runs, Measure: p.stream.measure},
		{Name: "wait", Runs: p.runs, Measure: p.wait.measure},
		{Name: "list", Runs: 1, Measure: p.list.measure},
		{Name: "post", Runs: 1, Measure: p.post.measure},
		{Name: "cancel", Runs: 1, Measure: func(ctx context.Context, b *bench.Bench, s *figures.Series) error {
			return polls.MeasureCancel(ctx, b, p.quick, cancelAll, s)
		}},
		{Name: "callback", Runs: p.runs, Measure: p.callback.measure},
	}
}
