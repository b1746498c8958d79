package db

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// PruneTasks deletes up to a number of tasks that ended longer ago than a time,
// with outputs, events and deliveries. Their days stay in the reports: a day loses
// tasks only when all of it and of the days before has ended and is summarized,
// and is not summarized again. A task with a webhook under way is left; one that
// waits for a disabled endpoint goes with its task. Fewer than limit: none are
// left.
func PruneTasks(ctx context.Context, q Querier, older time.Duration, limit int) (pruned int, err error) {
	err = q.QueryRow(ctx, `
		with living as (
			select least((select summarized_until from klingwatch.report_state),
			             (select klingwatch.utc_day(min(created_at)) from klingwatch.tasks where finished_at is null),
			             (select klingwatch.utc_day(min(created_at)) from klingwatch.tasks where late_checks_until is not null and late_checks_until > now())) as day
		), old as (
			select t.id, t.created_at
			from klingwatch.tasks t
			where t.finished_at < now() - @older::interval
			  and t.created_at < now() - @older::interval
			  and t.created_at < klingwatch.utc_midnight((select day from living))
			  and not exists (select from klingwatch.events e
			                  join klingwatch.deliveries d on d.event = e.id
			                  where e.task = t.id and d.state = 'pending' and d.next_attempt_at is not null)
			limit @limit
			for update of t skip locked
		), frozen as (
			update klingwatch.report_state
			set frozen_until = greatest(frozen_until, (select klingwatch.utc_day(max(created_at)) + 1 from old))
			where exists (select from old)
		), gone as (
			delete from klingwatch.tasks where id in (select id from old)
		)
		select count(*) from old`,
		pgx.StrictNamedArgs{"older": older, "limit": limit}).Scan(&pruned)
	return pruned, err
}

// PruneDeliveries deletes up to a number of deliveries that ended and began
// longer ago than a time, with their attempts. Fewer than limit: none are left.
func PruneDeliveries(ctx context.Context, q Querier, older time.Duration, limit int) (pruned int, err error) {
	tag, err := q.Exec(ctx, `
		delete from klingwatch.deliveries
		where id in (select id
		             from klingwatch.deliveries
		             where state <> 'pending' and created_at < now() - @older::interval
		               and greatest(tries_since, delivered_at) < now() - @older::interval
		             limit @limit
		             for update skip locked)`,
		pgx.StrictNamedArgs{"older": older, "limit": limit})
	return int(tag.RowsAffected()), err
}

// PruneEndpointEvents deletes up to a number of events about receivers that are
// older than a time, with their deliveries, unless one of those is under way.
// Fewer than limit: none are left. (The events of a task go with the task.)
func PruneEndpointEvents(ctx context.Context, q Querier, older time.Duration, limit int) (pruned int, err error) {
	tag, err := q.Exec(ctx, `
		delete from klingwatch.events
		where id in (select e.id
		             from klingwatch.events e
		             where e.task is null and e.created_at < now() - @older::interval
		               and not exists (select from klingwatch.deliveries d where d.event = e.id and d.state = 'pending' and d.next_attempt_at is not null)
		             limit @limit
		             for update skip locked)`,
		pgx.StrictNamedArgs{"older": older, "limit": limit})
	return int(tag.RowsAffected()), err
}

// RefreshReports brings the summaries behind the report views up to date and
// returns how many days were written. Another process that is at it is not
// waited for.
func RefreshReports(ctx context.Context, q Querier) (days int, err error) {
	err = q.QueryRow(ctx, `select klingwatch.refresh_reports()`).Scan(&days)
	return days, err
}
