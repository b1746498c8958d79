package operate

import (
	"context"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
)

const (
	// MaxLinkLife bounds how long a link works: it cannot be taken back.
	MaxLinkLife = 366 * 24 * time.Hour
	// linkLabel separates the key of links from all else that is derived from the secret.
	linkLabel = "klingwatch output links, version 1"
)

// ErrBadLink says that a link was not made here, or changed since.
var ErrBadLink = errors.New("the signature of the link is not ours")

// LinkExpired says that a link is ours, and worked until a time.
type LinkExpired struct{ At time.Time }

// Error tells the time.
func (e LinkExpired) Error() string {
	return "the link worked until " + e.At.UTC().Format(time.RFC3339)
}

// SignLink returns a path with a query that opens it to everybody until a time. The
// deployment's secret signs it, so that any of its processes can check it and nothing is
// stored.
func SignLink(ctx context.Context, pool *pgxpool.Pool, path string, expires time.Time) (string, error) {
	key, err := linkKey(ctx, pool)
	if err != nil {
		return "", err
	}
	until := strconv.FormatInt(expires.Unix(), 10)
	query := url.Values{"expires": {until}, "signature": {base64.RawURLEncoding.EncodeToString(linkSignature(key, path, until))}}
	return path + "?" + query.Encode(), nil
}

// CheckLink returns until when a link works, ErrBadLink or LinkExpired. Until the
// signature has been checked, nothing is said of the time.
func CheckLink(ctx context.Context, pool *pgxpool.Pool, path, expires, signature string, now time.Time) (time.Time, error) {
	until, err := strconv.ParseInt(expires, 10, 64)
	given, undecodable := base64.RawURLEncoding.DecodeString(signature)
	if err != nil || undecodable != nil {
		return time.Time{}, ErrBadLink
	}
	key, err := linkKey(ctx, pool)
	if err != nil {
		return time.Time{}, err
	}
	if !hmac.Equal(given, linkSignature(key, path, expires)) {
		return time.Time{}, ErrBadLink
	}
	at := time.Unix(until, 0)
	if !now.Before(at) {
		return at, LinkExpired{at}
	}
	return at, nil
}

// linkSignature covers the path and the time as they are written.
func linkSignature(key []byte, path, expires string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(expires + "\n" + path))
	return mac.Sum(nil)
}

// linkKey derives the key of links from the deployment's secret.
func linkKey(ctx context.Context, pool *pgxpool.Pool) ([]byte, error) {
	secret, err := db.EventSecret(ctx, pool)
	if err != nil {
		return nil, fmt.Errorf("reading the secret that signs links: %w", err)
	}
	return hkdf.Key(sha256.New, secret, nil, linkLabel, sha256.Size)
}
