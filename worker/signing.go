package worker

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/webhook"
)

// PrepareKeys makes the deployment's signing keys where there are none, and
// brings all keys into the form that the keyring asks for. It returns an error
// where a key cannot be read.
func PrepareKeys(ctx context.Context, pool *pgxpool.Pool, keyring *webhook.Keyring) error {
	if err := db.EnsureDeploymentKeys(ctx, pool, keyring.Seal(webhook.NewSecret()), keyring.Seal(webhook.NewPrivateKey())); err != nil {
		return fmt.Errorf("preparing the signing keys: %w", err)
	}
	keys, err := db.SigningKeys(ctx, pool)
	if err != nil {
		return fmt.Errorf("reading the signing keys: %w", err)
	}
	for _, key := range keys {
		secret, err := keyring.Open(key.Secret)
		if err != nil {
			return fmt.Errorf("reading the signing keys: %w", err)
		}
		if keyring.Current(key.Secret) {
			continue
		}
		if err := db.StoreKey(ctx, pool, key.ID, key.Secret, keyring.Seal(secret)); err != nil {
			return fmt.Errorf("encrypting the signing keys: %w", err)
		}
	}
	return nil
}

// RotateKeys gives an endpoint (nil: the deployment) a new key of each version
// that it has. The old ones sign as well until the grace has passed. It returns
// the new keys, in plain.
func RotateKeys(ctx context.Context, pool *pgxpool.Pool, keyring *webhook.Keyring, endpoint *int64, grace time.Duration) ([]string, error) {
	fresh := map[string]string{db.KeyV1: webhook.NewSecret()}
	if endpoint == nil {
		fresh[db.KeyV1a] = webhook.NewPrivateKey()
	}
	var keys []string
	err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		for _, version := range []string{db.KeyV1, db.KeyV1a} {
			key, ok := fresh[version]
			if !ok {
				continue
			}
			if err := db.RetireKey(ctx, tx, endpoint, version, grace); err != nil {
				return err
			}
			if err := db.AddKey(ctx, tx, endpoint, version, keyring.Seal(key)); err != nil {
				return err
			}
			keys = append(keys, key)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("rotating the signing keys: %w", err)
	}
	return keys, nil
}
