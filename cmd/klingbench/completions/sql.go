package completions

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/standin"
)

// Prepare inserts tasks first to last, all in processing, where those below first are there;
// callbacks take turns: that of task i is urls[i % len(urls)], and none without urls. Their
// polls are a day away, as if an attempt had put them off: without jobs the worker would give
// them some.
func Prepare(ctx context.Context, d *bench.Database, first, last int, urls []string) error {
	err := pgx.BeginFunc(ctx, d.Pool, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `
			insert into klingwatch.tasks (task_id, action, action2, callback_url, status, upstream_status, polls,
			                              submitted_at, processing_at, last_polled_at, deadline_at)
			select @prefix || i, @action, @action2, (@urls::text[])[1 + i % nullif(cardinality(@urls::text[]), 0)], 'processing', 'processing', 5,
			       now(), now(), now(), now() + interval '1 day'
			from generate_series(@first::int, @last::int) i`,
			pgx.StrictNamedArgs{"prefix": standin.TaskPrefix, "action": standin.Action, "action2": standin.Action2, "urls": urls, "first": first, "last": last})
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `
			update klingwatch.river_job
			set state = 'scheduled', attempted_at = now(), scheduled_at = now() + interval '1 day'
			where unique_key in (select klingwatch.job_key('poll', id) from generate_series(@first::bigint, @last::bigint) id)`,
			pgx.StrictNamedArgs{"first": first, "last": last})
		return err
	})
	if err != nil {
		return fmt.Errorf("preparing tasks %d to %d: %w", first, last, err)
	}
	return d.CheckNumbers(ctx, last)
}

// Event is what a completion adds to the feed.
type Event struct {
	ID      int64
	EventID string // the webhook-id
}

// Events returns the event of the success of each task, by the task's id.
func Events(ctx context.Context, pool *pgxpool.Pool) (map[int]Event, error) {
	events := map[int]Event{}
	rows, err := pool.Query(ctx, `select task, id, event_id from klingwatch.events where type = 'task.succeeded'`)
	if err != nil {
		return nil, fmt.Errorf("reading the events: %w", err)
	}
	var (
		task  int
		event Event
	)
	_, err = pgx.ForEachRow(rows, []any{&task, &event.ID, &event.EventID}, func() error {
		events[task] = event
		return nil
	})
	return events, err
}
