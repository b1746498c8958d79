package db

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Figures are what the metrics tell of the whole deployment, at one moment.
type Figures struct {
	Pending        int64 // open tasks by status
	Submitted      int64
	Processing     int64
	Overdue        int64   // tasks that should have been asked about before FigureLimits.Overdue
	OverdueSeconds float64 // how long the most overdue of them is; 0: none is

	DeliveriesPending int64 // webhooks that have a next attempt
	DeliveriesParked  int64 // those that wait for their endpoint to be enabled
	EndpointsEnabled  int64
	EndpointsFailing  int64 // enabled, but without a 2xx since a failure
	EndpointsDisabled int64
	Redeliveries      int64 // bulk redeliveries under way

	OutputsExpiring int64 // URLs that expire within FigureLimits.Expiring
	OutputsExpired  int64 // URLs that expired within FigureLimits.Expired

	Tables []TableSize `db:"-"` // those that change most
}

// FigureLimits are the times that Stats counts by.
type FigureLimits struct {
	Overdue  time.Duration // a task counts as overdue this long after it was due
	Expiring time.Duration // from now: URLs that expire soon
	Expired  time.Duration // until now: URLs that expired lately
}

// TableSize is how large a table is.
type TableSize struct {
	Table string
	Bytes int64 // with its indexes
	Dead  int64 // rows that wait for vacuum, as Postgres estimates
}

// Stats counts what there is now. It is asked all the time, so it reads by
// partial and block range indexes only: rows that are open, pending, or about to
// expire, never those that pile up. 0.1 s with a million tasks, 50,000 of them open.
//
// A poll that changes nothing is not written, so that a task is overdue by its
// row when it was never asked although it is there for a while, or when it is
// open after its deadline, at which the last poll is made.
func Stats(ctx context.Context, q Querier, limits FigureLimits) (Figures, error) {
	f, err := one[Figures](ctx, q, `
		select tasks.*,
		       deliveries.*,
		       endpoints.*,
		       outputs.*,
		       (select count(*) from klingwatch.redeliveries where finished_at is null) as redeliveries
		from (
			select count(*) filter (where status = 'pending') as pending,
			       count(*) filter (where status = 'submitted') as submitted,
			       count(*) filter (where status = 'processing') as processing,
			       count(*) filter (where due < now() - @overdue::interval) as overdue,
			       coalesce(extract(epoch from now())::float8
			              - extract(epoch from min(due) filter (where due < now() - @overdue::interval))::float8, 0) as overdue_seconds
			from (
				select status,
				       case when status = 'pending' and polls = 0 then created_at else deadline_at end as due
				from klingwatch.tasks
				where finished_at is null
			) as open
		) as tasks, (
			select count(next_attempt_at) as deliveries_pending,
			       count(*) - count(next_attempt_at) as deliveries_parked
			from klingwatch.deliveries
			where state = 'pending'
		) as deliveries, (
			select count(*) filter (where disabled_at is null and failing_since is null) as endpoints_enabled,
			       count(*) filter (where disabled_at is null and failing_since is not null) as endpoints_failing,
			       count(disabled_at) as endpoints_disabled
			from klingwatch.webhook_endpoints
		) as endpoints, (
			select count(*) filter (where expires_at >= now()) as outputs_expiring,
			       count(*) filter (where expires_at < now()) as outputs_expired
			from klingwatch.outputs
			where expires_at >= now() - @expired::interval and expires_at < now() + @expiring::interval
		) as outputs`,
		pgx.StrictNamedArgs{"overdue": limits.Overdue, "expiring": limits.Expiring, "expired": limits.Expired})
	if err != nil {
		return f, fmt.Errorf("counting for the metrics: %w", err)
	}
	f.Tables, err = all[TableSize](ctx, q, `
		select relname as "table",
		       pg_total_relation_size(relid) as bytes,
		       n_dead_tup as dead
		from pg_stat_user_tables
		where schemaname = 'klingwatch'
		  and relname = any (@tables)`,
		pgx.StrictNamedArgs{"tables": []string{"tasks", "outputs", "events", "deliveries", "delivery_attempts", jobsTable}})
	if err != nil {
		return f, fmt.Errorf("reading the sizes of tables: %w", err)
	}
	return f, nil
}
