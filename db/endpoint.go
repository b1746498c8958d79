package db

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// Endpoint is a row of klingwatch.webhook_endpoints.
type Endpoint struct {
	ID             int64      `json:"id"`
	URL            string     `json:"url"`
	EventTypes     []string   `json:"event_types"`
	Description    string     `json:"description"`
	CreatedAt      time.Time  `json:"created_at"`
	DisabledAt     *time.Time `json:"disabled_at"` // nil while enabled
	DisabledReason *string    `json:"disabled_reason"`
	Waiting        int        `json:"waiting"` // deliveries that have not arrived yet
}

// AddEndpoint adds a receiver of the event types, with its own signing secret.
func AddEndpoint(ctx context.Context, q Querier, url string, eventTypes []string, description, secret string) (id int64, err error) {
	err = q.QueryRow(ctx, `
		with added as (
			insert into klingwatch.webhook_endpoints (url, event_types, description)
			values (@url, @event_types, @description)
			returning id
		)
		insert into klingwatch.signing_keys (endpoint, secret)
		select id, @secret from added
		returning endpoint`,
		pgx.StrictNamedArgs{"url": url, "event_types": eventTypes, "description": description, "secret": secret}).Scan(&id)
	return id, err
}

// ListEndpoints returns all receivers, oldest first.
func ListEndpoints(ctx context.Context, q Querier) ([]Endpoint, error) {
	return all[Endpoint](ctx, q, `
		select w.id,
		       w.url,
		       w.event_types,
		       w.description,
		       w.created_at,
		       w.disabled_at,
		       w.disabled_reason,
		       (select count(*) from klingwatch.deliveries d where d.endpoint = w.id and d.state = 'pending') as waiting
		from klingwatch.webhook_endpoints w
		order by w.id`)
}

// DisableEndpoint stops sending to a receiver; its deliveries wait. It returns
// ErrNotFound for an unknown id.
func DisableEndpoint(ctx context.Context, q Querier, id int64, reason string) error {
	return existing(q.Exec(ctx, `
		update klingwatch.webhook_endpoints
		set disabled_at = coalesce(disabled_at, now()),
		    disabled_reason = @reason
		where id = @id`,
		pgx.StrictNamedArgs{"id": id, "reason": reason}))
}

// EnableEndpoint lets a receiver have its events again. It returns ErrNotFound
// for an unknown id.
func EnableEndpoint(ctx context.Context, q Querier, id int64) error {
	return existing(q.Exec(ctx, `
		update klingwatch.webhook_endpoints
		set disabled_at = null,
		    disabled_reason = null
		where id = @id`,
		pgx.StrictNamedArgs{"id": id}))
}

// ReleaseDeliveries makes a receiver's waiting deliveries due now and returns
// how many there are.
func ReleaseDeliveries(ctx context.Context, q Querier, endpoint int64) (released int, err error) {
	err = q.QueryRow(ctx, `
		with released as (
			update klingwatch.deliveries
			set next_attempt_at = now()
			where endpoint = @endpoint and state = 'pending' and next_attempt_at is null
			returning id
		)
		select count(*)
		from (select klingwatch.give_jobs('deliver', (select array_agg(id) from released))) as given,
		     released`,
		pgx.StrictNamedArgs{"endpoint": endpoint}).Scan(&released)
	return released, err
}
