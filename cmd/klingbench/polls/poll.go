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
	goroutines int
	limitTime  time.Duration // of the HTTP client alone
	few, many  int           // tasks in flight whose CPU per poll is compared
	rate       float64       // polls per second of both
	window     time.Duration // in which each is measured
	memory     flight
}

func (cmd PollCommand) plan() pollPlan {
	p := pollPlan{
		runs: 3, tasks: 10_000, polls: cmd.Polls, morePolls: 24, goroutines: cmd.Goroutines, limitTime: 4 * time.Second,
		few: 5_000, many: 50_000, rate: 2_000, window: 15 * time.Second,
		memory: flight{tasks: 10_000, interval: 5 * time.Second, window: 5 * time.Second},
	}
	if cmd.Quick {
		p.runs, p.tasks, p.limitTime = 1, 1_000, bench.Settle
		p.few, p.many, p.window = 100, 1_000, bench.Settle
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

// compare measures the three contenders once, klingwatch with few and with more
// polls per task.
func (p pollPlan) compare(ctx context.Context, b *bench.Bench, run int, s *figures.Series) error {
	b.Progress.Sayf("run %d of %d: the HTTP client alone", run, p.runs)
	limit, err := measureLimit(ctx, b, p.tasks, p.goroutines, p.limitTime)
	if err != nil {
		return err
	}
	var used [3]bench.Usage
	for i, w := range []workload{{naiveRiver, p.tasks, p.polls}, {klingwatch, p.tasks, p.polls}, {klingwatch, p.tasks, p.morePolls}} {
		b.Progress.Sayf("run %d of %d: %s, %d tasks, %d polls each", run, p.runs, w.service.label, w.tasks, w.polls)
		if used[i], err = w.saturate(ctx, b); err != nil {
			return err
		}
	}
	naive, ours, longer := used[0], used[1], used[2]

	s.Add("http_polls_per_second", "HTTP limit", "polls/s", limit.Rate(), nil)
	s.Add("naive_polls_per_second", "naive River", "polls/s", naive.Rate(), nil)
	s.Add("polls_per_second", "klingwatch", "polls/s", ours.Rate(), nil)
	s.Add("part_of_http_limit", "klingwatch : HTTP limit", "", figures.Ratio(ours.Rate(), limit.Rate()), figures.AtLeast(0.60))
	s.Add("times_naive", "klingwatch : naive River", "", figures.Ratio(ours.Rate(), naive.Rate()), figures.AtLeast(1.7))
	s.Add("wal_per_poll", fmt.Sprintf("WAL per poll, %d polls per task", p.polls), "B", ours.WALPerRequest(), figures.AtMost(600))
	s.Add("wal_per_poll_longer", fmt.Sprintf("WAL per poll, %d polls per task", p.morePolls), "B", longer.WALPerRequest(), figures.AtMost(200))
	s.Add("naive_wal_per_poll", "WAL per poll, naive River", "B", naive.WALPerRequest(), nil)
	addCPU(s, "http", "HTTP limit", limit)
	addCPU(s, "naive", "naive River", naive)
	addCPU(s, "klingwatch", "klingwatch", ours)
	return nil
}

// addCPU adds what a poll costs, that of the stub apart.
func addCPU(s *figures.Series, name, label string, u bench.Usage) {
	s.Add(name+"_cpu_per_poll", "CPU per poll, "+label+": client", "us", u.PerRequest(u.Client), nil)
	s.Add(name+"_postgres_cpu_per_poll", "CPU per poll, "+label+": Postgres", "us", u.PerRequest(u.Postgres), nil)
	s.Add(name+"_relay_cpu_per_poll", "CPU per poll, "+label+": stub of the relay", "us", u.PerRequest(u.Server), nil)
	s.Add(name+"_others", "CPU of other work meanwhile, "+label, "%", u.Others(), nil)
}

// compareFlights measures CPU per poll with few and with many tasks in flight,
// at the same number of polls per second.
func (p pollPlan) compareFlights(ctx context.Context, b *bench.Bench, s *figures.Series) error {
	var perPoll [2]float64
	for i, tasks := range []int{p.few, p.many} {
		interval := time.Duration(float64(tasks) / p.rate * float64(time.Second))
		f, err := flight{tasks: tasks, interval: interval, window: p.window}.fly(ctx, b)
		if err != nil {
			return err
		}
		perPoll[i] = f.PerRequest(f.Client + f.Postgres)
		name, label := [2]string{"few", "many"}[i], strconv.Itoa(tasks)+" in flight"
		s.Add(name+"_polls_per_second", "klingwatch, "+label, "polls/s", f.Rate(), nil)
		s.Add(name+"_cpu_per_poll", "CPU per poll, "+label+": client", "us", f.PerRequest(f.Client), nil)
		s.Add(name+"_postgres_cpu_per_poll", "CPU per poll, "+label+": Postgres", "us", f.PerRequest(f.Postgres), nil)
		s.Add(name+"_wal_per_poll", "WAL per poll, "+label, "B", f.WALPerRequest(), nil)
	}
	s.Add("cpu_many_to_few", fmt.Sprintf("CPU per poll, %d : %d in flight", p.many, p.few), "", figures.Ratio(perPoll[1], perPoll[0]), figures.AtMost(1.25))
	return nil
}

// measureMemory measures memory per task in flight.
func (p pollPlan) measureMemory(ctx context.Context, b *bench.Bench, s *figures.Series) error {
	f, err := p.memory.fly(ctx, b)
	if err != nil {
		return err
	}
	s.Add("memory_per_task", fmt.Sprintf("memory per task, %d in flight", p.memory.tasks), "KiB", f.memoryPerTask(), figures.AtMost(16))
	s.Add("memory_idle", "memory of the idle process", "MiB", float64(f.before.Collected)/(1<<20), nil)
	s.Add("memory_full", "memory with these tasks, before a collection", "MiB", float64(f.after.Used)/(1<<20), nil)
	return nil
}
