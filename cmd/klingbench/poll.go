package main

import (
	"context"
	"time"
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
func (cmd pollCommand) Run(ctx context.Context, c *console) error {
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
func (p pollPlan) measure(ctx context.Context, b *bench) ([]figure, error) {
	saturated := newSeries(median)
	for run := range p.runs {
		if err := p.compare(ctx, b, run+1, saturated); err != nil {
			return nil, err
		}
	}
	flying := newSeries(median)
	if err := p.compareFlights(ctx, b, flying); err != nil {
		return nil, err
	}
	return append(saturated.result(), flying.result()...), nil
}

// compare measures the three contenders once.
func (p pollPlan) compare(ctx context.Context, b *bench, run int, s *series) error {
	b.progress.sayf("run %d of %d: the HTTP client alone", run, p.runs)
	limit, err := b.measureLimit(ctx, p.tasks, p.goroutines, p.limitTime)
	if err != nil {
		return err
	}
	b.progress.sayf("run %d of %d: naive River, %d tasks, %d polls each", run, p.runs, p.tasks, p.polls)
	naive, err := b.saturate(ctx, "naive", p.tasks, p.polls)
	if err != nil {
		return err
	}
	b.progress.sayf("run %d of %d: klingwatch, %d tasks, %d polls each", run, p.runs, p.tasks, p.polls)
	ours, err := b.saturate(ctx, "worker", p.tasks, p.polls)
	if err != nil {
		return err
	}
	b.progress.sayf("run %d of %d: klingwatch, %d tasks, %d polls each", run, p.runs, p.tasks, p.morePolls)
	longer, err := b.saturate(ctx, "worker", p.tasks, p.morePolls)
	if err != nil {
		return err
	}

	s.add("http_polls_per_second", "HTTP limit", "polls/s", limit.rate(), nil)
	s.add("naive_polls_per_second", "naive River", "polls/s", naive.rate(), nil)
	s.add("polls_per_second", "klingwatch", "polls/s", ours.rate(), nil)
	s.add("part_of_http_limit", "klingwatch : HTTP limit", "", ratio(ours.rate(), limit.rate()), atLeast(0.60))
	s.add("times_naive", "klingwatch : naive River", "", ratio(ours.rate(), naive.rate()), atLeast(1.7))
	s.add("wal_per_poll", "WAL per poll, "+number(float64(p.polls))+" polls per task", "B", ours.walPerRequest(), atMost(600))
	s.add("wal_per_poll_longer", "WAL per poll, "+number(float64(p.morePolls))+" polls per task", "B", longer.walPerRequest(), atMost(200))
	s.add("naive_wal_per_poll", "WAL per poll, naive River", "B", naive.walPerRequest(), nil)
	s.addCPU("http", "HTTP limit", limit)
	s.addCPU("naive", "naive River", naive)
	s.addCPU("klingwatch", "klingwatch", ours)
	return nil
}

// addCPU adds what a poll costs: by itself, whatever the stub costs.
func (s *series) addCPU(name, label string, u usage) {
	s.add(name+"_cpu_per_poll", "CPU per poll, "+label+": client", "us", u.cpuPerRequest(u.client), nil)
	s.add(name+"_postgres_cpu_per_poll", "CPU per poll, "+label+": Postgres", "us", u.cpuPerRequest(u.postgres), nil)
	s.add(name+"_relay_cpu_per_poll", "CPU per poll, "+label+": stub of the relay", "us", u.cpuPerRequest(u.server), nil)
	s.add(name+"_others", "CPU of other work meanwhile, "+label, "%", u.others(), nil)
}

// compareFlights measures CPU per poll with few and with many tasks in flight,
// at the same number of polls per second, and memory per task.
func (p pollPlan) compareFlights(ctx context.Context, b *bench, s *series) error {
	var perPoll [2]float64
	for i, tasks := range []int{p.few, p.many} {
		interval := time.Duration(float64(tasks) / p.rate * float64(time.Second))
		f, err := b.fly(ctx, flight{tasks: tasks, interval: interval, window: p.window})
		if err != nil {
			return err
		}
		perPoll[i] = f.cpuPerRequest(f.client + f.postgres)
		name, label := [2]string{"few", "many"}[i], number(float64(tasks))+" in flight"
		s.add(name+"_polls_per_second", "klingwatch, "+label, "polls/s", f.rate(), nil)
		s.add(name+"_cpu_per_poll", "CPU per poll, "+label+": client", "us", f.cpuPerRequest(f.client), nil)
		s.add(name+"_postgres_cpu_per_poll", "CPU per poll, "+label+": Postgres", "us", f.cpuPerRequest(f.postgres), nil)
		s.add(name+"_wal_per_poll", "WAL per poll, "+label, "B", f.walPerRequest(), nil)
	}
	s.add("cpu_many_to_few", "CPU per poll, "+number(float64(p.many))+" : "+number(float64(p.few))+" in flight", "", ratio(perPoll[1], perPoll[0]), atMost(1.25))

	f, err := b.fly(ctx, p.memory)
	if err != nil {
		return err
	}
	s.add("memory_per_task", "memory per task, "+number(float64(p.memory.tasks))+" in flight", "KiB", f.memoryPerTask(), atMost(16))
	s.add("memory_idle", "memory of the idle process", "MiB", float64(f.before.Collected)/(1<<20), nil)
	s.add("memory_full", "memory with these tasks, before a collection", "MiB", float64(f.after.Used)/(1<<20), nil)
	return nil
}
