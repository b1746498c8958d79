package webhooks

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/cmd/klingbench/standin"
)

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
