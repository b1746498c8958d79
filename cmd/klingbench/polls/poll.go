package polls

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/figures"
)

// PollCommand measures throughput and cost.
type PollCommand struct {
	bench.Options
	Runs       int `placeholder:"N" help:"Runs of the saturated measurements, whose median counts; default: 3, with --quick 1."`
	Tasks      int `placeholder:"N" help:"Tasks of a saturated run; default: 10000, with --quick 1000."`
	Polls      int `default:"6" help:"Polls per task of a saturated run."`
	Goroutines int `default:"100" help:"Goroutines that poll when the HTTP client is measured alone."`
}

// Run measures.
func (cmd PollCommand) Run(ctx context.Context, c *figures.Console) error {
	return cmd.Measure(ctx, c, "poll", cmd.plan().measure)
}

// pollPlan is the size of everything that poll does.
type pollPlan struct {
	runs       int
	tasks      int // of a saturated run
	polls      int // per task
	morePolls  int // of the second saturated run of klingwatch
	rationed   rationed
	goroutines int
	limitTime  time.Duration // of the HTTP client alone

	few, usual, many int           // tasks in flight whose CPU per poll is compared
	rate             float64       // polls per second of each
	window           time.Duration // in which each is measured
	memory           flight
}

func (cmd PollCommand) plan() pollPlan {
	p := pollPlan{
		runs: 3, tasks: 10_000, polls: cmd.Polls, morePolls: 24, goroutines: cmd.Goroutines, limitTime: 4 * time.Second,
		few: 5_000, usual: 10_000, many: 50_000, rate: 2_000, window: 15 * time.Second,
		rationed: rationed{tasks: 10_000, interval: time.Second, rate: 200, window: 5 * time.Second},
		memory:   flight{tasks: 10_000, interval: 5 * time.Second, window: 5 * time.Second},
	}
	if cmd.Quick {
		p.runs, p.tasks, p.limitTime = 1, 1_000, bench.Settle
		p.few, p.usual, p.many, p.window = 100, 300, 1_000, bench.Settle
		p.rationed = rationed{tasks: 1_000, interval: bench.Settle, rate: 50, window: bench.Settle}
		p.memory = flight{tasks: 1_000, interval: bench.Settle, window: bench.Settle}
	}
	if cmd.Runs > 0 {
		p.runs = cmd.Runs
	}
	if cmd.Tasks > 0 {
		p.tasks = cmd.Tasks
	}
	return p
}

// measure runs everything. The contenders take turns, so that a machine that
// is slower for a while is slower for all of them.
func (p pollPlan) measure(ctx context.Context, b *bench.Bench) ([]figures.Figure, error) {
	saturated := figures.NewSeries(figures.Median)
	for run := range p.runs {
		if err := p.compare(ctx, b, run+1, saturated); err != nil {
			return nil, err
		}
		if err := p.compareBatches(ctx, b, run+1, saturated); err != nil {
			return nil, err
		}
	}
	flying := figures.NewSeries(figures.Median)
	if err := p.compareFlights(ctx, b, flying); err != nil {
		return nil, err
	}
	if err := p.measureMemory(ctx, b, flying); err != nil {
		return nil, err
	}
	return append(saturated.Result(), flying.Result()...), nil
}

// compareFlights measures CPU per poll with different numbers of tasks in flight, at the
// same number of polls per second.
func (p pollPlan) compareFlights(ctx context.Context, b *bench.Bench, s *figures.Series) error {
	perPoll := map[string]float64{}
	for _, one := range []struct {
		name   string
		tasks  int
		target *figures.Target
	}{{"few", p.few, nil}, {"usual", p.usual, figures.AtMost(90)}, {"many", p.many, nil}} {
		interval := time.Duration(float64(one.tasks) / p.rate * float64(time.Second))
		f, err := flight{tasks: one.tasks, interval: interval, window: p.window}.fly(ctx, b)
		if err != nil {
			return err
		}
		perPoll[one.name] = f.PerRequest(f.Client + f.Postgres)
		label := strconv.Itoa(one.tasks) + " in flight"
		s.Add(one.name+"_polls_per_second", "klingwatch, "+label, "polls/s", f.Rate(), nil)
		s.Add(one.name+"_cpu_per_poll", "CPU per poll, "+label+": client", "us", f.PerRequest(f.Client), one.target)
		s.Add(one.name+"_postgres_cpu_per_poll", "CPU per poll, "+label+": Postgres", "us", f.PerRequest(f.Postgres), nil)
		s.Add(one.name+"_wal_per_poll", "WAL per poll, "+label, "B", f.WALPerRequest(), nil)
	}
	s.Add("cpu_many_to_few", fmt.Sprintf("CPU per poll, %d : %d in flight", p.many, p.few), "", figures.Ratio(perPoll["many"], perPoll["few"]), figures.AtMost(1.25))
	return nil
}

// measureMemory measures memory per task in flight.
func (p pollPlan) measureMemory(ctx context.Context, b *bench.Bench, s *figures.Series) error {
	f, err := p.memory.fly(ctx, b)
	if err != nil {
		return err
	}
	s.Add("memory_per_task", fmt.Sprintf("memory per task, %d in flight", p.memory.tasks), "KiB", f.memoryPerTask(), figures.AtMost(12))
	s.Add("memory_idle", "memory of the idle process", "MiB", float64(f.before.Collected)/(1<<20), nil)
	s.Add("memory_full", "memory with these tasks, before a collection", "MiB", float64(f.after.Used)/(1<<20), nil)
	return nil
}
