package db

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5"
)

// ReleaseDeliveries makes the pending deliveries of an enabled endpoint due now,
// those in the middle of their retries, too, and begins their schedules anew. It
// returns how many there are.
func ReleaseDeliveries(ctx context.Context, q Querier, endpoint int64) (released int, err error) {
	err = q.QueryRow(ctx, releaseDeliveries+`
			  and d.endpoint = @endpoint
			returning d.id
		)`+giveReleased, pgx.StrictNamedArgs{"endpoint": endpoint}).Scan(&released)
	return released, err
}

// ReleaseParked does so for the deliveries that wait for an endpoint which is
// enabled by now: it may have been while their event was written, or by plain SQL.
func ReleaseParked(ctx context.Context, q Querier) (released int, err error) {
	err = q.QueryRow(ctx, releaseDeliveries+`
			  and d.next_attempt_at is null
			returning d.id
		)`+giveReleased).Scan(&released)
	return released, err
}

const (
	releaseDeliveries = `
		with released as (
			update klingwatch.deliveries d
			set next_attempt_at = now(),
			    tries_before = attempts,
			    tries_since = now(),
			    held_since = null,
			    last_error = null
			from klingwatch.webhook_endpoints w
			where d.state = 'pending' and w.id = d.endpoint and w.disabled_at is null`
	giveReleased = `
		select count(*)
		from (select klingwatch.give_jobs('deliver', (select array_agg(id) from released))) as given,
		     released`
)

// EndpointHealth is the last word of a receiver.
type EndpointHealth struct {
	Endpoint int64   `json:"endpoint"`
	URL      string  `json:"url"`   // that was asked
	Error    *string `json:"error"` // nil: it works
}

// RecordHealth notes which receivers fail, at most once in every period, and
// which work again. One that was edited since it was asked is left alone.
func RecordHealth(ctx context.Context, q Querier, health []EndpointHealth, every time.Duration) error {
	input, err := json.Marshal(health)
	if err != nil {
		return err
	}
	_, err = q.Exec(ctx, `
		with changed as (
			select w.id, h.error
			from jsonb_to_recordset(@health::jsonb) as h(endpoint bigint, url text, error text)
			join klingwatch.webhook_endpoints w on w.id = h.endpoint and w.url = h.url
			where h.error is null and w.failing_since is not null
			   or h.error is not null and (w.last_failed_at is null or w.last_failed_at < now() - @every::interval)
			order by w.id
			for update of w
		)
		update klingwatch.webhook_endpoints w
		set failing_since = case when c.error is not null then coalesce(w.failing_since, now()) end,
		    last_error = c.error,
		    last_failed_at = case when c.error is not null then now() end,
		    failures = case when c.error is not null then w.failures + 1 else 0 end,
		    warned_at = case when c.error is not null then w.warned_at end
		from changed c
		where w.id = c.id`,
		pgx.StrictNamedArgs{"health": input, "every": every})
	return err
}

// FailingEndpoint is a receiver that has not accepted anything for a while.
type FailingEndpoint struct {
	ID         int64
	URL        string
	FailingFor time.Duration
	Quiet      time.Duration // since it failed last
	Failures   int           // periods of RecordHealth in which it failed
	LastError  string
	Warned     bool
}

// FailingEndpoints returns the enabled receivers that fail for at least a time,
// locked: another process that asks meanwhile does not get them.
func FailingEndpoints(ctx context.Context, q Querier, atLeast time.Duration) ([]FailingEndpoint, error) {
	return all[FailingEndpoint](ctx, q, `
		select id,
		       url,
		       now() - failing_since as failing_for,
		       now() - last_failed_at as quiet,
		       failures,
		       coalesce(last_error, '') as last_error,
		       warned_at is not null as warned
		from klingwatch.webhook_endpoints
		where disabled_at is null and failing_since < now() - @at_least::interval
		order by id
		for update skip locked`,
		pgx.StrictNamedArgs{"at_least": atLeast})
}

// MarkWarned remembers that endpoint.failing was told of a receiver.
func MarkWarned(ctx context.Context, q Querier, id int64) error {
	_, err := q.Exec(ctx, `update klingwatch.webhook_endpoints set warned_at = now() where id = @id`, pgx.StrictNamedArgs{"id": id})
	return err
}

// RemoveEndpoint deletes a receiver with up to a number of its deliveries; done
// when it is gone. It must be disabled. It returns ErrNotFound for an unknown id.
func RemoveEndpoint(ctx context.Context, q Querier, id int64, limit int) (done bool, err error) {
	tag, err := q.Exec(ctx, `
		delete from klingwatch.deliveries
		where id in (select id from klingwatch.deliveries where endpoint = @id limit @limit)`,
		pgx.StrictNamedArgs{"id": id, "limit": limit})
	if err != nil || tag.RowsAffected() == int64(limit) {
		return false, err
	}
	return true, existing(q.Exec(ctx, `delete from klingwatch.webhook_endpoints where id = @id`, pgx.StrictNamedArgs{"id": id}))
}
