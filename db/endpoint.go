package db

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5"
)

// Endpoint is a receiver, a row of klingwatch.webhook_endpoints.
type Endpoint struct {
	ID             int64      `json:"id"`
	URL            string     `json:"url"`
	EventTypes     []string   `json:"event_types"`
	Actions        []string   `json:"actions"` // action or action/action2; empty: all
	Thin           bool       `json:"thin"`    // its webhooks hold ids and status only
	Description    string     `json:"description"`
	CreatedAt      time.Time  `json:"created_at"`
	FailingSince   *time.Time `json:"failing_since"` // nil while it works
	LastError      *string    `json:"last_error"`
	DisabledAt     *time.Time `json:"disabled_at"` // nil while enabled
	DisabledReason *string    `json:"disabled_reason"`
	Revision       int        `json:"-"`       // raised by every edit, and when it is enabled
	Waiting        int        `json:"waiting"` // its pending deliveries
}

// NewEndpoint is a receiver about to be added.
type NewEndpoint struct {
	URL         string
	EventTypes  []string
	Actions     []string // action or action/action2; empty: all
	Thin        bool     // ids and status only
	Description string
	Secret      string // its signing key v1, as it is stored
}

// AddEndpoint adds a receiver with its signing key. RefusedValue holds for the error
// where a value is not allowed, or the URL is taken.
func AddEndpoint(ctx context.Context, q Querier, e NewEndpoint) (id int64, err error) {
	if e.Actions == nil {
		e.Actions = []string{}
	}
	err = q.QueryRow(ctx, `
		with added as (
			insert into klingwatch.webhook_endpoints (url, event_types, actions, thin, description)
			values (@url, @event_types, @actions, @thin, @description)
			returning id
		)
		insert into klingwatch.signing_keys (endpoint, secret)
		select id, @secret from added
		returning endpoint`,
		pgx.StrictNamedArgs{
			"url": e.URL, "event_types": e.EventTypes, "actions": e.Actions, "thin": e.Thin, "description": e.Description, "secret": e.Secret,
		}).Scan(&id)
	return id, err
}

// EndpointChange is an edit of a receiver. Nil keeps what is there.
type EndpointChange struct {
	URL         *string
	EventTypes  []string
	Actions     []string // empty, not nil: all
	Thin        *bool
	Description *string
}

// ChangeEndpoint edits a receiver. With a new URL its pending deliveries go there,
// and the failures of the old one are forgotten. It returns ErrNotFound for an
// unknown id.
func ChangeEndpoint(ctx context.Context, q Querier, id int64, c EndpointChange) error {
	return existing(q.Exec(ctx, `
		with moved as (
			update klingwatch.deliveries
			set url = @url
			where endpoint = @id and state = 'pending' and @url::text is not null
		)
		update klingwatch.webhook_endpoints
		set url = coalesce(@url, url),
		    revision = revision + 1,
		    failing_since = case when @url::text is null then failing_since end,
		    last_error = case when @url::text is null then last_error end,
		    last_failed_at = case when @url::text is null then last_failed_at end,
		    failures = case when @url::text is null then failures else 0 end,
		    warned_at = case when @url::text is null then warned_at end,
		    event_types = coalesce(@event_types, event_types),
		    actions = coalesce(@actions, actions),
		    thin = coalesce(@thin, thin),
		    description = coalesce(@description, description)
		where id = @id`,
		pgx.StrictNamedArgs{
			"id": id, "url": c.URL, "event_types": c.EventTypes, "actions": c.Actions, "thin": c.Thin, "description": c.Description,
		}))
}

const endpointColumns = `
		       w.id,
		       w.url,
		       w.event_types,
		       w.actions,
		       w.thin,
		       w.description,
		       w.created_at,
		       w.failing_since,
		       w.last_error,
		       w.disabled_at,
		       w.disabled_reason,
		       w.revision,
		       (select count(*) from klingwatch.deliveries d where d.endpoint = w.id and d.state = 'pending') as waiting`

// ListEndpoints returns all receivers, oldest first.
func ListEndpoints(ctx context.Context, q Querier) ([]Endpoint, error) {
	return all[Endpoint](ctx, q, `
		select`+endpointColumns+`
		from klingwatch.webhook_endpoints w
		order by w.id`)
}

// Arrival is when a receiver accepted something last.
type Arrival struct {
	Endpoint int64
	At       time.Time
}

// LastArrivals returns when receivers accepted something last, going by so many of the newest
// deliveries: a receiver that is in none of them is left out.
func LastArrivals(ctx context.Context, q Querier, newest int) ([]Arrival, error) {
	return all[Arrival](ctx, q, `
		select endpoint, max(delivered_at) as at
		from (select endpoint, delivered_at from klingwatch.deliveries order by id desc limit @newest) as newest
		where endpoint is not null and delivered_at is not null
		group by endpoint`,
		pgx.StrictNamedArgs{"newest": newest})
}

