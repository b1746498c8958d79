package operate

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/keyring"
	"github.com/klingwatch/klingwatch/ledger"
	"github.com/klingwatch/klingwatch/webhook"
)

// VerificationKeys returns the keys in the form that receivers verify with: the
// secrets of v1 opened, of v1a the public half.
func VerificationKeys(ctx context.Context, pool *pgxpool.Pool, ring *keyring.Keyring) ([]db.SigningKey, error) {
	if err := ledger.CheckKeyring(ctx, pool, ring); err != nil {
		return nil, err
	}
	return verificationKeys(ctx, pool, ring, func(db.SigningKey) bool { return true })
}

// VerificationKeysOf returns the keys that the receivers of an app's callbacks verify
// with: its own where it has some, else the deployment's.
func VerificationKeysOf(ctx context.Context, pool *pgxpool.Pool, ring *keyring.Keyring, app string) ([]db.SigningKey, error) {
	if err := requireApp(ctx, pool, app); err != nil {
		return nil, err
	}
	keys, err := VerificationKeys(ctx, pool, ring)
	own := slices.ContainsFunc(keys, func(k db.SigningKey) bool { return k.App != nil && *k.App == app })
	return slices.DeleteFunc(keys, func(k db.SigningKey) bool {
		switch {
		case k.App != nil:
			return *k.App != app
		case k.Endpoint != nil:
			return true
		}
		return own && k.Version == db.KeyV1
	}), err
}

// requireApp refuses a name that no role has.
func requireApp(ctx context.Context, pool *pgxpool.Pool, app string) error {
	there, err := db.RoleExists(ctx, pool, app)
	switch {
	case err != nil:
		return fmt.Errorf("looking for the role %s: %w", app, err)
	case !there:
		return refuse(NotFound, "", "no role has the name %q: an app is named as the role that it logs in with", app)
	}
	return nil
}

// PublicSigningKeys returns the v1a keys that sign now, of each the public half as whpk_,
// the current one first.
func PublicSigningKeys(ctx context.Context, pool *pgxpool.Pool, ring *keyring.Keyring) ([]db.SigningKey, error) {
	return verificationKeys(ctx, pool, ring, func(k db.SigningKey) bool { return k.Version == db.KeyV1a })
}

// PublicKeys returns the v1a keys that sign now, as whpk_.
func PublicKeys(ctx context.Context, pool *pgxpool.Pool, ring *keyring.Keyring) ([]string, error) {
	keys, err := PublicSigningKeys(ctx, pool, ring)
	public := make([]string, len(keys))
	for i, key := range keys {
		public[i] = key.Secret
	}
	return public, err
}

func verificationKeys(ctx context.Context, pool *pgxpool.Pool, ring *keyring.Keyring, wanted func(db.SigningKey) bool) ([]db.SigningKey, error) {
	stored, err := db.SigningKeys(ctx, pool)
	if err != nil {
		return nil, fmt.Errorf("reading the signing keys: %w", err)
	}
	var keys []db.SigningKey
	for _, key := range stored {
		if !wanted(key) {
			continue
		}
		if key.Secret, err = ring.Open(key.Secret); err != nil {
			return nil, fmt.Errorf("opening a signing key: %w", err)
		}
		if key.Version == db.KeyV1a {
			if key.Secret, err = webhook.PublicKey(key.Secret); err != nil {
				return nil, fmt.Errorf("reading a signing key: %w", err)
			}
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// RotatedKeys are what receivers verify with from now on.
type RotatedKeys struct {
	Secret    string // of v1
	PublicKey string // of v1a; "" for an endpoint and an app, which have none of their own
}

// RotateKeys gives an owner new keys; the old ones sign as well until the grace has
// passed. An app's first key takes the place of the deployment's in the same way.
func RotateKeys(ctx context.Context, pool *pgxpool.Pool, ring *keyring.Keyring, owner db.KeyOwner, grace time.Duration) (RotatedKeys, error) {
	if grace < 0 {
		return RotatedKeys{}, invalid("grace", "must not be negative, it is %s", grace)
	}
	if owner.Endpoint != nil {
		if _, err := GetEndpoint(ctx, pool, *owner.Endpoint); err != nil {
			return RotatedKeys{}, err
		}
	}
	if owner.App != "" {
		if err := requireApp(ctx, pool, owner.App); err != nil {
			return RotatedKeys{}, err
		}
	}
	keys, err := ledger.RotateKeys(ctx, pool, ring, owner, grace)
	if err != nil {
		return RotatedKeys{}, err
	}
	rotated := RotatedKeys{Secret: keys[0]}
	if len(keys) > 1 {
		rotated.PublicKey, err = webhook.PublicKey(keys[1])
	}
	return rotated, err
}
