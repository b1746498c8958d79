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
	Actions        []string   `json:"actions"` // empty: all
	Thin           bool       `json:"thin"`
	Description    string     `json:"description"`
	CreatedAt      time.Time  `json:"created_at"`
	FailingSince   *time.Time `json:"failing_since"` // nil while it works
	LastError      *string    `json:"last_error"`
	DisabledAt     *time.Time `json:"disabled_at"` // nil while enabled
	DisabledReason *string    `json:"disabled_reason"`
	Waiting        int        `json:"waiting"` // deliveries that have not arrived yet
}

// NewEndpoint is a receiver about to be added.
type NewEndpoint struct {
	URL         string
	EventTypes  []string
	Actions     []string // action or action/action2; empty: all
	Thin        bool     // ids and status only
	Description string
	Secret      string // as it is stored
}

// AddEndpoint adds a receiver with its own signing secret.
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

// EndpointChange is an edit of a receiver; nil keeps what is there.
type EndpointChange struct {
	URL         *string
	EventTypes  []string
	Actions     []string // empty, not nil: all
	Thin        *bool
	Description *string
}

// ChangeEndpoint edits a receiver. Its waiting deliveries go to the new URL. It
// returns ErrNotFound for an unknown id.
func ChangeEndpoint(ctx context.Context, q Querier, id int64, c EndpointChange) error {
	return existing(q.Exec(ctx, `
		with moved as (
			update klingwatch.deliveries
			set url = @url
			where endpoint = @id and state = 'pending' and @url::text is not null
		)
		update klingwatch.webhook_endpoints
		set url = coalesce(@url, url),
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
		       (select count(*) from klingwatch.deliveries d where d.endpoint = w.id and d.state = 'pending') as waiting`

// ListEndpoints returns all receivers, oldest first.
func ListEndpoints(ctx context.Context, q Querier) ([]Endpoint, error) {
	return all[Endpoint](ctx, q, `
		select`+endpointColumns+`
		from klingwatch.webhook_endpoints w
		order by w.id`)
}

// GetEndpoint returns a receiver; ErrNotFound for an unknown id.
func GetEndpoint(ctx context.Context, q Querier, id int64) (Endpoint, error) {
	return one[Endpoint](ctx, q, `
		select`+endpointColumns+`
		from klingwatch.webhook_endpoints w
		where w.id = @id`,
		pgx.StrictNamedArgs{"id": id})
}

// DisableEndpoint stops sending to a receiver; its deliveries wait. It returns
// false when it is disabled already, or unknown.
func DisableEndpoint(ctx context.Context, q Querier, id int64, reason string) (disabled bool, err error) {
	tag, err := q.Exec(ctx, `
		update klingwatch.webhook_endpoints
		set disabled_at = now(),
		    disabled_reason = @reason
		where id = @id and disabled_at is null`,
		pgx.StrictNamedArgs{"id": id, "reason": reason})
	return tag.RowsAffected() > 0, err
}

// EnableEndpoint lets a receiver have its events again, as if it had never
// failed. It returns ErrNotFound for an unknown id.
func EnableEndpoint(ctx context.Context, q Querier, id int64) error {
	return existing(q.Exec(ctx, `
		update klingwatch.webhook_endpoints
		set disabled_at = null,
		    disabled_reason = null,
		    failing_since = null,
		    warned_at = null,
		    last_error = null
		where id = @id`,
		pgx.StrictNamedArgs{"id": id}))
}

// ReleaseDeliveries plans the deliveries that waited for enabled endpoints:
// those of one, or (endpoint 0) of all. Their schedule begins anew. It returns
// how many there are.
func ReleaseDeliveries(ctx context.Context, q Querier, endpoint int64) (released int, err error) {
	err = q.QueryRow(ctx, `
		with released as (
			update klingwatch.deliveries d
			set next_attempt_at = now(),
			    tries_before = attempts,
			    tries_since = now(),
			    last_error = null
			from klingwatch.webhook_endpoints w
			where d.state = 'pending' and d.next_attempt_at is null and w.id = d.endpoint and w.disabled_at is null
			  and (@endpoint = 0 or d.endpoint = @endpoint)
			returning d.id
		)
		select count(*)
		from (select klingwatch.give_jobs('deliver', (select array_agg(id) from released))) as given,
		     released`,
		pgx.StrictNamedArgs{"endpoint": endpoint}).Scan(&released)
	return released, err
}

// RecordHealth writes which receivers began to fail, with the reason, and which
// work again. Those whose health did not change are not touched.
func RecordHealth(ctx context.Context, q Querier, failing map[int64]string, working []int64) error {
	ids, reasons := make([]int64, 0, len(failing)), make([]string, 0, len(failing))
	for id, reason := range failing {
		ids, reasons = append(ids, id), append(reasons, reason)
	}
	_, err := q.Exec(ctx, `
		update klingwatch.webhook_endpoints w
		set failing_since = case when h.fails then now() end,
		    last_error = h.reason,
		    warned_at = null
		from (select id, reason, true as fails from unnest(@failing::bigint[], @reasons::text[]) as f(id, reason)
		      union all
		      select id, null, false from unnest(@working::bigint[]) as o(id)) as h
		where w.id = h.id and (w.failing_since is null) = h.fails`,
		pgx.StrictNamedArgs{"failing": ids, "reasons": reasons, "working": working})
	return err
}

// FailingEndpoint is a receiver that has not accepted anything for a while.
type FailingEndpoint struct {
	ID           int64
	URL          string
	FailingSince time.Time
	FailingFor   time.Duration
	LastError    string
	Warned       bool
}

// FailingEndpoints returns the enabled receivers that fail for at least a time,
// locked: another process that asks meanwhile does not get them.
func FailingEndpoints(ctx context.Context, q Querier, atLeast time.Duration) ([]FailingEndpoint, error) {
	return all[FailingEndpoint](ctx, q, `
		select id,
		       url,
		       failing_since,
		       now() - failing_since as failing_for,
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
