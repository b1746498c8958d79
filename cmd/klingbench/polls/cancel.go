package polls

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/contender"
	"github.com/klingwatch/klingwatch/cmd/klingbench/figures"
	"github.com/klingwatch/klingwatch/cmd/klingbench/standin"
)

// cancelPath is the path of the tasks that are canceled; the others have standin's.
const cancelPath = "images"

// Canceling begins to cancel so many tasks of a path at a service that runs, and returns
// when they are canceled.
type Canceling func(ctx context.Context, d *bench.Database, c *contender.Service, path string, tasks int) error

// MeasureCancel cancels many tasks by a filter while others are polled. Those that are
// canceled sleep until their next poll, as most of so many do.
func MeasureCancel(ctx context.Context, b *bench.Bench, quick bool, cancel Canceling, s *figures.Series) error {
	f, canceled := flight{tasks: 5000, interval: 5 * time.Second, window: 20 * time.Second, log: true}, 100_000
	if quick {
		f.tasks, f.interval, f.window, canceled = 100, time.Second, time.Second, 1000
	}
	return b.WithDatabase(ctx, func(d *bench.Database) error {
		if err := b.Relay.Plan(ctx, standin.RelayPlan{Tasks: f.tasks, Polls: standin.Never, Log: true}); err != nil {
			return err
		}
		return b.WithService(ctx, contender.ServerRole, func(c *contender.Service) error {
			return f.cancelBeside(ctx, b, d, c, canceled, cancel, s)
		})
	})
}

// cancelBeside measures a flight alone, and then beside the cancellation.
func (f flight) cancelBeside(ctx context.Context, b *bench.Bench, d *bench.Database, c *contender.Service, n int, cancel Canceling, s *figures.Series) error {
	if err := f.takeOff(ctx, b, d, c, &flown{}); err != nil {
		return err
	}
	b.Progress.Sayf("inserting %d tasks that will be canceled", n)
	if err := insertSleeping(ctx, d, n); err != nil {
		return err
	}
	if err := bench.Pause(ctx, f.interval); err != nil {
		return err
	}
	seen, err := f.windows(ctx, b, c,
		func() error { return bench.Pause(ctx, f.window) },
		func() error { return cancel(ctx, d, c, cancelPath, n) })
	if err != nil {
		return err
	}
	before, beside := seen[0], seen[1]
	p99, p99Beside := figures.Percentile(before.Late, 0.99), figures.Percentile(beside.Late, 0.99)
	s.Add("cancel_seconds", fmt.Sprintf("bulk cancel of %d by a filter", n), "s", beside.Elapsed.Seconds(), figures.AtMost(60))
	s.Add("cancel_per_second", "canceled per second", "tasks/s", float64(n)/beside.Elapsed.Seconds(), nil)
	s.Add("cancel_late_alone_p99", "lateness of other polls before it, p99", "ms", p99, nil)
	s.Add("cancel_late_p99", "lateness of other polls beside it, p99", "ms", p99Beside, nil)
	s.Add("cancel_late_ratio", "lateness of other polls: beside : before, p99", "", figures.Ratio(p99Beside, p99), figures.AtMost(2))
	s.Add("cancel_wal", "WAL per canceled task", "B", beside.WAL/float64(n), nil)
	s.Add("cancel_postgres_cpu", "CPU per canceled task: Postgres, polls of the others included", "us", float64(beside.Postgres.Microseconds())/float64(n), nil)
	s.Add("cancel_cpu", "CPU per canceled task: worker, polls of the others included", "us", float64(beside.Client.Microseconds())/float64(n), nil)
	s.Add("cancel_others", "CPU of other work meanwhile", "%", beside.Others(), nil)
	return nil
}

// insertSleeping inserts tasks whose next poll is far.
func insertSleeping(ctx context.Context, d *bench.Database, n int) error {
	return pgx.BeginFunc(ctx, d.Pool, func(tx pgx.Tx) error {
		for _, sql := range []string{
			fmt.Sprintf(`insert into klingwatch.tasks (task_id, action, action2, status, last_polled_at) select 'canceled-' || i, '%s', 'generations', 'processing', now() from generate_series(1, %d) i`, cancelPath, n),
			fmt.Sprintf(`update klingwatch.river_job j set state = 'scheduled', scheduled_at = now() + interval '5 min', attempted_at = now(), metadata = '{"wait_seconds": 300}'
				from klingwatch.tasks t where t.action = '%s' and j.unique_key = klingwatch.job_key('poll', t.id)`, cancelPath),
		} {
			if _, err := tx.Exec(ctx, sql); err != nil {
				return fmt.Errorf("inserting tasks that sleep: %w", err)
			}
		}
		return nil
	})
}
