package main

import (
	"context"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/figures"
)

// pollCommand measures throughput and cost.
type pollCommand struct {
	options
	Runs       int `placeholder:"N" help:"Runs of the saturated measurements, whose median counts; default: 3, with --quick 1."`
	Tasks      int `placeholder:"N" help:"Tasks of a saturated run; default: 10000, with --quick 1000."`
	Polls      int `default:"6" help:"Polls per task of a saturated run."`
	Goroutines int `default:"100" help:"Goroutines that ask when the HTTP client is measured alone."`
}

// Run measures.
func (cmd pollCommand) Run(ctx context.Context, c *figures.Console) error {
	return cmd.options.run(ctx, c, "poll", cmd.plan().measure)
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
	window     time.Duration // that is looked at of each
	memory     flight
}

func (cmd pollCommand) plan() pollPlan {
	p := pollPlan{
		runs: 3, tasks: 10_000, polls: cmd.Polls, morePolls: 24, goroutines: cmd.Goroutines, limitTime: 4 * time.Second,
		few: 5_000, many: 50_000, rate: 2_000, window: 15 * time.Second,
		memory: flight{tasks: 10_000, interval: 5 * time.Second, window: 5 * time.Second},
	}
	if cmd.Quick {
		p.runs, p.tasks, p.limitTime = 1, 1_000, settle
		p.few, p.many, p.window = 100, 1_000, settle
		p.memory = flight{tasks: 1_000, interval: settle, window: settle}
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
func (p pollPlan) measure(ctx context.Context, b *bench) ([]figures.Figure, error) {
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
	return append(saturated.Result(), flying.Result()...), nil
}

// compare measures the three contenders once.
func (p pollPlan) compare(ctx context.Context, b *bench, run int, s *figures.Series) error {
	b.progress.Sayf("run %d of %d: the HTTP client alone", run, p.runs)
	limit, err := b.measureLimit(ctx, p.tasks, p.goroutines, p.limitTime)
	if err != nil {
		return err
	}
	b.progress.Sayf("run %d of %d: naive River, %d tasks, %d polls each", run, p.runs, p.tasks, p.polls)
	naive, err := b.saturate(ctx, "naive", p.tasks, p.polls)
	if err != nil {
		return err
	}
	b.progress.Sayf("run %d of %d: klingwatch, %d tasks, %d polls each", run, p.runs, p.tasks, p.polls)
	ours, err := b.saturate(ctx, "worker", p.tasks, p.polls)
	if err != nil {
		return err
	}
	b.progress.Sayf("run %d of %d: klingwatch, %d tasks, %d polls each", run, p.runs, p.tasks, p.morePolls)
	longer, err := b.saturate(ctx, "worker", p.tasks, p.morePolls)
	if err != nil {
		return err
	}

	s.Add("http_polls_per_second", "HTTP limit", "polls/s", limit.rate(), nil)
	s.Add("naive_polls_per_second", "naive River", "polls/s", naive.rate(), nil)
	s.Add("polls_per_second", "klingwatch", "polls/s", ours.rate(), nil)
	s.Add("part_of_http_limit", "klingwatch : HTTP limit", "", figures.Ratio(ours.rate(), limit.rate()), figures.AtLeast(0.60))
	s.Add("times_naive", "klingwatch : naive River", "", figures.Ratio(ours.rate(), naive.rate()), figures.AtLeast(1.7))
	s.Add("wal_per_poll", "WAL per poll, "+figures.Number(float64(p.polls))+" polls per task", "B", ours.walPerRequest(), figures.AtMost(600))
	s.Add("wal_per_poll_longer", "WAL per poll, "+figures.Number(float64(p.morePolls))+" polls per task", "B", longer.walPerRequest(), figures.AtMost(200))
	s.Add("naive_wal_per_poll", "WAL per poll, naive River", "B", naive.walPerRequest(), nil)
	addCPU(s, "http", "HTTP limit", limit)
	addCPU(s, "naive", "naive River", naive)
	addCPU(s, "klingwatch", "klingwatch", ours)
	return nil
}

// addCPU adds what a poll costs: by itself, whatever the stub costs.
func addCPU(s *figures.Series, name, label string, u usage) {
	s.Add(name+"_cpu_per_poll", "CPU per poll, "+label+": client", "us", u.cpuPerRequest(u.client), nil)
	s.Add(name+"_postgres_cpu_per_poll", "CPU per poll, "+label+": Postgres", "us", u.cpuPerRequest(u.postgres), nil)
	s.Add(name+"_relay_cpu_per_poll", "CPU per poll, "+label+": stub of the relay", "us", u.cpuPerRequest(u.server), nil)
	s.Add(name+"_others", "CPU of other work meanwhile, "+label, "%", u.others(), nil)
}

// compareFlights measures CPU per poll with few and with many tasks in flight,
// at the same number of polls per second, and memory per task.
func (p pollPlan) compareFlights(ctx context.Context, b *bench, s *figures.Series) error {
	var perPoll [2]float64
	for i, tasks := range []int{p.few, p.many} {
		interval := time.Duration(float64(tasks) / p.rate * float64(time.Second))
		f, err := b.fly(ctx, flight{tasks: tasks, interval: interval, window: p.window})
		if err != nil {
			return err
		}
		perPoll[i] = f.cpuPerRequest(f.client + f.postgres)
		name, label := [2]string{"few", "many"}[i], figures.Number(float64(tasks))+" in flight"
		s.Add(name+"_polls_per_second", "klingwatch, "+label, "polls/s", f.rate(), nil)
		s.Add(name+"_cpu_per_poll", "CPU per poll, "+label+": client", "us", f.cpuPerRequest(f.client), nil)
		s.Add(name+"_postgres_cpu_per_poll", "CPU per poll, "+label+": Postgres", "us", f.cpuPerRequest(f.postgres), nil)
		s.Add(name+"_wal_per_poll", "WAL per poll, "+label, "B", f.walPerRequest(), nil)
	}
	s.Add("cpu_many_to_few", "CPU per poll, "+figures.Number(float64(p.many))+" : "+figures.Number(float64(p.few))+" in flight", "", figures.Ratio(perPoll[1], perPoll[0]), figures.AtMost(1.25))

	f, err := b.fly(ctx, p.memory)
	if err != nil {
		return err
	}
	s.Add("memory_per_task", "memory per task, "+figures.Number(float64(p.memory.tasks))+" in flight", "KiB", f.memoryPerTask(), figures.AtMost(16))
	s.Add("memory_idle", "memory of the idle process", "MiB", float64(f.before.Collected)/(1<<20), nil)
	s.Add("memory_full", "memory with these tasks, before a collection", "MiB", float64(f.after.Used)/(1<<20), nil)
	return nil
}
