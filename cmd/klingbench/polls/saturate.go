package polls

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/contender"
	"github.com/klingwatch/klingwatch/cmd/klingbench/process"
	"github.com/klingwatch/klingwatch/cmd/klingbench/standin"
)

const (
	// saturatedInterval and saturatedRate are too fast to limit the throughput.
	saturatedInterval = time.Millisecond
	saturatedRate     = 1e6
)

// measureLimit polls with the HTTP client alone.
func measureLimit(ctx context.Context, b *bench.Bench, tasks, goroutines int, duration time.Duration) (used bench.Usage, err error) {
	if err := b.Relay.Plan(ctx, standin.RelayPlan{Tasks: tasks, Polls: standin.Never}); err != nil {
		return used, err
	}
	err = b.WithClient(ctx, contender.PollerRole, func(c *contender.Client) error {
		plan := contender.PollerPlan{RelayURL: b.Relay.URL, Tasks: tasks, Goroutines: goroutines, Duration: bench.WarmUp}
		if err := c.Poll(ctx, plan); err != nil {
			return err
		}
		plan.Duration = duration
		used, err = b.Spent(ctx, c.PID(), b.Relay, func() error { return c.Poll(ctx, plan) })
		return err
	})
	return used, err
}

// service is a service under test: its process, how tasks are prepared for it, and
// whether any of them has not ended.
type service struct {
	label   string
	role    process.Role
	prepare func(ctx context.Context, pool *pgxpool.Pool, tasks int) error
	anyOpen func(ctx context.Context, pool *pgxpool.Pool) (bool, error)
}

var (
	naiveRiver = service{"naive River", contender.NaiveRole, contender.PrepareNaive, contender.AnyOpenNaive}
	klingwatch = service{"klingwatch", contender.WorkerRole, copyAllTasks, anyOpen}
)

// workload is a number of tasks for a service; each ends after some polls.
type workload struct {
	service      service
	tasks, polls int
}

// saturate inserts the tasks before the service starts, and measures from its
// start until the last one is terminal in the database.
func (w workload) saturate(ctx context.Context, b *bench.Bench) (used bench.Usage, err error) {
	err = b.WithDatabase(ctx, func(d *bench.Database) error {
		if err := b.Relay.Plan(ctx, standin.RelayPlan{Tasks: w.tasks, Polls: w.polls}); err != nil {
			return err
		}
		if err := w.service.prepare(ctx, d.Pool, w.tasks); err != nil {
			return fmt.Errorf("preparing %d tasks: %w", w.tasks, err)
		}
		return b.WithService(ctx, w.service.role, func(c *contender.Service) error {
			if err := bench.Pause(ctx, bench.Settle); err != nil {
				return err
			}
			used, err = b.Spent(ctx, c.PID(), b.Relay, func() error { return w.run(ctx, b, d, c) })
			return err
		})
	})
	return used, err
}

// run starts the service and waits until it has ended all tasks.
func (w workload) run(ctx context.Context, b *bench.Bench, d *bench.Database, c *contender.Service) error {
	if err := c.Run(ctx, b.ServicePlan(d, saturatedInterval, saturatedRate)); err != nil {
		return err
	}
	what := fmt.Sprintf("the relay has sent the last replies about %d tasks", w.tasks)
	_, err := bench.Until(ctx, what, bench.SaturatedLimit, b.Relay.Counts, func(s standin.RelayCounts) bool { return s.Ended == int64(w.tasks) })
	if err != nil {
		return err
	}
	return bench.UntilNone(ctx, "the last replies are written", func(ctx context.Context) (bool, error) { return w.service.anyOpen(ctx, d.Pool) })
}
