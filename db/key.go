package db

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// SigningKey is a row of klingwatch.signing_keys.
type SigningKey struct {
	ID        int64      `json:"-"`
	Endpoint  *int64     `json:"endpoint"` // nil: the deployment's key, or an app's
	App       *string    `json:"app"`      // nil: the deployment's key, or an endpoint's
	URL       *string    `json:"url"`      // of the endpoint
	Version   string     `json:"version"`  // v1 (HMAC-SHA256) or v1a (ed25519)
	Secret    string     `json:"secret"`   // as stored
	CreatedAt time.Time  `json:"created_at"`
	ExpiresAt *time.Time `json:"expires_at"` // nil: the current key; else an old one that signs as well until then
}

// The versions of signing keys.
const (
	KeyV1  = "v1"
	KeyV1a = "v1a"
)

// EnsureDeploymentKeys makes the given keys, as they are stored, the deployment's,
// where it has none of that version.
func EnsureDeploymentKeys(ctx context.Context, q Querier, v1, v1a string) error {
	_, err := q.Exec(ctx, `
		insert into klingwatch.signing_keys (endpoint, version, secret)
		values (null, 'v1', @v1),
		       (null, 'v1a', @v1a)
		on conflict do nothing`,
		pgx.StrictNamedArgs{"v1": v1, "v1a": v1a})
	return err
}

// KeyOwner is whose keys are meant: an endpoint's, an app's, or with neither the
// deployment's.
type KeyOwner struct {
	Endpoint *int64
	App      string
}

// LockKeys lets nobody else change keys until the end of the transaction, and waits for
// whoever does.
func LockKeys(ctx context.Context, q Querier) error {
	_, err := q.Exec(ctx, `lock table klingwatch.signing_keys in share row exclusive mode`)
	return err
}

// RetireKeys lets all keys of an owner and version sign only until the grace has passed;
// the old ones of earlier rotations may end sooner. An app that has none yet was signed
// for with the deployment's: that goes on for the grace. AddKey, in the same transaction,
// makes the next.
func RetireKeys(ctx context.Context, q Querier, owner KeyOwner, version string, grace time.Duration) error {
	_, err := q.Exec(ctx, `
		with retired as (
			update klingwatch.signing_keys
			set expires_at = least(coalesce(expires_at, 'infinity'), now() + @grace::interval)
			where endpoint is not distinct from @endpoint and app is not distinct from nullif(@app, '') and version = @version
			returning id
		)
		insert into klingwatch.signing_keys (app, version, secret, expires_at)
		select @app, version, secret, now() + @grace::interval
		from klingwatch.signing_keys
		where @app <> '' and not exists (select from retired)
		  and endpoint is null and app is null and version = @version and expires_at is null`,
		pgx.StrictNamedArgs{"endpoint": owner.Endpoint, "app": owner.App, "version": version, "grace": grace})
	return err
}

// AddKey makes a secret, as it is stored, the current key of an owner and version.
func AddKey(ctx context.Context, q Querier, owner KeyOwner, version, secret string) error {
	_, err := q.Exec(ctx, `
		insert into klingwatch.signing_keys (endpoint, app, version, secret)
		values (@endpoint, nullif(@app, ''), @version, @secret)`,
		pgx.StrictNamedArgs{"endpoint": owner.Endpoint, "app": owner.App, "version": version, "secret": secret})
	return err
}

// SigningKeys returns all keys that sign now, the deployment's first, newest
// first within their owner and version.
func SigningKeys(ctx context.Context, q Querier) ([]SigningKey, error) {
	return all[SigningKey](ctx, q, `
		select k.id,
		       k.endpoint,
		       k.app,
		       w.url,
		       k.version,
		       k.secret,
		       k.created_at,
		       k.expires_at
		from klingwatch.signing_keys k
		left join klingwatch.webhook_endpoints w on w.id = k.endpoint
		where k.expires_at is null or k.expires_at > now()
		order by k.endpoint nulls first, k.app nulls first, k.version, k.expires_at is not null, k.created_at desc`)
}

// signingKeys is a query of a with clause: the keys that sign now by owner (an endpoint,
// or 0 for the deployment and for apps), app (” for none) and version, the current one first.
const signingKeys = ` keys as (
			select coalesce(endpoint, 0) as owner,
			       coalesce(app, '') as app,
			       version,
			       array_agg(secret order by expires_at is not null, created_at desc) as secrets
			from klingwatch.signing_keys
			where expires_at is null or expires_at > now()
			group by 1, 2, 3
		)`

// SigningSecrets returns the keys that sign the webhooks of an endpoint (nil:
// callbacks of apps without a key) now, as stored, in the order of DeliveryTarget.Secrets.
func SigningSecrets(ctx context.Context, q Querier, endpoint *int64) (secrets []string, err error) {
	err = q.QueryRow(ctx, `
		with`+signingKeys+`
		select coalesce((select secrets from keys where owner = coalesce(@endpoint::bigint, 0) and app = '' and version = 'v1'), '{}')
		       || coalesce((select secrets from keys where owner = 0 and app = '' and version = 'v1a'), '{}')`,
		pgx.StrictNamedArgs{"endpoint": endpoint}).Scan(&secrets)
	return secrets, err
}

// StoreKey replaces the stored form of a key, unless somebody has replaced it since.
func StoreKey(ctx context.Context, q Querier, id int64, before, after string) error {
	_, err := q.Exec(ctx, `update klingwatch.signing_keys set secret = @after where id = @id and secret = @before`,
		pgx.StrictNamedArgs{"id": id, "before": before, "after": after})
	return err
}

// PruneKeys deletes the keys whose grace has passed.
func PruneKeys(ctx context.Context, q Querier) error {
	_, err := q.Exec(ctx, `delete from klingwatch.signing_keys where expires_at <= now()`)
	return err
}
