package operate

import (
	"context"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
)

const (
	// SessionLife is how long a person stays logged in.
	SessionLife = 7 * 24 * time.Hour
	// sessionLabel separates the key of sessions from all else that is derived from the secret.
	sessionLabel = "klingwatch session, version 1"
)

// OpenSession returns the text of a session of an API key, for a cookie, and its end. The
// deployment's secret signs it, so that any of its processes can check it and nothing is
// stored.
func OpenSession(ctx context.Context, pool *pgxpool.Pool, key db.APIKey, now time.Time) (text string, expires time.Time, err error) {
	expires = now.Add(SessionLife)
	if key.ExpiresAt != nil && key.ExpiresAt.Before(expires) {
		expires = *key.ExpiresAt
	}
	secret, err := sessionKey(ctx, pool)
	if err != nil {
		return "", expires, err
	}
	body := key.ID + "." + strconv.FormatInt(expires.Unix(), 10)
	return body + "." + base64.RawURLEncoding.EncodeToString(sessionSignature(secret, body)), expires, nil
}

// UseSession returns the API key that a session was opened with, or ErrNoAPIKey: also when
// that has been revoked since.
func UseSession(ctx context.Context, pool *pgxpool.Pool, text string, now time.Time) (db.APIKey, error) {
	end := strings.LastIndexByte(text, '.')
	id, until, whole := strings.Cut(text[:max(end, 0)], ".")
	expires, err := strconv.ParseInt(until, 10, 64)
	given, undecodable := base64.RawURLEncoding.DecodeString(text[end+1:])
	if !whole || err != nil || undecodable != nil {
		return db.APIKey{}, ErrNoAPIKey
	}
	secret, err := sessionKey(ctx, pool)
	if err != nil {
		return db.APIKey{}, err
	}
	if !hmac.Equal(given, sessionSignature(secret, text[:end])) || !now.Before(time.Unix(expires, 0)) {
		return db.APIKey{}, ErrNoAPIKey
	}
	key, err := db.UseAPIKey(ctx, pool, id, nil)
	switch {
	case errors.Is(err, db.ErrNotFound):
		return key, ErrNoAPIKey
	case err != nil:
		return key, fmt.Errorf("looking for the API key of a session: %w", err)
	}
	return key, nil
}

func sessionSignature(secret []byte, body string) []byte {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(body))
	return mac.Sum(nil)
}

func sessionKey(ctx context.Context, pool *pgxpool.Pool) ([]byte, error) {
	secret, err := db.EventSecret(ctx, pool)
	if err != nil {
		return nil, fmt.Errorf("reading the secret that signs sessions: %w", err)
	}
	return hkdf.Key(sha256.New, secret, nil, sessionLabel, sha256.Size)
}

// ErrAnyAPIKey says that there is an API key already.
var ErrAnyAPIKey = errors.New("there is an API key already")

// AddFirstAPIKey makes a key of the scope admin where there is none that may be used, and
// returns ErrAnyAPIKey where there is one.
func AddFirstAPIKey(ctx context.Context, pool *pgxpool.Pool, name string) (key db.APIKey, text string, err error) {
	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if err := db.LockAPIKeys(ctx, tx); err != nil {
			return err
		}
		switch found, err := db.AnyAPIKey(ctx, tx); {
		case err != nil:
			return err
		case found:
			return ErrAnyAPIKey
		}
		key, text, err = AddAPIKey(ctx, tx, NewAPIKey{Name: name, Scope: db.ScopeAdmin})
		return err
	})
	return key, text, err
}
