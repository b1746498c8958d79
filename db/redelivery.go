package db

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// redeliver is the part of an update that begins the schedule of a delivery anew. One
// of a disabled endpoint waits until that is enabled.
const redeliver = `
			state = 'pending',
			tries_before = attempts,
			held_since = null,
			tries_since = now(),
			delivered_at = null,
			last_error = null,
			url = coalesce((select w.url from klingwatch.webhook_endpoints w where w.id = d.endpoint), d.url),
			next_attempt_at = case when exists (select from klingwatch.webhook_endpoints w where w.id = d.endpoint and w.disabled_at is not null)
			                  then null else now() end`

// Redeliver makes a delivery due now, with a job, whatever its state is and however
// many attempts it has used up; one of a disabled endpoint waits without a job. It
// returns ErrNotFound for an unknown id.
func Redeliver(ctx context.Context, q Querier, id int64) (DeliveryState, error) {
	return one[DeliveryState](ctx, q, `
		with again as (
			update klingwatch.deliveries d
			set`+redeliver+`
			where id = @id
			returning id, url, endpoint, next_attempt_at
		)
		select a.url,
		       a.endpoint,
		       a.next_attempt_at is null as waits,
		       klingwatch.give_jobs('deliver', case when a.next_attempt_at is not null then array[a.id] end) as jobs
		from again a`,
		pgx.StrictNamedArgs{"id": id})
}

// DeliveryState is what Redeliver made of a delivery.
type DeliveryState struct {
	URL      string
	Endpoint *int64 // nil: the task's callback_url
	Waits    bool   // its endpoint is disabled
	Jobs     int64  // 1: it was given a job; 0: it had one, or waits
}

// Redelivery is a bulk redelivery, a row of klingwatch.redeliveries: a job makes many
// deliveries due again, some per second.
type Redelivery struct {
	ID          int64      `json:"id"`
	Endpoint    *int64     `json:"endpoint"` // nil: all, callbacks included
	Since       time.Time  `json:"since"`    // deliveries created then or later
	Until       time.Time  `json:"until"`    // and before
	States      []string   `json:"states"`
	PerSecond   int        `json:"per_second"`
	Matched     int64      `json:"matched"`     // chosen when it began
	Redelivered int64      `json:"redelivered"` // made due so far
	CreatedAt   time.Time  `json:"created_at"`
	FinishedAt  *time.Time `json:"finished_at"` // nil while under way
}

// NewRedelivery is a bulk redelivery about to begin. It chooses deliveries by
// receiver, time and state.
type NewRedelivery struct {
	Endpoint  *int64     // nil: all, callbacks included
	Since     time.Time  // created then or later
	Until     *time.Time // created before; nil: before now
	States    []string   // of delivered, exhausted and canceled
	PerSecond int        // 1 to 500
}

const redeliveryColumns = `
		       id,
		       endpoint,
		       since,
		       until,
		       states,
		       per_second,
		       matched,
		       redelivered,
		       created_at,
		       finished_at`

// AddRedelivery begins a bulk redelivery; its job comes with it. RefusedValue holds
// for the error where a state or PerSecond is not allowed.
func AddRedelivery(ctx context.Context, q Querier, r NewRedelivery) (Redelivery, error) {
	return one[Redelivery](ctx, q, `
		insert into klingwatch.redeliveries (endpoint, since, until, states, per_second, last, matched)
		values (@endpoint, @since, coalesce(@until, now()), @states, @per_second,
		        (select coalesce(max(id), 0) from klingwatch.deliveries),
		        (select count(*)
		         from klingwatch.deliveries
		         where (@endpoint::bigint is null or endpoint = @endpoint) and state = any (@states)
		           and created_at >= @since and created_at < coalesce(@until, now())))
		returning`+redeliveryColumns,
		pgx.StrictNamedArgs{"endpoint": r.Endpoint, "since": r.Since, "until": r.Until, "states": r.States, "per_second": r.PerSecond})
}

// ListRedeliveries returns the newest bulk redeliveries first, or the one with an id;
// 0 chooses all.
func ListRedeliveries(ctx context.Context, q Querier, id int64, limit int) ([]Redelivery, error) {
	return all[Redelivery](ctx, q, `
		select`+redeliveryColumns+`
		from klingwatch.redeliveries
		where @id = 0 or id = @id
		order by redeliveries.id desc
		limit @limit`,
		pgx.StrictNamedArgs{"id": id, "limit": limit})
}

// RedeliveryStep is what the next part of a bulk redelivery chooses from.
type RedeliveryStep struct {
	Endpoint  *int64
	Since     time.Time
	Until     time.Time
	States    []string
	PerSecond int
	Position  int64 // deliveries up to this id are done
	Last      int64
}

// LockRedelivery reads a bulk redelivery that is under way, and locks it for
// RedeliverSome in the same transaction. It returns ErrNotFound for one that has
// finished or is not there.
func LockRedelivery(ctx context.Context, q Querier, id int64) (RedeliveryStep, error) {
	return one[RedeliveryStep](ctx, q, `
		select endpoint,
		       since,
		       until,
		       states,
		       per_second,
		       position,
		       last
		from klingwatch.redeliveries
		where id = @id and finished_at is null
		for update`,
		pgx.StrictNamedArgs{"id": id})
}

// RedeliverSome makes the next deliveries of a bulk redelivery due, as many as it may
// in a second, and writes its progress. It returns true when there are no more.
func RedeliverSome(ctx context.Context, q Querier, id int64, s RedeliveryStep) (done bool, err error) {
	err = q.QueryRow(ctx, `
		with chosen as (
			select d.id
			from klingwatch.deliveries d
			where d.id > @position and d.id <= @last and d.state = any (@states) and d.created_at >= @since and d.created_at < @until
			  and (@endpoint::bigint is null or d.endpoint = @endpoint)
			order by d.id
			limit @per_second
		), again as (
			update klingwatch.deliveries d
			set`+redeliver+`
			from chosen c
			where d.id = c.id
			returning d.id, d.next_attempt_at
		), progress as (
			update klingwatch.redeliveries r
			set redelivered = r.redelivered + (select count(*) from again),
			    position = coalesce((select max(c.id) from chosen c), r.position),
			    finished_at = case when (select count(*) from chosen) < r.per_second then now() end
			where r.id = @id
			returning r.finished_at
		)
		select coalesce((select finished_at is not null from progress), true) as done
		from (select klingwatch.give_jobs('deliver', (select array_agg(id) from again where next_attempt_at is not null))) as given`,
		pgx.StrictNamedArgs{
			"id": id, "endpoint": s.Endpoint, "since": s.Since, "until": s.Until, "states": s.States, "per_second": s.PerSecond,
			"position": s.Position, "last": s.Last,
		}).Scan(&done)
	return done, err
}

// StopRedelivery ends a bulk redelivery; what is due already goes out. It returns
// ErrNotFound for one that has finished or is not there.
func StopRedelivery(ctx context.Context, q Querier, id int64) error {
	return existing(q.Exec(ctx, `update klingwatch.redeliveries set finished_at = now() where id = @id and finished_at is null`,
		pgx.StrictNamedArgs{"id": id}))
}
