package reports

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/klingwatch/klingwatch/db"
)

// Hour is what happened in an hour.
type Hour struct {
	At        time.Time // its beginning
	Inserted  int64     // tasks
	Succeeded int64
	Failed    int64
	Expired   int64
	NotFound  int64
	Canceled  int64
	Webhooks  int64 // that arrived
	Again     int64 // of them, those that needed further attempts
}

// Hours returns what happened in each hour, from the one that a time is in until now.
// Webhooks of events that are older than an hour before do not count.
func Hours(ctx context.Context, b db.Beginner, since time.Time) (hours []Hour, err error) {
	err = pgx.BeginTxFunc(ctx, b, reading, func(tx pgx.Tx) error {
		hours, err = all[Hour](ctx, tx, hoursSQL, pgx.StrictNamedArgs{"since": since})
		return err
	})
	return hours, err
}

const hoursSQL = `
	with hours as (
		select generate_series(date_trunc('hour', @since::timestamptz), now(), interval '1 hour') as at
	), inserted as (
		select date_trunc('hour', created_at) as at,
		       count(*) as inserted
		from klingwatch.tasks
		where created_at >= date_trunc('hour', @since::timestamptz)
		group by 1
	), told as (
		select date_trunc('hour', created_at) as at,
		       count(*) filter (where type = 'task.succeeded') as succeeded,
		       count(*) filter (where type = 'task.failed') as failed,
		       count(*) filter (where type = 'task.expired') as expired,
		       count(*) filter (where type = 'task.not_found') as not_found,
		       count(*) filter (where type = 'task.canceled') as canceled
		from klingwatch.events
		where created_at >= date_trunc('hour', @since::timestamptz)
		group by 1
	), arrived as (
		select date_trunc('hour', delivered_at) as at,
		       count(*) as webhooks,
		       count(*) filter (where attempts > 1) as again
		from klingwatch.deliveries
		where created_at >= date_trunc('hour', @since::timestamptz) - interval '1 hour' and delivered_at is not null
		group by 1
	)
	select at,
	       coalesce(inserted, 0) as inserted,
	       coalesce(succeeded, 0) as succeeded,
	       coalesce(failed, 0) as failed,
	       coalesce(expired, 0) as expired,
	       coalesce(not_found, 0) as not_found,
	       coalesce(canceled, 0) as canceled,
	       coalesce(webhooks, 0) as webhooks,
	       coalesce(again, 0) as again
	from hours
	left join inserted using (at)
	left join told using (at)
	left join arrived using (at)
	order by at`
