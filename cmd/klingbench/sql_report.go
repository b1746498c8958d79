package main

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// insertHistory writes tasks as a service leaves them that worked for days: of
// three kinds, a twentieth failed for a few reasons, the last thousandth in
// flight; with events, outputs and deliveries, without jobs. They are as old as
// their number says; the newest are of now.
func insertHistory(ctx context.Context, pool *pgxpool.Pool, n, days int) error {
	payload, err := anyPayload()
	if err != nil {
		return err
	}
	for _, step := range []struct {
		sql  string
		args pgx.NamedArgs
	}{
		{`alter table klingwatch.tasks disable trigger enqueue`, nil},
		{`alter table klingwatch.deliveries disable trigger enqueue`, nil},
		{`insert into klingwatch.tasks (task_id, action, action2, callback_url, status, status_message, error_code, result, unit_deduction, polls,
		                               created_at, submitted_at, processing_at, deadline_at, finished_at, last_polled_at)
		 select 'h' || i, (array['videos', 'videos', 'images'])[1 + i % 3], (array['text2video', 'image2video', 'generations'])[1 + i % 3],
		        'https://app' || i % 5 || '.example/hook',
		        case when open then 'processing' when i % 20 = 0 then 'failed' else 'succeeded' end,
		        case when i % 20 = 0 and not open then 'reason ' || chr(65 + i % 7) || ', request ' || md5(i::text) else '' end,
		        case when i % 20 = 0 and not open then '1301' end, @payload::jsonb, 2.5, 6,
		        at, at + interval '1 s', at + interval '5 s', at + interval '1 day',
		        case when not open then at + interval '60 s' + (i % 120) * interval '1 s' end, at + interval '60 s'
		 from (select i, i > @n - @n / 1000 as open, now() - interval '3 min' - (@n - i) * (@days * interval '1 day' / @n) as at
		       from generate_series(1, @n::int) i) as h`, pgx.NamedArgs{"n": n, "days": days, "payload": payload}},
		{`insert into klingwatch.events (event_id, task, sequence, type, payload, created_at)
		 select 'msg_' || id, id, 2, 'task.' || status, @payload::jsonb, finished_at
		 from klingwatch.tasks where finished_at is not null order by id`, pgx.NamedArgs{"payload": payload}},
		{`insert into klingwatch.outputs (task, kind, position, url, expires_at)
		 select id, 'video', 0, 'https://cdn.example/' || id || '.mp4', finished_at + interval '30 days'
		 from klingwatch.tasks where status = 'succeeded' order by id`, nil},
		{`insert into klingwatch.deliveries (event, url, state, attempts, created_at, tries_since, delivered_at, next_attempt_at)
		 select e.id, t.callback_url, 'delivered', 1, e.created_at, e.created_at, e.created_at + (e.id % 100) * interval '10 ms', null
		 from klingwatch.events e join klingwatch.tasks t on t.id = e.task order by e.id`, nil},
	} {
		if _, err := pool.Exec(ctx, step.sql, step.args); err != nil {
			return fmt.Errorf("writing %d tasks: %w", n, err)
		}
	}
	// what autovacuum has done long ago where tasks came in over days
	for _, table := range []string{"tasks", "events", "outputs", "deliveries"} {
		if _, err := pool.Exec(ctx, `vacuum analyze klingwatch.`+table); err != nil {
			return fmt.Errorf("vacuuming %s: %w", table, err)
		}
	}
	_, err = pool.Exec(ctx, `update klingwatch.report_state set summarized_until = (select klingwatch.utc_day(min(created_at)) from klingwatch.tasks)`)
	return err
}

// insertSteadily inserts tasks with a callback until ctx ends. They are born a
// week ago, so that retention may delete them as soon as they are done.
func (d *database) insertSteadily(ctx context.Context, rate int, hook string) error {
	each := max(rate*int(soakStep)/int(time.Second), 1)
	for next := 1; ; next += each {
		_, err := d.Pool.Exec(ctx, `
			insert into klingwatch.tasks (task_id, action, action2, callback_url, created_at, deadline_at)
			select @prefix || i, @action, @action2, @hook || i, now() - interval '7 days', now() + interval '1 day'
			from generate_series(@first::int, @last::int) i`,
			pgx.StrictNamedArgs{"prefix": taskPrefix, "action": action, "action2": action2, "hook": hook, "first": next, "last": next + each - 1})
		if err != nil {
			return fmt.Errorf("inserting: %w", err)
		}
		if pause(ctx, soakStep) != nil {
			return nil
		}
	}
}

// readSteadily asks all reports, each time in a snapshot that it keeps for a
// while, until ctx ends.
func (d *database) readSteadily(ctx context.Context) error {
	for ctx.Err() == nil {
		err := pgx.BeginTxFunc(ctx, d.Pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead}, func(tx pgx.Tx) error {
			for _, q := range reportQueries {
				if _, err := tx.Exec(ctx, q.sql); err != nil {
					return fmt.Errorf("%s: %w", q.name, err)
				}
			}
			return pause(ctx, soakSnapshot)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// tableSizes returns the bytes of tables with their indexes.
func (d *database) tableSizes(ctx context.Context, tables []string) (map[string]int64, error) {
	sizes := map[string]int64{}
	for _, table := range tables {
		var bytes int64
		if err := d.Pool.QueryRow(ctx, `select pg_total_relation_size($1::regclass)`, "klingwatch."+table).Scan(&bytes); err != nil {
			return nil, fmt.Errorf("the size of %s: %w", table, err)
		}
		sizes[table] = bytes
	}
	return sizes, nil
}
