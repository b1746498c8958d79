package operate

import (
	"context"
	"fmt"
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

// PublicKeys returns the v1a keys that sign now, as whpk_.
func PublicKeys(ctx context.Context, pool *pgxpool.Pool, ring *keyring.Keyring) ([]string, error) {
	keys, err := verificationKeys(ctx, pool, ring, func(k db.SigningKey) bool { return k.Version == db.KeyV1a })
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
	PublicKey string // of v1a; "" for an endpoint, which has none of its own
}

// RotateKeys gives an endpoint (nil: the deployment) new keys; the old ones sign
// as well until the grace has passed.
func RotateKeys(ctx context.Context, pool *pgxpool.Pool, ring *keyring.Keyring, endpoint *int64, grace time.Duration) (RotatedKeys, error) {
	if grace < 0 {
		return RotatedKeys{}, invalid("grace", "must not be negative, it is %s", grace)
	}
	if endpoint != nil {
		if _, err := GetEndpoint(ctx, pool, *endpoint); err != nil {
			return RotatedKeys{}, err
		}
	}
	keys, err := ledger.RotateKeys(ctx, pool, ring, endpoint, grace)
	if err != nil {
		return RotatedKeys{}, err
	}
	rotated := RotatedKeys{Secret: keys[0]}
	if len(keys) > 1 {
		rotated.PublicKey, err = webhook.PublicKey(keys[1])
	}
	return rotated, err
}
