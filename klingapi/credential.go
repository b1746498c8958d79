package klingapi

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/golang-jwt/jwt/v5"
)

// Credential supplies the bearer token of a request. Its errors name the source,
// never the secret.
type Credential interface {
	// Token returns the token for a request that is sent now.
	Token() (string, error)
	// Fingerprint identifies the key without revealing it: 8 hex digits of its
	// SHA-256. It changes when the key does.
	Fingerprint() string
}

// clockAdjuster is a credential whose tokens contain times. It takes over the
// relay's clock when the relay refuses a token as too early or too late (codes 1003
// and 1004).
type clockAdjuster interface {
	adjustClock(relayTime time.Time)
}

func fingerprint(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:4])
}

// account names the pair of a host and a key: one key may be good at one relay and
// refused by another.
type account struct {
	host string // without its default port, in small letters

	last atomic.Pointer[accountName] // of the key that was used last
}

type accountName struct{ key, name string }

// nameFor returns the name of the pair with the key of a fingerprint: 8 hex digits.
func (a *account) nameFor(key string) string {
	if last := a.last.Load(); last != nil && last.key == key {
		return last.name
	}
	next := &accountName{key: key, name: fingerprint(a.host + "\x00" + key)}
	a.last.Store(next)
	return next.name
}

// CheckKey reports what makes a key unfit for a header: a space, a line break, or
// another character that nobody sees. The error is one line without the key. An empty
// key is none to complain about here.
func CheckKey(key string) error {
	for at, r := range key {
		what := ""
		switch {
		case r == '\n' || r == '\r':
			what = "a line break"
		case unicode.IsSpace(r):
			what = "a space"
		case unicode.In(r, unicode.Cc, unicode.Cf):
			what = "an invisible character"
		default:
			continue
		}
		return fmt.Errorf("the key has %s in it, behind %d bytes: give the key alone, in one piece", what, at)
	}
	return nil
}

// StaticKey is a bearer key that does not change.
type StaticKey string

// Token returns the key.
func (k StaticKey) Token() (string, error) { return string(k), nil }

// Fingerprint identifies the key.
func (k StaticKey) Fingerprint() string { return fingerprint(string(k)) }

// String hides the key from logs and formatted output.
func (StaticKey) String() string { return "[key]" }

// GoString hides the key from %#v as well.
func (StaticKey) GoString() string { return "[key]" }

// KeyFile is a bearer key in a file, which is read again when it changes, so that
// a key can be rotated without a restart. It is safe for concurrent use.
type KeyFile struct {
	path string

	mu       sync.Mutex
	key      string
	modified time.Time
	checked  time.Time
}

// keyFileCheck is the time between two looks at the file: one for each request
// would be a waste, and a rotated key should be used within seconds.
const keyFileCheck = time.Second

// NewKeyFile reads the file. It returns an error with the path when the file cannot
// be read, is empty, or holds more than a key (CheckKey).
func NewKeyFile(path string) (*KeyFile, error) {
	f := &KeyFile{path: path}
	_, err := f.Token()
	return f, err
}

// Token returns the content of the file without surrounding space. When the file
// has become unreadable, empty or unfit, it returns the last key.
func (f *KeyFile) Token() (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now := time.Now(); now.Sub(f.checked) >= keyFileCheck {
		f.checked = now
		if err := f.read(); err != nil && f.key == "" {
			return "", err
		}
	}
	return f.key, nil
}

// Fingerprint identifies the key in the file.
func (f *KeyFile) Fingerprint() string {
	key, _ := f.Token() // the last good one
	return fingerprint(key)
}

func (f *KeyFile) read() error {
	info, err := os.Stat(f.path)
	if err != nil {
		return fmt.Errorf("reading the key file: %w", err)
	}
	if f.key != "" && info.ModTime().Equal(f.modified) {
		return nil
	}
	content, err := os.ReadFile(f.path)
	if err != nil {
		return fmt.Errorf("reading the key file: %w", err)
	}
	key := strings.TrimSpace(string(content))
	if key == "" {
		return fmt.Errorf("reading the key file: %s is empty", f.path)
	}
	if err := CheckKey(key); err != nil {
		return fmt.Errorf("reading the key file %s: %w", f.path, err)
	}
	f.key, f.modified = key, info.ModTime()
	return nil
}

// The lifetimes of the official JWT (document-api, authentication).
const (
	jwtLifetime = 1800 * time.Second
	jwtNotYet   = 5 * time.Second // "nbf" is this far in the past, for clocks that differ
	jwtRenew    = 5 * time.Minute // renewed this long before it expires, so that none expires on its way
)

// AccessKey is the official authentication: a JWT made from an access key and a
// secret key, renewed in time. It is safe for concurrent use.
type AccessKey struct {
	access, secret string

	mu      sync.Mutex
	token   string
	expires time.Time     // by our clock
	ahead   time.Duration // how much the relay's clock is ahead of ours
}

// NewAccessKey returns the official credential; both keys are required, and neither
// may be unfit (CheckKey).
func NewAccessKey(access, secret string) (*AccessKey, error) {
	if access == "" || secret == "" {
		return nil, errors.New("official authentication requires both an access key and a secret key")
	}
	if err := CheckKey(access); err != nil {
		return nil, fmt.Errorf("the access key: %w", err)
	}
	if err := CheckKey(secret); err != nil {
		return nil, fmt.Errorf("the secret key: %w", err)
	}
	return &AccessKey{access: access, secret: secret}, nil
}

// Fingerprint identifies the pair of keys.
func (a *AccessKey) Fingerprint() string { return fingerprint(a.access + "\x00" + a.secret) }

// Token returns a JWT (HS256; iss, exp, nbf) that is valid for at least 5 minutes.
func (a *AccessKey) Token() (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	if a.token != "" && now.Add(jwtRenew).Before(a.expires) {
		return a.token, nil
	}
	relayNow := now.Add(a.ahead)
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"iss": a.access,
		"exp": relayNow.Add(jwtLifetime).Unix(),
		"nbf": relayNow.Add(-jwtNotYet).Unix(),
	}).SignedString([]byte(a.secret))
	if err != nil {
		return "", fmt.Errorf("signing the access token: %w", err)
	}
	a.token, a.expires = token, now.Add(jwtLifetime)
	return token, nil
}

// adjustClock makes the next token by the relay's clock, or by ours for the zero
// time.
func (a *AccessKey) adjustClock(relayTime time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.token = ""
	if !relayTime.IsZero() {
		a.ahead = time.Until(relayTime)
	}
}
