package reports

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/standin"
)

// InsertHistory writes n tasks as a service leaves them after days of work: of
// three kinds, a twentieth failed for a few reasons, the last thousandth in
// flight; with events, outputs and deliveries, without jobs. A higher number is a
// younger task; the newest are of now.
func InsertHistory(ctx context.Context, d *bench.Database, n, days int) error {
	if err := InsertTasks(ctx, d, n, days); err != nil {
		return err
	}
	if err := writeHistory(ctx, d, n, days, followingSQL, "events", "outputs", "deliveries"); err != nil {
		return err
	}
	_, err := d.Exec(ctx, `update klingwatch.report_state set summarized_until = (select klingwatch.utc_day(min(created_at)) from klingwatch.tasks)`)
	return err
}

// InsertTasks writes only the tasks of InsertHistory.
func InsertTasks(ctx context.Context, d *bench.Database, n, days int) error {
	return writeHistory(ctx, d, n, days, tasksSQL, "tasks")
}

// writeHistory writes tables and vacuums them, which autovacuum has done long ago where
// tasks came in over days.
func writeHistory(ctx context.Context, d *bench.Database, n, days int, statements []string, tables ...string) error {
	payload, err := standin.Payload()
	if err != nil {
		return err
	}
	for _, sql := range statements {
		if _, err := d.Exec(ctx, sql, pgx.NamedArgs{"n": n, "days": days, "payload": payload}); err != nil {
			return fmt.Errorf("writing %d tasks: %w", n, err)
		}
	}
	for _, table := range tables {
		if _, err := d.Exec(ctx, `vacuum analyze klingwatch.`+table); err != nil {
			return fmt.Errorf("vacuuming %s: %w", table, err)
		}
	}
	return nil
}

// tasksSQL writes n tasks (@n) over some days (@days); @payload is the body of each result.
var tasksSQL = []string{
	`alter table klingwatch.tasks disable trigger enqueue`,
	`alter table klingwatch.tasks disable trigger check_tasks`,
	`insert into klingwatch.tasks (task_id, action, action2, callback_url, metadata, status, status_message, error_code, result, unit_deduction, polls, ended_as,
	                               created_at, submitted_at, processing_at, deadline_at, finished_at, last_polled_at)
	 select 'h' || i, (array['videos', 'videos', 'images'])[1 + i % 3], (array['text2video', 'image2video', 'generations'])[1 + i % 3],
	        'https://app' || i % 5 || '.example/hook', jsonb_build_object('customer', 'c-' || i % 20),
	        case when open then 'processing' when i % 20 = 0 then 'failed' else 'succeeded' end,
	        case when i % 20 = 0 and not open then 'reason ' || chr(65 + i % 7) || ', request ' || md5(i::text) else '' end,
	        case when i % 20 = 0 and not open then '1301' end, @payload::jsonb, 2.5, 6, case when i % 20 = 0 and not open then 'failed' end,
	        at, at + interval '1 s', at + interval '5 s', at + interval '1 day',
	        case when not open then at + interval '60 s' + (i % 120) * interval '1 s' end, at + interval '60 s'
	 from (select i, i > @n - @n / 1000 as open, now() - interval '3 min' - (@n - i) * (@days * interval '1 day' / @n) as at
	       from generate_series(1, @n::int) i) as h`,
}

// followingSQL writes what follows from tasks; @payload is the body of each event.
var followingSQL = []string{
	`alter table klingwatch.deliveries disable trigger enqueue`,
	`insert into klingwatch.events (event_id, task, sequence, type, payload, created_at)
	 select 'msg_' || id, id, 2, 'task.' || status, @payload::jsonb, finished_at
	 from klingwatch.tasks where finished_at is not null order by id`,
	`insert into klingwatch.outputs (task, kind, position, url, expires_at)
	 select id, 'video', 0, 'https://cdn.example/' || id || '.mp4', finished_at + interval '30 days'
	 from klingwatch.tasks where status = 'succeeded' order by id`,
	`insert into klingwatch.deliveries (event, url, state, attempts, created_at, tries_since, delivered_at, next_attempt_at)
	 select e.id, t.callback_url, case when e.id % 1000 = 0 then 'exhausted' else 'delivered' end, 1, e.created_at, e.created_at,
	        case when e.id % 1000 > 0 then e.created_at + (e.id % 100) * interval '10 ms' + case when e.id % 200 = 1 then interval '2 min' else '0' end end, null
	 from klingwatch.events e join klingwatch.tasks t on t.id = e.task order by e.id`,
}
