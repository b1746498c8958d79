package db

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// SigningKey is a row of klingwatch.signing_keys.
type SigningKey struct {
	Endpoint  *int64     `json:"endpoint"` // nil: the deployment's key, for callback_url
	URL       *string    `json:"url"`      // of the endpoint
	Secret    string     `json:"secret"`
	CreatedAt time.Time  `json:"created_at"`
	ExpiresAt *time.Time `json:"expires_at"` // nil: the current key
}

// EnsureDeploymentKey makes the given secret the deployment's key unless there
// is one already.
func EnsureDeploymentKey(ctx context.Context, q Querier, secret string) error {
	_, err := q.Exec(ctx, `
		insert into klingwatch.signing_keys (endpoint, secret)
		values (null, @secret)
		on conflict do nothing`,
		pgx.StrictNamedArgs{"secret": secret})
	return err
}

// SigningKeys returns all keys that sign now, the deployment's first, newest
// first within their owner.
func SigningKeys(ctx context.Context, q Querier) ([]SigningKey, error) {
	return all[SigningKey](ctx, q, `
		select k.endpoint,
		       w.url,
		       k.secret,
		       k.created_at,
		       k.expires_at
		from klingwatch.signing_keys k
		left join klingwatch.webhook_endpoints w on w.id = k.endpoint
		where k.expires_at is null or k.expires_at > now()
		order by k.endpoint nulls first, k.expires_at is not null, k.created_at desc`)
}
