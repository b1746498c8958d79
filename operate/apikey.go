package operate

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/crc32"
	"math/big"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
)

// A key is kw_, its id, 256 random bits and a checksum: scanners for secrets in source
// code know it by its form, and are never wrong.
const (
	apiKeyPrefix   = "kw_"
	apiKeyID       = 8
	apiKeySecret   = 43 // base62 digits hold 256 bits
	apiKeyChecksum = 4
)

var apiKeyForm = regexp.MustCompile(fmt.Sprintf(`^%s[0-9A-Za-z]{%d}$`, apiKeyPrefix, apiKeyID+apiKeySecret+apiKeyChecksum))

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// randomDigits returns n random digits of base62.
func randomDigits(n int) string {
	digits := make([]byte, n)
	for i := range digits {
		d, _ := rand.Int(rand.Reader, big.NewInt(int64(len(base62)))) // never fails
		digits[i] = base62[d.Int64()]
	}
	return string(digits)
}

// checksumOf returns the last digits of a key, made of those before.
func checksumOf(body string) string {
	sum, digits := crc32.ChecksumIEEE([]byte(body)), make([]byte, apiKeyChecksum)
	for i := range digits {
		digits[i] = base62[sum%uint32(len(base62))]
		sum /= uint32(len(base62))
	}
	return string(digits)
}

// parseAPIKey returns the id and the hash of a key; false for what cannot be one.
func parseAPIKey(text string) (id string, hash []byte, ok bool) {
	body, last := len(text)-apiKeyChecksum, strings.TrimPrefix(text, apiKeyPrefix)
	if !apiKeyForm.MatchString(text) || checksumOf(text[:body]) != text[body:] {
		return "", nil, false
	}
	sum := sha256.Sum256([]byte(text))
	return last[:apiKeyID], sum[:], true
}

// NewAPIKey is a key about to be made.
type NewAPIKey struct {
	Name  string
	Scope string        // db.ScopeRead, db.ScopeWrite or db.ScopeAdmin
	App   string        // the key meets this app's tasks only; "": those of all
	Life  time.Duration // 0: for ever
}

// AddAPIKey makes a key. Its text is nowhere else.
func AddAPIKey(ctx context.Context, q db.Querier, n NewAPIKey) (key db.APIKey, text string, err error) {
	switch {
	case strings.TrimSpace(n.Name) == "" || utf8.RuneCountInString(n.Name) > 100:
		return key, "", invalid("name", "must have 1 to 100 characters")
	case !slices.Contains(db.Scopes, n.Scope):
		return key, "", invalid("scope", "must be %s, not %q", or(db.Scopes), n.Scope)
	case n.Life < 0:
		return key, "", invalid("expires", "must be more than 0")
	case n.App != "" && n.Scope == db.ScopeAdmin:
		return key, "", invalid("app", "does not go with the scope admin: who administers meets all apps")
	}
	key = db.APIKey{ID: randomDigits(apiKeyID), Name: n.Name, Scope: n.Scope}
	if n.App != "" {
		key.App = &n.App
	}
	body := apiKeyPrefix + key.ID + randomDigits(apiKeySecret)
	text = body + checksumOf(body)
	hash := sha256.Sum256([]byte(text))
	if key, err = db.AddAPIKey(ctx, q, key, hash[:], n.Life); err != nil {
		return key, "", fmt.Errorf("adding an API key: %w", err)
	}
	return key, text, nil
}

// ErrNoAPIKey says that a text is no key, or one that is revoked or has expired.
var ErrNoAPIKey = errors.New("the API key is not valid: it is unknown, revoked or has expired")

// UseAPIKey returns the key that a text is, or ErrNoAPIKey. The database finds it by its
// hash, so the time that this takes tells nothing about a key.
func UseAPIKey(ctx context.Context, pool *pgxpool.Pool, text string) (db.APIKey, error) {
	id, hash, ok := parseAPIKey(text)
	if !ok {
		return db.APIKey{}, ErrNoAPIKey
	}
	key, err := db.UseAPIKey(ctx, pool, id, hash)
	switch {
	case errors.Is(err, db.ErrNotFound):
		return key, ErrNoAPIKey
	case err != nil:
		return key, fmt.Errorf("looking for the API key: %w", err)
	}
	return key, nil
}

// Includes reports whether a scope includes another one.
func Includes(scope, needed string) bool {
	return slices.Index(db.Scopes, scope) >= slices.Index(db.Scopes, needed)
}

// ListAPIKeys returns all keys, oldest first.
func ListAPIKeys(ctx context.Context, pool *pgxpool.Pool) ([]db.APIKey, error) {
	keys, err := db.ListAPIKeys(ctx, pool)
	if err != nil {
		return nil, fmt.Errorf("reading the API keys: %w", err)
	}
	return keys, nil
}

// RevokeAPIKey makes a key, by its id, refused from now on.
func RevokeAPIKey(ctx context.Context, pool *pgxpool.Pool, id string) error {
	err := db.RevokeAPIKey(ctx, pool, id)
	switch {
	case errors.Is(err, db.ErrNotFound):
		return refuse(NotFound, "see klingwatch api-keys list", "there is no API key %q", id)
	case err != nil:
		return fmt.Errorf("revoking API key %s: %w", id, err)
	}
	return nil
}
