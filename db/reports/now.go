package reports

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/klingwatch/klingwatch/db"
)

// Open is how many tasks of a relay have not ended.
type Open struct {
	Relay      string
	PollRate   float64 // most requests per second; 0: no process has said yet
	BatchSize  int     // most ids in one
	Pending    int64
	Submitted  int64
	Processing int64
	Troubled   int64 // whose last poll brought no answer
	Overdue    int64 // as db.TaskChoice has it
}

// Total is how many there are.
func (o Open) Total() int64 { return o.Pending + o.Submitted + o.Processing }

// OpenTasks counts the open tasks of each relay, those without any included, by name. It
// looks at so many of them at most.
func OpenTasks(ctx context.Context, q db.Querier, most int) ([]Open, error) {
	return all[Open](ctx, q, `
		with open as (
			select t.relay,
			       t.status,
			       t.last_error is not null as troubled,
			       `+db.TaskDue+` < now() - interval '1 min' as overdue
			from klingwatch.tasks t
			where t.finished_at is null
			limit @most
		)
		select coalesce(r.name, o.relay) as relay,
		       coalesce(r.poll_rate, 0) as poll_rate,
		       case when r.task_path like '%{task_ids}%' then r.batch_size else 1 end as batch_size,
		       count(*) filter (where o.status = 'pending') as pending,
		       count(*) filter (where o.status = 'submitted') as submitted,
		       count(*) filter (where o.status = 'processing') as processing,
		       count(*) filter (where o.troubled) as troubled,
		       count(*) filter (where o.overdue) as overdue
		from klingwatch.relays r
		full join open o on o.relay = r.name
		group by 1, 2, 3
		order by 1`,
		pgx.StrictNamedArgs{"most": most})
}

// Waiting is how much waits to be sent or fetched.
type Waiting struct {
	Deliveries int64 // that have a next attempt
	Held       int64 // that wait for their endpoint
	Files      int64 // that are to be fetched
	Expiring   int64 // that the provider deletes within a day, and that are not kept
}

// CountWaiting counts what waits. It looks at so many of each at most.
func CountWaiting(ctx context.Context, q db.Querier, most int) (Waiting, error) {
	rows, err := all[Waiting](ctx, q, `
		with pending as (
			select next_attempt_at from klingwatch.deliveries where state = 'pending' limit @most
		), files as (
			select 1 from klingwatch.outputs where archive_state = 'pending' limit @most
		), expiring as (
			select archive_state from klingwatch.outputs where expires_at >= now() and expires_at < now() + interval '1 day' limit @most
		)
		select (select count(next_attempt_at) from pending) as deliveries,
		       (select count(*) - count(next_attempt_at) from pending) as held,
		       (select count(*) from files) as files,
		       (select count(*) from expiring where archive_state is distinct from 'stored') as expiring`,
		pgx.StrictNamedArgs{"most": most})
	if err != nil {
		return Waiting{}, err
	}
	return rows[0], nil
}

// Trouble is an endpoint that is disabled or fails.
type Trouble struct {
	ID       int64
	URL      string
	Disabled bool
	Reason   *string
}

// EndpointTrouble returns the endpoints that are disabled or fail, oldest first, at most so
// many.
func EndpointTrouble(ctx context.Context, q db.Querier, most int) ([]Trouble, error) {
	return all[Trouble](ctx, q, `
		select id,
		       url,
		       disabled_at is not null as disabled,
		       case when disabled_at is not null then disabled_reason else last_error end as reason
		from klingwatch.webhook_endpoints
		where disabled_at is not null or failing_since is not null
		order by id
		limit @most`,
		pgx.StrictNamedArgs{"most": most})
}

// LatestTasks returns the ids of the tasks to which something happened last, or that came
// last.
func LatestTasks(ctx context.Context, q db.Querier, n int) ([]int64, error) {
	type latest struct{ Task int64 }
	rows, err := all[latest](ctx, q, `
		with told as (
			select task, created_at as at from klingwatch.events where task is not null order by id desc limit @told
		), inserted as (
			select id as task, created_at as at from klingwatch.tasks order by id desc limit @n
		)
		select task
		from (select * from told union all select * from inserted) as happened
		group by task
		order by max(at) desc, task desc
		limit @n`,
		pgx.StrictNamedArgs{"n": n, "told": 8 * n})
	ids := make([]int64, len(rows))
	for i, row := range rows {
		ids[i] = row.Task
	}
	return ids, err
}

// all reads the rows into a slice of T, by column names.
func all[T any](ctx context.Context, q db.Querier, sql string, args ...any) ([]T, error) {
	rows, err := q.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByName[T])
}
