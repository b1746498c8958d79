package db

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
)

// The scopes of API keys; each may do what those before it may.
const (
	ScopeRead  = "read"
	ScopeWrite = "write" // acts
	ScopeAdmin = "admin" // administers
)

// Scopes are all scopes, the least first.
var Scopes = []string{ScopeRead, ScopeWrite, ScopeAdmin}

// APIKey is a row of klingwatch.api_keys, without its hash.
type APIKey struct {
	ID         string     `json:"id"`
	Name       string     `json:"name"`
	Scope      string     `json:"scope"`
	App        *string    `json:"app"` // nil: it meets the tasks of all apps
	CreatedAt  time.Time  `json:"created_at"`
	ExpiresAt  *time.Time `json:"expires_at"`   // nil: never
	LastUsedAt *time.Time `json:"last_used_at"` // as of the last minute
	RevokedAt  *time.Time `json:"revoked_at"`   // nil: it is not
}

const apiKeyColumns = `
		       id,
		       name,
		       scope,
		       app,
		       created_at,
		       expires_at,
		       last_used_at,
		       revoked_at`

// validAPIKey is the condition of a key that may be used.
const validAPIKey = `revoked_at is null and (expires_at is null or expires_at > now())`

// AddAPIKey stores a key by the hash of its text. RefusedValue holds for the error where
// a value is not allowed; life 0 is for ever.
func AddAPIKey(ctx context.Context, q Querier, key APIKey, hash []byte, life time.Duration) (APIKey, error) {
	var expires *time.Duration
	if life > 0 {
		expires = &life
	}
	return one[APIKey](ctx, q, `
		insert into klingwatch.api_keys (id, name, scope, app, hash, expires_at)
		values (@id, @name, @scope, @app, @hash, now() + @life::interval)
		returning`+apiKeyColumns,
		pgx.StrictNamedArgs{"id": key.ID, "name": key.Name, "scope": key.Scope, "app": key.App, "hash": hash, "life": expires})
}

// LockAPIKeys lets nobody else add a key until the end of the transaction.
func LockAPIKeys(ctx context.Context, q Querier) error {
	_, err := q.Exec(ctx, `lock table klingwatch.api_keys in share row exclusive mode`)
	return err
}

// UseAPIKey returns the key with an id and a hash that is neither revoked nor expired, and
// notes once a minute that it is used. Without a hash the caller has proved otherwise that
// it is the key's. It returns ErrNotFound where there is none.
func UseAPIKey(ctx context.Context, q Querier, id string, hash []byte) (APIKey, error) {
	type found struct {
		APIKey
		Stale bool
	}
	key, err := one[found](ctx, q, `
		select`+apiKeyColumns+`,
		       coalesce(last_used_at < now() - interval '1 min', true) as stale
		from klingwatch.api_keys
		where id = @id and (@hash::bytea is null or hash = @hash) and `+validAPIKey,
		pgx.StrictNamedArgs{"id": id, "hash": hash})
	if err != nil || !key.Stale {
		return key.APIKey, err
	}
	// whoever notes it at the same moment notes enough
	_, err = q.Exec(ctx, `
		update klingwatch.api_keys
		set last_used_at = now()
		where id = (select id
		            from klingwatch.api_keys
		            where id = @id and coalesce(last_used_at < now() - interval '1 min', true)
		            for no key update skip locked)`,
		pgx.StrictNamedArgs{"id": id})
	if OutageOf(err) == ReadOnly {
		err = nil // it may still look
	}
	return key.APIKey, err
}

