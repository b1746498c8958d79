package polls

import (
	"context"
	"fmt"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/contender"
	"github.com/klingwatch/klingwatch/cmd/klingbench/figures"
	"github.com/klingwatch/klingwatch/cmd/klingbench/standin"
)

// compareBatches measures what it gains to ask for several tasks in one request, over TLS
// and HTTP/2: saturated, and where the relay allows only so many requests.
func (p pollPlan) compareBatches(ctx context.Context, b *bench.Bench, run int, s *figures.Series) error {
	batched := b.Relay.Secure.Batched()
	b.Progress.Sayf("run %d of %d: the HTTP client alone, %d tasks in a request", run, p.runs, standin.BatchSize)
	limit, err := p.measureLimit(ctx, b, batched)
	if err != nil {
		return err
	}
	b.Progress.Sayf("run %d of %d: klingwatch, %d tasks in a request, %d tasks, %d polls each", run, p.runs, standin.BatchSize, p.tasks, p.morePolls)
	ours, err := workload{klingwatch, batched, p.tasks, p.morePolls}.saturate(ctx, b)
	if err != nil {
		return err
	}
	size := fmt.Sprintf("%d tasks in a request", standin.BatchSize)
	s.Add("batch_http_tasks_per_second", "HTTP limit, "+size, "tasks/s", limit.taskRate(), nil)
	s.Add("batch_tasks_per_second", fmt.Sprintf("klingwatch, %s, %d polls per task", size, p.morePolls), "tasks/s", ours.taskRate(), nil)
	s.Add("batch_tasks_per_request", "tasks in a request of klingwatch", "tasks", figures.Ratio(ours.tasks, ours.Requests), nil)
	s.Add("batch_part_of_http_limit", "klingwatch : HTTP limit, "+size, "", figures.Ratio(ours.taskRate(), limit.taskRate()), nil)
	s.Add("batch_cpu_per_task_asked", "CPU per task asked about, "+size+": client", "us", figures.Ratio(figures.Microseconds(ours.Client), ours.tasks), nil)

	b.Progress.Sayf("run %d of %d: %g requests/s, one by one and %s", run, p.runs, p.rationed.rate, size)
	single, err := p.rationed.measure(ctx, b, b.Relay.Secure)
	if err != nil {
		return err
	}
	several, err := p.rationed.measure(ctx, b, batched)
	if err != nil {
		return err
	}
	label := fmt.Sprintf("tasks asked about at %g requests/s", p.rationed.rate)
	s.Add("rationed_single_tasks_per_second", label+", one by one", "tasks/s", single.taskRate(), nil)
	s.Add("rationed_batch_tasks_per_second", label+", "+size, "tasks/s", several.taskRate(), nil)
	s.Add("batch_to_single", label+", "+size+" : one by one", "", figures.Ratio(several.taskRate(), single.taskRate()), figures.AtLeast(15))
	return nil
}

// rationed is a time in which more tasks are due than the rate of requests allows, however
// many are asked for in one.
type rationed struct {
	tasks    int
	interval time.Duration // between two polls of a task
	rate     float64       // requests per second
	window   time.Duration // that is measured
}

// measure has klingwatch ask at an address for tasks of which none ends.
func (r rationed) measure(ctx context.Context, b *bench.Bench, at standin.Address) (used asked, err error) {
	err = b.WithDatabase(ctx, func(d *bench.Database) error {
		if err := b.Relay.Plan(ctx, standin.RelayPlan{Tasks: r.tasks, Polls: standin.Never}); err != nil {
			return err
		}
		if err := copyAllTasks(ctx, d.Pool, r.tasks); err != nil {
			return err
		}
		return b.WithService(ctx, contender.WorkerRole, func(c *contender.Service) error {
			plan := b.ServicePlan(d, r.interval, r.rate)
			plan.Relay = at
			if err := c.Run(ctx, plan); err != nil {
				return err
			}
			if err := bench.Pause(ctx, r.window); err != nil { // in which the tasks come in
				return err
			}
			used, err = spent(ctx, b, c.PID(), at, func() error { return bench.Pause(ctx, r.window) })
			return err
		})
	})
	return used, err
}
