package operate

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/time/rate"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/keyring"
	"github.com/klingwatch/klingwatch/klingapi"
	"github.com/klingwatch/klingwatch/klingapi/callback"
	"github.com/klingwatch/klingwatch/ledger"
)

// CallbackOutcome is what became of a callback of a relay, as a word for metrics.
type CallbackOutcome string

// What becomes of a callback.
const (
	CallbackHeeded     CallbackOutcome = "heeded"     // its task is asked about at once, unless it was within the interval
	CallbackEnded      CallbackOutcome = "ended"      // its task has ended already
	CallbackKnown      CallbackOutcome = "known"      // it says nothing new
	CallbackUnknown    CallbackOutcome = "unknown"    // no task has its id, perhaps not yet: the first poll comes at once then
	CallbackUnreadable CallbackOutcome = "unreadable" // it is about no task
	CallbackUnsigned   CallbackOutcome = "unsigned"   // its signature is wrong, or lacks
	CallbackRefused    CallbackOutcome = "refused"    // there is no such relay, or it has another token
	CallbackTooMany    CallbackOutcome = "too_many"   // the relay calls more often than it may
	CallbackTooLarge   CallbackOutcome = "too_large"  // its body is
	CallbackTroubled   CallbackOutcome = "troubled"   // the database was in trouble, or the secret cannot be opened here
)

const (
	// A relay may call so often in a second, and so many times in a row: a task has three
	// callbacks or four.
	callbackRate  = 100
	callbackBurst = 500
	// doorsKept is for how long the tokens are known: one that is made or revoked is heard
	// of within it, and who guesses tokens costs the database nothing.
	doorsKept = time.Second
	// doorsLimit bounds reading them.
	doorsLimit = 5 * time.Second
	// callbackGrace is how long the token before is accepted: tasks on their way have it.
	callbackGrace = 24 * time.Hour
)

// Callbacks takes what relays post when the status of a task changes. It is safe for
// concurrent use.
//
//	door, err := c.Door(ctx, relay, token)     // *Error NotFound: 404
//	wait := door.Wait(time.Now())              // not 0: 429
//	outcome, err := c.Take(ctx, door, header, body)
type Callbacks struct {
	pool     *pgxpool.Pool
	ring     *keyring.Keyring
	interval time.Duration

	mu    sync.Mutex
	read  time.Time
	doors map[string]*Door // by relay
}

// NewCallbacks returns Callbacks that cost a task one poll in an interval at most.
func NewCallbacks(pool *pgxpool.Pool, ring *keyring.Keyring, interval time.Duration) *Callbacks {
	return &Callbacks{pool: pool, ring: ring, interval: interval}
}

// Door is where one relay may call.
type Door struct {
	row     db.RelayCallback
	secret  string // "": signatures are not verified
	closed  error  // the secret cannot be opened here
	limiter *rate.Limiter
}

// Door returns that of a relay, which the token opens; an *Error with NotFound, the same
// for a relay and a token that there is not.
func (c *Callbacks) Door(ctx context.Context, relay, token string) (*Door, error) {
	doors, err := c.allDoors(ctx)
	if err != nil {
		return nil, err
	}
	door, hash := doors[relay], sha256.Sum256([]byte(token))
	if door == nil {
		door = &Door{}
	}
	current, old := subtle.ConstantTimeCompare(hash[:], door.row.TokenHash), subtle.ConstantTimeCompare(hash[:], door.row.OldTokenHash)
	if current|old == 0 {
		return nil, refuse(NotFound, "", "no relay calls here")
	}
	return door, nil
}

// allDoors reads the doors of all relays, at most once in doorsKept.
func (c *Callbacks) allDoors(ctx context.Context) (map[string]*Door, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.read) < doorsKept {
		return c.doors, nil
	}
	ctx, cancel := context.WithTimeout(ctx, doorsLimit)
	defer cancel()
	rows, err := db.RelayCallbacks(ctx, c.pool)
	if err != nil {
		return nil, fmt.Errorf("reading who may call: %w", err)
	}
	doors := make(map[string]*Door, len(rows))
	for _, row := range rows {
		door := &Door{row: row, limiter: rate.NewLimiter(callbackRate, callbackBurst)}
		if known := c.doors[row.Relay]; known != nil {
			door.limiter = known.limiter
		}
		if row.SigningSecret != nil {
			door.secret, door.closed = c.ring.Open(*row.SigningSecret)
			c.reseal(ctx, door)
		}
		doors[row.Relay] = door
	}
	c.doors, c.read = doors, time.Now()
	return doors, nil
}

// reseal encrypts a secret under the first of our encryption keys, as is done with signing
// keys: the old one may go then. Where that fails, it is tried again soon.
func (c *Callbacks) reseal(ctx context.Context, d *Door) {
	if stored := *d.row.SigningSecret; d.closed == nil && !c.ring.Current(stored) {
		_ = db.StoreCallbackSecret(ctx, c.pool, d.row.Relay, stored, c.ring.Seal(d.secret))
	}
}

// Wait returns how long the relay must wait until it may call again, 0 where it may now.
func (d *Door) Wait(now time.Time) time.Duration {
	if d.limiter.AllowN(now, 1) {
		return 0
	}
	return time.Second
}