// RefusedAPIKeys returns those of some keys, by id, that are revoked, expired or gone.
func RefusedAPIKeys(ctx context.Context, q Querier, ids []string) ([]string, error) {
	rows, err := q.Query(ctx, `
		select id from unnest(@ids::text[]) as used(id)
		except
		select id from klingwatch.api_keys where `+validAPIKey,
		pgx.StrictNamedArgs{"ids": ids})
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// AnyAPIKey reports whether there is a key that may be used.
func AnyAPIKey(ctx context.Context, q Querier) (found bool, err error) {
	err = q.QueryRow(ctx, `select exists (select from klingwatch.api_keys where `+validAPIKey+`)`).Scan(&found)
	return found, err
}

// ListAPIKeys returns all keys, oldest first.
func ListAPIKeys(ctx context.Context, q Querier) ([]APIKey, error) {
	return all[APIKey](ctx, q, `select`+apiKeyColumns+` from klingwatch.api_keys order by created_at, id`)
}

// RevokeAPIKey makes a key refused from now on. It returns ErrNotFound for an unknown id;
// one that is revoked already stays as it is.
func RevokeAPIKey(ctx context.Context, q Querier, id string) error {
	return existing(q.Exec(ctx, `update klingwatch.api_keys set revoked_at = coalesce(revoked_at, now()) where id = @id`,
		pgx.StrictNamedArgs{"id": id}))
}

// KeepRequests is how long the answer of a request with an Idempotency-Key is repeated.
const KeepRequests = 24 * time.Hour

// Answered is what is known of a request with an Idempotency-Key.
type Answered struct {
	First       bool   // this is the first request with the key: it is to be answered
	Fingerprint []byte // of the first request
	Status      *int   // of its answer; nil: it is under way
	Answer      *string
}

// BeginRequest notes a request with an Idempotency-Key, or returns what is known of the
// first one with it. One that began longer than patience ago and has no answer, because
// its process died, is forgotten, as is one that is older than KeepRequests.
func BeginRequest(ctx context.Context, q Querier, apiKey, key string, fingerprint []byte, patience time.Duration) (Answered, error) {
	args := pgx.StrictNamedArgs{"api_key": apiKey, "key": key, "fingerprint": fingerprint, "patience": patience, "keep": KeepRequests}
	begun, err := one[Answered](ctx, q, `
		insert into klingwatch.idempotency_keys as known (api_key, key, fingerprint)
		values (@api_key, @key, @fingerprint)
		on conflict (api_key, key) do update
		set fingerprint = excluded.fingerprint,
		    begun_at = now(),
		    status = null,
		    answer = null
		where known.status is null and known.begun_at < now() - @patience::interval or known.begun_at < now() - @keep::interval
		returning true as first, fingerprint, status, answer`, args)
	if !errors.Is(err, ErrNotFound) {
		return begun, err
	}
	return one[Answered](ctx, q, `
		select false as first,
		       fingerprint,
		       status,
		       answer
		from klingwatch.idempotency_keys
		where api_key = @api_key and key = @key`, pgx.StrictNamedArgs{"api_key": apiKey, "key": key})
}

// FinishRequest keeps the answer of a request with an Idempotency-Key.
func FinishRequest(ctx context.Context, q Querier, apiKey, key string, status int, answer string) error {
	_, err := q.Exec(ctx, `update klingwatch.idempotency_keys set status = @status, answer = @answer where api_key = @api_key and key = @key`,
		pgx.StrictNamedArgs{"api_key": apiKey, "key": key, "status": status, "answer": answer})
	return err
}

// ForgetRequest lets a request be made again under its Idempotency-Key.
func ForgetRequest(ctx context.Context, q Querier, apiKey, key string) error {
	_, err := q.Exec(ctx, `delete from klingwatch.idempotency_keys where api_key = @api_key and key = @key`,
		pgx.StrictNamedArgs{"api_key": apiKey, "key": key})
	return err
}

// PruneRequests deletes requests with an Idempotency-Key that are older than a time, at
// most limit of them. It returns how many.
func PruneRequests(ctx context.Context, q Querier, older time.Duration, limit int) (pruned int, err error) {
	tag, err := q.Exec(ctx, `
		delete from klingwatch.idempotency_keys
		where (api_key, key) in (select api_key, key
		                         from klingwatch.idempotency_keys
		                         where begun_at < now() - @older::interval
		                         limit @limit
		                         for update skip locked)`,
		pgx.StrictNamedArgs{"older": older, "limit": limit})
	return int(tag.RowsAffected()), err
}
