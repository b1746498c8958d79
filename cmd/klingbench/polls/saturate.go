package polls

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/contender"
	"github.com/klingwatch/klingwatch/cmd/klingbench/figures"
	"github.com/klingwatch/klingwatch/cmd/klingbench/process"
	"github.com/klingwatch/klingwatch/cmd/klingbench/standin"
)

const (
	// saturatedInterval and saturatedRate are too fast to limit the throughput.
	saturatedInterval = time.Millisecond
	saturatedRate     = 1e6
)

// asked is what was used while the relay was asked.
type asked struct {
	bench.Usage
	tasks float64 // that it told about: one per request, unless it was asked for several
}

// taskRate returns the tasks that were asked about per second.
func (a asked) taskRate() float64 { return figures.Ratio(a.tasks, a.Elapsed.Seconds()) }

// cpuPerPoll is what a poll costs in all processes; where they keep all cores busy, the ratio
// of two of them is that of the polls per second turned over, and other work disturbs it less.
func (a asked) cpuPerPoll() float64 { return a.PerRequest(a.Client + a.Server + a.Postgres) }

// spent calls work and returns what was used meanwhile by a client, which asks the relay at
// an address; over TLS it must do so with HTTP/2.
func spent(ctx context.Context, b *bench.Bench, client int, at standin.Address, work func() error) (used asked, err error) {
	before, err := b.Relay.Counts(ctx)
	if err != nil {
		return used, err
	}
	if used.Usage, err = b.Spent(ctx, client, b.Relay, work); err != nil {
		return used, err
	}
	after, err := b.Relay.Counts(ctx)
	if err == nil && at.Secure() && after.HTTP2 < after.Polls {
		err = fmt.Errorf("polling over TLS: only %d of %d requests came over HTTP/2", after.HTTP2, after.Polls)
	}
	used.tasks = float64(after.Told - before.Told)
	return used, err
}

// measureLimit polls with the HTTP client alone.
func (p pollPlan) measureLimit(ctx context.Context, b *bench.Bench, at standin.Address) (used asked, err error) {
	if err := b.Relay.Plan(ctx, standin.RelayPlan{Tasks: p.tasks, Polls: standin.Never}); err != nil {
		return used, err
	}
	err = b.WithClient(ctx, contender.PollerRole, func(c *contender.Client) error {
		plan := contender.PollerPlan{Relay: at, Tasks: p.tasks, Goroutines: p.goroutines, Duration: bench.WarmUp}
		if err := c.Poll(ctx, plan); err != nil {
			return fmt.Errorf("warming up the HTTP client for %s: %w", at.URL, err)
		}
		plan.Duration = p.limitTime
		used, err = spent(ctx, b, c.PID(), at, func() error { return c.Poll(ctx, plan) })
		if err != nil {
			return fmt.Errorf("polling %s with the HTTP client alone: %w", at.URL, err)
		}
		return nil
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

// workload is a number of tasks for a service, which asks at an address; each ends after
// some polls.
type workload struct {
	service      service
	at           standin.Address
	tasks, polls int
}

// saturate inserts the tasks before the service starts, and measures from its
// start until the last one is terminal in the database.
func (w workload) saturate(ctx context.Context, b *bench.Bench) (used asked, err error) {
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
			used, err = spent(ctx, b, c.PID(), w.at, func() error { return w.run(ctx, b, d, c) })
			return err
		})
	})
	return used, err
}

// run starts the service and waits until it has ended all tasks.
func (w workload) run(ctx context.Context, b *bench.Bench, d *bench.Database, c *contender.Service) error {
	plan := b.ServicePlan(d, saturatedInterval, saturatedRate)
	plan.Relay = w.at
	if err := c.Run(ctx, plan); err != nil {
		return err
	}
	what := fmt.Sprintf("the relay has sent the last replies about %d tasks", w.tasks)
	_, err := bench.Until(ctx, what, bench.SaturatedLimit, b.Relay.Counts, func(s standin.RelayCounts) bool { return s.Ended == int64(w.tasks) })
	if err != nil {
		return err
	}
	return bench.UntilNone(ctx, "the last replies are written", func(ctx context.Context) (bool, error) { return w.service.anyOpen(ctx, d.Pool) })
}