// Take has the tasks asked about at once that a callback is about, whichever process polls
// them. Nothing else of it is believed, and nothing is written to a task.
func (c *Callbacks) Take(ctx context.Context, d *Door, header http.Header, body []byte) (CallbackOutcome, error) {
	if d.closed != nil {
		return CallbackTroubled, fmt.Errorf("opening the secret with which the relay %s signs its callbacks: %w", d.row.Relay, d.closed)
	}
	if d.secret != "" && !callback.Verify(d.secret, header, body, time.Now()) {
		return CallbackUnsigned, nil
	}
	said := callback.Read(body)
	if said.IDs == nil {
		return CallbackUnreadable, nil
	}
	tasks, err := db.CalledTasks(ctx, c.pool, d.row.Relay, said.IDs)
	if err != nil {
		return CallbackTroubled, fmt.Errorf("looking for the task of a callback: %w", err)
	}
	if len(tasks) == 0 {
		return CallbackUnknown, nil
	}
	tasks = slices.DeleteFunc(tasks, func(t db.CalledTask) bool { return !t.Open })
	if len(tasks) == 0 {
		return CallbackEnded, nil
	}
	var called []int64
	for _, t := range tasks {
		if isNews(klingapi.ParseStatus(said.Word), t.Status) {
			called = append(called, t.ID)
		}
	}
	if len(called) == 0 {
		return CallbackKnown, nil
	}
	if err := db.CallTasks(ctx, c.pool, called, c.interval); err != nil {
		return CallbackTroubled, err
	}
	return CallbackHeeded, nil
}

// isNews reports whether a task is worth a poll of which a callback says this. A task is
// polled because of callbacks once in an interval, and that is best kept for its end.
func isNews(said klingapi.Status, status string) bool {
	switch said {
	case klingapi.Submitted:
		return false // the first poll comes at once
	case klingapi.Processing:
		return status == db.Pending || status == db.Submitted
	}
	return true
}

// CallbackPath is the path of the address that a relay calls.
func CallbackPath(relay, token string) string { return "/v1/callbacks/" + relay + "/" + token }

// GetCallback returns how a relay may call; all but Relay is zero where nobody has said.
func GetCallback(ctx context.Context, pool *pgxpool.Pool, relay string) (db.RelayCallback, error) {
	if err := requireRelay(ctx, pool, relay); err != nil {
		return db.RelayCallback{}, err
	}
	rows, err := db.RelayCallbacks(ctx, pool)
	if err != nil {
		return db.RelayCallback{}, fmt.Errorf("reading who may call: %w", err)
	}
	for _, row := range rows {
		if row.Relay == relay {
			return row, nil
		}
	}
	return db.RelayCallback{Relay: relay}, nil
}

// requireRelay refuses a name that no relay has. The relay default is there even before a
// service has written its row.
func requireRelay(ctx context.Context, pool *pgxpool.Pool, name string) error {
	if name == db.DefaultRelay {
		return nil
	}
	_, err := GetRelay(ctx, pool, name)
	return err
}

// MakeCallbackToken returns a new token for the callbacks of a relay, which is stored
// nowhere. The one before is accepted for another day, since tasks on their way have it.
func MakeCallbackToken(ctx context.Context, pool *pgxpool.Pool, relay string) (token string, err error) {
	if err := requireRelay(ctx, pool, relay); err != nil {
		return "", err
	}
	token = rand.Text() + rand.Text()
	hash := sha256.Sum256([]byte(token))
	if err := db.SetCallbackToken(ctx, pool, relay, hash[:], callbackGrace); err != nil {
		return "", fmt.Errorf("storing the token: %w", err)
	}
	return token, nil
}

// RevokeCallbackTokens has a relay call in vain from now on, by whatever token.
func RevokeCallbackTokens(ctx context.Context, pool *pgxpool.Pool, relay string) error {
	if err := requireRelay(ctx, pool, relay); err != nil {
		return err
	}
	if err := db.DropCallbackTokens(ctx, pool, relay); err != nil {
		return fmt.Errorf("revoking the tokens: %w", err)
	}
	return nil
}

// SetCallbackSecret stores the secret with which a relay signs its callbacks: those with
// another signature, or none, are refused from now on. "" has none verified.
func SetCallbackSecret(ctx context.Context, pool *pgxpool.Pool, ring *keyring.Keyring, relay, secret string) error {
	if err := requireRelay(ctx, pool, relay); err != nil {
		return err
	}
	var sealed *string
	if secret != "" {
		if err := callback.CheckSecret(secret); err != nil {
			return invalid("", "the secret cannot be used: it must be whsec_ followed by base64, as Kling shows it")
		}
		if !ring.Encrypts() {
			return refuse(Conflict, "", "KLINGWATCH_ENCRYPTION_KEY is not set: a secret in the database must be encrypted; set it, here and for the services")
		}
		if err := ledger.CheckKeyring(ctx, pool, ring); err != nil {
			return err // services could not open it
		}
		text := ring.Seal(secret)
		sealed = &text
	}
	if err := db.SetCallbackSecret(ctx, pool, relay, sealed); err != nil {
		return fmt.Errorf("storing the secret: %w", err)
	}
	return nil
}