// GetEndpoint returns a receiver. It returns ErrNotFound for an unknown id.
func GetEndpoint(ctx context.Context, q Querier, id int64) (Endpoint, error) {
	return one[Endpoint](ctx, q, `
		select`+endpointColumns+`
		from klingwatch.webhook_endpoints w
		where w.id = @id`,
		pgx.StrictNamedArgs{"id": id})
}

// DisableEndpoint stops sending to a receiver; its deliveries wait. A receiver whose
// URL is another than url by now is left alone; "" stands for any. It returns false
// where nothing was disabled.
func DisableEndpoint(ctx context.Context, q Querier, id int64, url, reason string) (disabled bool, err error) {
	tag, err := q.Exec(ctx, `
		update klingwatch.webhook_endpoints
		set disabled_at = now(),
		    disabled_reason = @reason
		where id = @id and disabled_at is null and (@url = '' or url = @url)`,
		pgx.StrictNamedArgs{"id": id, "url": url, "reason": reason})
	return tag.RowsAffected() > 0, err
}

// EnableEndpoint lets a receiver have its events again, as if it had never failed.
// ReleaseDeliveries, in the same transaction, sends what waited. It returns
// ErrNotFound for an unknown id.
func EnableEndpoint(ctx context.Context, q Querier, id int64) error {
	return existing(q.Exec(ctx, `
		update klingwatch.webhook_endpoints
		set disabled_at = null,
		    disabled_reason = null,
		    revision = revision + 1,
		    failing_since = null,
		    last_failed_at = null,
		    failures = 0,
		    warned_at = null,
		    last_error = null
		where id = @id`,
		pgx.StrictNamedArgs{"id": id}))
}

// ReleaseDeliveries makes the pending deliveries of an enabled receiver due now, also
// those between two attempts, and begins their schedules anew. It returns how many
// there are.
func ReleaseDeliveries(ctx context.Context, q Querier, endpoint int64) (released int, err error) {
	err = q.QueryRow(ctx, releaseDeliveries+`
			  and d.endpoint = @endpoint
			returning d.id
		)`+giveReleased, pgx.StrictNamedArgs{"endpoint": endpoint}).Scan(&released)
	return released, err
}

// ReleaseParked is ReleaseDeliveries for the deliveries that wait for a receiver
// although it is enabled: somebody enabled it while their event was being written, or
// with plain SQL.
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

// EndpointHealth is what the last request to a receiver came to.
type EndpointHealth struct {
	Endpoint int64   `json:"endpoint"`
	URL      string  `json:"url"`   // where the request went
	Error    *string `json:"error"` // nil: it was accepted
}

// RecordHealth notes which receivers fail, at most once in a period of the length
// every, and which work again. A receiver whose URL is another by now is left alone.
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
	Quiet      time.Duration // how long ago it failed last
	Failures   int           // periods of RecordHealth in which it failed
	LastError  string
	Warned     bool
}

// FailingEndpoints returns the enabled receivers that have failed for at least a time,
// oldest first, and locks them until the end of the transaction: meanwhile another
// process does not get them.
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
		-- "for update" would stop those who have the turn to write events, and write deliveries to these endpoints
		for no key update skip locked`,
		pgx.StrictNamedArgs{"at_least": atLeast})
}

// MarkWarned notes that the event endpoint.failing of a receiver was written.
func MarkWarned(ctx context.Context, q Querier, id int64) error {
	_, err := q.Exec(ctx, `update klingwatch.webhook_endpoints set warned_at = now() where id = @id`, pgx.StrictNamedArgs{"id": id})
	return err
}

// RemoveEndpoint deletes at most limit deliveries of a receiver, and the receiver
// itself where fewer were left; then done is true. Disable it first: it would get new
// deliveries meanwhile. It returns ErrNotFound for an unknown id. A role that may not
// delete both is refused at once, also with the limit 0, which deletes nothing.
func RemoveEndpoint(ctx context.Context, q Querier, id int64, limit int) (done bool, err error) {
	var deleted, removed int
	err = q.QueryRow(ctx, `
		with deleted as (
			delete from klingwatch.deliveries
			where id in (select id from klingwatch.deliveries where endpoint = @id limit @limit)
			returning id
		), removed as (
			delete from klingwatch.webhook_endpoints
			where id = @id and (select count(*) from deleted) < @limit
			returning id
		)
		select (select count(*) from deleted), (select count(*) from removed)`,
		pgx.StrictNamedArgs{"id": id, "limit": limit}).Scan(&deleted, &removed)
	if err == nil && deleted < limit && removed == 0 {
		err = ErrNotFound
	}
	return removed > 0, err
}
