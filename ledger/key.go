package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/keyring"
	"github.com/klingwatch/klingwatch/webhook"
)

// PrepareKeys makes the deployment's signing keys where there are none, and
// brings all keys into the form that the keyring asks for. It returns an error
// where a key of the deployment cannot be read; an endpoint's or an
// app's own is reported when it is needed.
func PrepareKeys(ctx context.Context, pool *pgxpool.Pool, ring *keyring.Keyring) error {
	keys, err := ensureKeys(ctx, pool, ring)
	if err != nil {
		return err
	}
	for _, key := range keys {
		secret, err := ring.Open(key.Secret)
		switch {
		case err != nil && key.Endpoint == nil && key.App == nil:
			return fmt.Errorf("reading the signing keys: %w", err)
		case err != nil || ring.Current(key.Secret):
			continue
		}
		if err := db.StoreKey(ctx, pool, key.ID, key.Secret, ring.Seal(secret)); err != nil {
			return fmt.Errorf("encrypting the signing keys: %w", err)
		}
	}
	return nil
}

// ErrOtherKeyring says that a secret must not be stored from here.
var ErrOtherKeyring = errors.New("the stored signing keys have another form than KLINGWATCH_ENCRYPTION_KEY gives here: " +
	"set it as the service has it, and if it is new there, restart the service first")

// CheckKeyring makes the deployment's signing keys where there are none, and
// refuses a keyring that stores keys in another form than the service does.
func CheckKeyring(ctx context.Context, pool *pgxpool.Pool, ring *keyring.Keyring) error {
	keys, err := ensureKeys(ctx, pool, ring)
	if err != nil {
		return err
	}
	for _, key := range keys {
		if key.Endpoint == nil && !ring.Current(key.Secret) {
			return ErrOtherKeyring
		}
	}
	return nil
}

// ensureKeys returns all keys, those of the deployment made where they lacked: whoever
// only looks writes nothing.
func ensureKeys(ctx context.Context, pool *pgxpool.Pool, ring *keyring.Keyring) ([]db.SigningKey, error) {
	keys, err := db.SigningKeys(ctx, pool)
	if err != nil {
		return nil, fmt.Errorf("reading the signing keys: %w", err)
	}
	if signs(keys, db.KeyV1) && signs(keys, db.KeyV1a) {
		return keys, nil
	}
	if err := db.EnsureDeploymentKeys(ctx, pool, ring.Seal(webhook.NewSecret()), ring.Seal(webhook.NewPrivateKey())); err != nil {
		return nil, fmt.Errorf("preparing the signing keys: %w", err)
	}
	if keys, err = db.SigningKeys(ctx, pool); err != nil {
		return nil, fmt.Errorf("reading the signing keys: %w", err)
	}
	return keys, nil
}

// signs tells whether the deployment has a current key of a version.
func signs(keys []db.SigningKey, version string) bool {
	return slices.ContainsFunc(keys, func(k db.SigningKey) bool {
		return k.Endpoint == nil && k.App == nil && k.Version == version && k.ExpiresAt == nil
	})
}

// RotateKeys gives an owner a new key of each version that it has. The old ones sign as well until the grace has passed. It returns
// the new keys, in plain text, or db.ErrNotFound for an unknown endpoint.
func RotateKeys(ctx context.Context, pool *pgxpool.Pool, ring *keyring.Keyring, owner db.KeyOwner, grace time.Duration) ([]string, error) {
	if err := CheckKeyring(ctx, pool, ring); err != nil {
		return nil, err
	}
	fresh := map[string]string{db.KeyV1: webhook.NewSecret()}
	if owner == (db.KeyOwner{}) {
		fresh[db.KeyV1a] = webhook.NewPrivateKey()
	}
	var keys []string
	err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if err := db.LockKeys(ctx, tx); err != nil { // one rotation follows the other
			return err
		}
		for _, version := range []string{db.KeyV1, db.KeyV1a} {
			key, ok := fresh[version]
			if !ok {
				continue
			}
			if err := db.RetireKeys(ctx, tx, owner, version, grace); err != nil {
				return err
			}
			if err := db.AddKey(ctx, tx, owner, version, ring.Seal(key)); err != nil {
				return err
			}
			keys = append(keys, key)
		}
		return nil
	})
	if db.Code(err) == foreignKeyViolation {
		return nil, db.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("rotating the signing keys: %w", err)
	}
	return keys, nil
}

// foreignKeyViolation is the SQLSTATE of a key whose endpoint does not exist.
const foreignKeyViolation = "23503"
