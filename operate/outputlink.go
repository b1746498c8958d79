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
	"github.com/klingwatch/klingwatch/webhook"
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

// Link is a link to a kept file.
type Link struct {
	Path    string // with its query
	Expires time.Time
	Output  db.ListedOutput
}

// LinkOutput signs a link to the file of an output, or to its thumbnail, that works for a
// while. It refuses a file that is not kept, and will not be.
func LinkOutput(ctx context.Context, pool *pgxpool.Pool, task int64, kind string, position int, thumbnail bool, life time.Duration) (Link, error) {
	if life <= 0 || life > MaxLinkLife {
		return Link{}, invalid("expires", "must be more than 0 and at most 366 days: a link cannot be taken back")
	}
	at, expires := webhook.ContentPath(task, kind, position), time.Now().Add(life)
	if thumbnail {
		at = webhook.ThumbnailPath(task, kind, position)
	}
	signed, err := SignLink(ctx, pool, at, expires) // first: who may not is told nothing else
	if err != nil {
		return Link{}, err
	}
	o, err := db.GetOutput(ctx, pool, task, kind, position)
	if errors.Is(err, db.ErrNotFound) {
		return Link{}, refuse(NotFound, "see klingwatch show "+strconv.FormatInt(task, 10), "task %d has no %s %d", task, kind, position)
	}
	if err != nil {
		return Link{}, fmt.Errorf("reading an output: %w", err)
	}
	pending := o.ArchiveState != nil && *o.ArchiveState == db.ArchivePending
	switch {
	case o.ArchiveKey == nil && !pending && o.ArchiveError != nil:
		return Link{}, refuse(Conflict, "", "%s %d of task %d is not kept: %s", kind, position, task, *o.ArchiveError)
	case o.ArchiveKey == nil && !pending:
		return Link{}, refuse(Conflict, "", "%s %d of task %d is not kept: it was not asked for", kind, position, task)
	case thumbnail && !pending && o.ThumbnailKey == nil:
		return Link{}, refuse(Conflict, "", "%s %d of task %d has no thumbnail", kind, position, task)
	}
	return Link{Path: signed, Expires: expires, Output: o}, nil
}
