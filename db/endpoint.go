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

// ChangeEndpoint edits a receiver. Its waiting deliveries go to a new URL, and
// what is known of the old one's failures is forgotten. It returns ErrNotFound for an unknown id.
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

// DisableEndpoint stops sending to a receiver; its deliveries wait. url, where it
// is not empty, is the place that is meant: one that was edited meanwhile is left
// alone. It returns false where nothing was disabled.
func DisableEndpoint(ctx context.Context, q Querier, id int64, url, reason string) (disabled bool, err error) {
	tag, err := q.Exec(ctx, `
		update klingwatch.webhook_endpoints
		set disabled_at = now(),
		    disabled_reason = @reason
		where id = @id and disabled_at is null and (@url = '' or url = @url)`,
		pgx.StrictNamedArgs{"id": id, "url": url, "reason": reason})
	return tag.RowsAffected() > 0, err
}

// EnableEndpoint lets a receiver have its events again, as if it had never
// failed. It returns ErrNotFound for an unknown id.
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
