package webhooks

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/standin"
)

// insertProcessing inserts tasks 1 to n, all in processing; callbacks take turns:
// that of task i is urls[i % len(urls)]. Their polls are a day away, as if an
// attempt had put them off: without jobs the worker would give them some.
func insertProcessing(ctx context.Context, d *bench.Database, n int, urls []string) error {
	_, err := d.Exec(ctx, `
		insert into klingwatch.tasks (task_id, action, action2, callback_url, status, upstream_status, polls,
		                              submitted_at, processing_at, last_polled_at, deadline_at)
		select @prefix || i, @action, @action2, (@urls::text[])[1 + i % cardinality(@urls::text[])], 'processing', 'processing', 5,
		       now(), now(), now(), now() + interval '1 day'
		from generate_series(1, @n::int) i`,
		pgx.StrictNamedArgs{"prefix": standin.TaskPrefix, "action": standin.Action, "action2": standin.Action2, "urls": urls, "n": n})
	if err == nil {
		_, err = d.Exec(ctx, `update klingwatch.river_job set state = 'scheduled', attempted_at = now(), scheduled_at = now() + interval '1 day'`)
	}
	if err != nil {
		return fmt.Errorf("preparing %d tasks: %w", n, err)
	}
	return d.CheckNumbers(ctx, n)
}

// insertDeliveries inserts n tasks that have succeeded, with the event of each
// and its delivery, which is due now; callbacks take turns.
func insertDeliveries(ctx context.Context, pool *pgxpool.Pool, n int, urls []string) error {
	payload, err := standin.Payload()
	if err != nil {
		return err
	}
	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `
			insert into klingwatch.tasks (task_id, action, action2, callback_url, status, finished_at)
			select @prefix || i, @action, @action2, (@urls::text[])[1 + i % cardinality(@urls::text[])], 'succeeded', now()
			from generate_series(1, @n::int) i`,
			pgx.StrictNamedArgs{"prefix": standin.TaskPrefix, "action": standin.Action, "action2": standin.Action2, "urls": urls, "n": n})
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `delete from klingwatch.river_job where kind = 'poll'`); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `
			with news as (
				insert into klingwatch.events (event_id, task, sequence, type, payload)
				select 'msg_' || upper(left(md5(id::text), 26)), id, 1, 'task.succeeded', @payload::jsonb
				from klingwatch.tasks
				order by id
				returning id, task
			)
			insert into klingwatch.deliveries (event, url)
			select n.id, t.callback_url
			from news n
			join klingwatch.tasks t on t.id = n.task
			order by n.id`,
			pgx.StrictNamedArgs{"payload": payload})
		return err
	})
	if err != nil {
		return fmt.Errorf("preparing %d deliveries: %w", n, err)
	}
	return nil
}

// eventIDs returns the webhook-id of the success of each task, by the task's id.
func eventIDs(ctx context.Context, pool *pgxpool.Pool) (map[int]string, error) {
	ids := map[int]string{}
	rows, err := pool.Query(ctx, `select task, event_id from klingwatch.events where type = 'task.succeeded'`)
	if err != nil {
		return nil, fmt.Errorf("reading the events: %w", err)
	}
	var (
		task int
		id   string
	)
	_, err = pgx.ForEachRow(rows, []any{&task, &id}, func() error {
		ids[task] = id
		return nil
	})
	return ids, err
}

// anyPending reports whether a delivery has not ended.
func anyPending(ctx context.Context, pool *pgxpool.Pool) (pending bool, err error) {
	err = pool.QueryRow(ctx, `select exists (select from klingwatch.deliveries where state = 'pending')`).Scan(&pending)
	return pending, err
}

// countAttempts counts the attempts of n deliveries, and returns an error unless all have arrived.
func countAttempts(ctx context.Context, pool *pgxpool.Pool, n int) (attempts int, err error) {
	var delivered int
	err = pool.QueryRow(ctx, `
		select (select count(*) from klingwatch.deliveries where state = 'delivered'),
		       (select count(*) from klingwatch.delivery_attempts)`).Scan(&delivered, &attempts)
	if err == nil && delivered != n {
		err = fmt.Errorf("%d of %d webhooks were delivered", delivered, n)
	}
	return attempts, err
}
