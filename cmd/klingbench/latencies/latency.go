package latencies

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/figures"
	"github.com/klingwatch/klingwatch/cmd/klingbench/standin"
)

// Command measures from the end of a task at the provider to its webhook.
type Command struct {
	bench.Options
	Runs     int           `placeholder:"N" help:"Runs, whose median counts; default: 1."`
	Tasks    int           `placeholder:"N" help:"Tasks of each way; default: 400, with --quick 20."`
	Median   time.Duration `placeholder:"DURATION" help:"Median of the tasks' durations; default: 30s, with --quick 1s."`
	Spread   float64       `default:"0.25" help:"Standard deviation of the durations' logarithm; with 0.25, two thirds end within a quarter of the median."`
	Interval time.Duration `placeholder:"DURATION" help:"Between two polls of a task; default: 5s, with --quick 500ms."`
	Picture  string        `placeholder:"FILE" help:"Draw the figures into this SVG file."`
}

// Run measures.
func (cmd Command) Run(ctx context.Context, c *figures.Console) error {
	return cmd.Measure(ctx, c, "latency", func(ctx context.Context, b *bench.Bench) ([]figures.Figure, error) {
		p := cmd.plan()
		measured, err := p.measure(ctx, b)
		if err == nil && cmd.Picture != "" {
			err = os.WriteFile(cmd.Picture, p.draw(measured, time.Now()), 0o644)
		}
		return measured, err
	})
}

// plan is the size of everything that latency does.
type plan struct {
	runs     int
	tasks    int
	distance time.Duration // between the beginnings of two tasks
	median   time.Duration
	spread   float64
	interval time.Duration
	history  int // tasks that have ended before, where something is learned
	ways     []way
}

func (cmd Command) plan() plan {
	p := plan{runs: 1, tasks: 400, distance: 80 * time.Millisecond, median: 30 * time.Second, spread: cmd.Spread, interval: 5 * time.Second, history: 2_000}
	if cmd.Quick {
		p.tasks, p.median, p.interval, p.history = 20, time.Second, 500*time.Millisecond, 200
	}
	if cmd.Runs > 0 {
		p.runs = cmd.Runs
	}
	if cmd.Tasks > 0 {
		p.tasks = cmd.Tasks
	}
	if cmd.Median > 0 {
		p.median = cmd.Median
	}
	if cmd.Interval > 0 {
		p.interval = cmd.Interval
	}
	const batch = standin.BatchSize
	p.ways = []way{
		{name: "fixed", label: fmt.Sprintf("fixed interval of %s", p.interval), drawn: "Fixed interval of " + span(figures.Milliseconds(p.interval)), interval: p.interval},
		{name: "learned", label: "learned schedule", drawn: "Learned schedule", interval: p.interval, learns: true, target: 1200},
		{name: "batches", label: fmt.Sprintf("%d tasks in a request, every %s", batch, p.interval/batch), drawn: fmt.Sprintf("%d tasks in a request", batch), interval: p.interval / batch, batches: true},
		{name: "callback", label: "callback of the provider", drawn: "Callback of the provider", interval: p.interval, called: true, target: 100},
	}
	return p
}

// lives draws durations, the same for each seed.
func (p plan) lives(n int, seed uint64) []time.Duration {
	random := rand.New(rand.NewPCG(seed, 1))
	lives := make([]time.Duration, n)
	for i := range lives {
		lives[i] = time.Duration(float64(p.median) * math.Exp(p.spread*random.NormFloat64()))
	}
	return lives
}

// measure measures all ways one after the other, each with the same tasks.
func (p plan) measure(ctx context.Context, b *bench.Bench) ([]figures.Figure, error) {
	s := figures.NewSeries(figures.Median)
	for run := range p.runs {
		for _, w := range p.ways {
			b.Progress.Sayf("run %d of %d: %s", run+1, p.runs, w.label)
			seen, err := w.measure(ctx, b, p, uint64(run)+1)
			if err != nil {
				return nil, fmt.Errorf("measuring %s: %w", w.name, err)
			}
			var target *figures.Target
			if w.target > 0 {
				target = figures.AtMost(w.target)
			}
			s.Add(w.name+"_mean", "end to webhook, "+w.label+", mean", "ms", mean(seen.latencies), target)
			s.Add(w.name+"_p50", "  p50", "ms", figures.Percentile(seen.latencies, 0.50), nil)
			s.Add(w.name+"_p99", "  p99", "ms", figures.Percentile(seen.latencies, 0.99), nil)
			s.Add(w.name+"_requests", "  requests per task", "", float64(seen.counts.Requests)/float64(p.tasks), nil)
			s.Add(w.name+"_rate", "  requests per second", "/s", float64(seen.counts.Requests)/seen.elapsed.Seconds(), nil)
		}
	}
	return s.Result(), nil
}

func mean(values []float64) (sum float64) {
	for _, v := range values {
		sum += v
	}
	return figures.Ratio(sum, float64(len(values)))
}
