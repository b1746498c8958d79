package operate

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/keyring"
	"github.com/klingwatch/klingwatch/klingapi"
	"github.com/klingwatch/klingwatch/ledger"
	"github.com/klingwatch/klingwatch/relays"
)

// RelayKey is where the key of a relay is: one of File, Key, and the pair of AccessKey
// and SecretKeyFile.
type RelayKey struct {
	File          string // absolute path on the machine of the service, read again when it changes
	Key           string // the key itself, which is stored encrypted
	AccessKey     string
	SecretKeyFile string // absolute path on the machine of the service
}

// NewRelay is a relay about to be added.
type NewRelay struct {
	Name           string
	BaseURL        string
	TaskPath       string        // "": klingapi.DefaultTaskPath
	BatchSize      int           // 0: DefaultBatchSize
	PollRate       float64       // 0: DefaultPollRate
	OutputLifetime time.Duration // 0: klingapi.OutputLifetime
	Archive        *bool         // whether files are kept; nil: as KLINGWATCH_ARCHIVE says
	Key            RelayKey
}

// What a relay gets that nobody chose.
const (
	DefaultBatchSize = 20 // Kling's limit
	DefaultPollRate  = 50 // requests per second
)

// AddRelay adds a relay, which all services ask within seconds. It returns an *Error
// for one that cannot be asked, or is there already.
func AddRelay(ctx context.Context, pool *pgxpool.Pool, ring *keyring.Keyring, r NewRelay) error {
	row := db.Relay{
		Name: r.Name, BaseURL: strings.TrimRight(r.BaseURL, "/"), TaskPath: orDefault(r.TaskPath, klingapi.DefaultTaskPath), BatchSize: orDefault(r.BatchSize, DefaultBatchSize),
		PollRate: orDefault(r.PollRate, DefaultPollRate), OutputLifetime: orDefault(r.OutputLifetime, klingapi.OutputLifetime),
		Archive: r.Archive,
	}
	if row.Name == db.DefaultRelay {
		return refuse(Conflict, "", "the relay default is the one of the service's settings: KLING_BASE_URL, KLING_TASK_PATH and the key")
	}
	if err := checkRelay(row); err != nil {
		return err
	}
	if r.Key == (RelayKey{}) {
		return invalid("", "the relay needs a key: give key_file, the key itself, or access_key with secret_key_file")
	}
	if err := setKey(&row, ring, r.Key); err != nil {
		return err
	}
	if exists, err := db.RelayExists(ctx, pool, r.Name); err != nil {
		return fmt.Errorf("reading the relay: %w", err)
	} else if exists { // before the tasks get an index for it
		return relayThere(r.Name)
	}
	if r.Key.Key != "" {
		if err := ledger.CheckKeyring(ctx, pool, ring); err != nil {
			return err // services could not open it
		}
	}
	err := addRelay(ctx, pool, row)
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok && pgErr.Code == uniqueViolation {
		return relayThere(r.Name)
	}
	return relayRefused(err)
}

func relayThere(name string) error {
	return refuse(Conflict, "change it with klingwatch relays edit "+name, "there is a relay %s already", name)
}

func orDefault[T comparable](value, usual T) T {
	var zero T
	if value == zero {
		return usual
	}
	return value
}

const (
	// The first relay beside default needs the tasks for a moment, and tasks wait
	// behind it: it waits lockWait for them, and tries lockTries times.
	lockWait  = time.Second
	lockTries = 20
)

func addRelay(ctx context.Context, pool *pgxpool.Pool, row db.Relay) error {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return err
	}
	err = db.PrepareRelayKey(ctx, conn.Conn())
	conn.Release()
	if err != nil {
		return fmt.Errorf("building the index that tells the relays of tasks apart: %w", err)
	}
	for range lockTries {
		err = pgx.BeginTxFunc(ctx, pool, db.LimitLockWait(lockWait), func(tx pgx.Tx) error { return db.AddRelay(ctx, tx, row) })
		if !db.RowLocked(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(lockWait / 2):
		}
	}
	return refuse(Conflict, "", "somebody keeps the table klingwatch.tasks locked: end that session (see pg_locks) and try again")
}

// RelayEdit is a change of a relay; nil keeps what is there.
type RelayEdit struct {
	BaseURL        *string
	TaskPath       *string
	BatchSize      *int
	PollRate       *float64
	OutputLifetime *time.Duration
	Archive        **bool   // whether files are kept; nil inside: as KLINGWATCH_ARCHIVE says
	Key            RelayKey // zero keeps the key
}

// EditRelay changes a relay. Of the relay default, the settings of the service say the
// address, the path, the rate and the key.
func EditRelay(ctx context.Context, pool *pgxpool.Pool, ring *keyring.Keyring, name string, e RelayEdit) error {
	if e == (RelayEdit{}) {
		return invalid("", "say what to change: the address, the path, the batch size, the rate, the lifetime of outputs, whether they are kept, or the key")
	}
	if name == db.DefaultRelay && (e.BaseURL != nil || e.TaskPath != nil || e.PollRate != nil || e.Key != RelayKey{}) {
		return refuse(Conflict, "", "address, path, rate and key of the relay default are settings of the service: KLING_BASE_URL, KLING_TASK_PATH, KLINGWATCH_POLL_RATE and the key")
	}
	row, err := GetRelay(ctx, pool, name)
	if err != nil {
		return err
	}
	replace(&row.BaseURL, e.BaseURL)
	row.BaseURL = strings.TrimRight(row.BaseURL, "/")
	replace(&row.TaskPath, e.TaskPath)
	replace(&row.BatchSize, e.BatchSize)
	replace(&row.PollRate, e.PollRate)
	replace(&row.OutputLifetime, e.OutputLifetime)
	replace(&row.Archive, e.Archive)
	if e.Key != (RelayKey{}) {
		if err := setKey(&row, ring, e.Key); err != nil {
			return err
		}
	}
	if err := checkRelay(row); err != nil {
		return err
	}
	if e.Key.Key != "" {
		if err := ledger.CheckKeyring(ctx, pool, ring); err != nil {
			return err // services could not open it
		}
	}
	changed, err := db.ChangeRelay(ctx, pool, row)
	if err == nil && !changed {
		return refuse(Conflict, "see klingwatch relays list", "somebody else has changed the relay %s meanwhile", name)
	}
	return relayRefused(err)
}

func replace[T any](old, with *T) {
	if with != nil {
		*old = *with
	}
}

// relayRefused turns what the database refuses into an *Error.
func relayRefused(err error) error {
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok && db.RefusedValue(err) {
		return invalid("", "the relay is refused: %s", orDefault(pgErr.ConstraintName, pgErr.Message)) // a constraint's name is a sentence
	}
	if err != nil {
		return fmt.Errorf("writing the relay: %w", err)
	}
	return nil
}

// setKey puts a key into a row, instead of what is there.
func setKey(row *db.Relay, ring *keyring.Keyring, k RelayKey) error {
	row.KeyFile, row.StoredKey, row.AccessKey, row.SecretKeyFile = nil, nil, nil, nil
	given := 0
	if k.File != "" {
		given++
		row.KeySource, row.KeyFile = db.KeyInFile, &k.File
		if !filepath.IsAbs(k.File) {
			return invalid("key_file", "must be an absolute path, since services read it: %q", k.File)
		}
	}
	if k.Key != "" {
		given++
		if err := klingapi.CheckKey(k.Key); err != nil {
			return invalid("", "the key cannot be used: %s", err)
		}
		if !ring.Encrypts() {
			return refuse(Conflict, "", "KLINGWATCH_ENCRYPTION_KEY is not set: a key in the database must be encrypted; set it, here and for the services, or give a file with the key")
		}
		sealed := ring.Seal(k.Key)
		row.KeySource, row.StoredKey = db.KeyStored, &sealed
	}
	if k.AccessKey != "" || k.SecretKeyFile != "" {
		given++
		row.KeySource, row.AccessKey, row.SecretKeyFile = db.KeyByAccess, &k.AccessKey, &k.SecretKeyFile
		if k.AccessKey == "" || k.SecretKeyFile == "" {
			return invalid("", "access_key and secret_key_file belong together: one of them is missing")
		}
		if !filepath.IsAbs(k.SecretKeyFile) {
			return invalid("secret_key_file", "must be an absolute path, since services read it: %q", k.SecretKeyFile)
		}
	}
	if given > 1 {
		return invalid("", "there are %d keys: give only one of key_file, the key itself, and access_key with secret_key_file", given)
	}
	return nil
}

// The bounds of what a relay can be, as the table has them.
const (
	maxBatchSize      = 100
	maxPollRate       = 1e6
	minOutputLifetime = time.Minute
	maxOutputLifetime = 10 * 365 * 24 * time.Hour
)

var relayName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

// checkRelay returns an *Error for what the database would not refuse, not as clearly, or
// only after AddRelay has prepared the tasks for it.
func checkRelay(row db.Relay) error {
	switch {
	case !relayName.MatchString(row.Name):
		return invalid("", "%q cannot be the name of a relay: 1 to 64 of a-z, 0-9, ., _ and -, beginning with a-z or 0-9", row.Name)
	case row.BatchSize < 1 || row.BatchSize > maxBatchSize:
		return invalid("batch_size", "must be from 1 to %d, not %d", maxBatchSize, row.BatchSize)
	case !(row.PollRate > 0 && row.PollRate <= maxPollRate):
		return invalid("poll_rate", "must be more than 0 and at most a million, not %v", row.PollRate)
	case row.OutputLifetime < minOutputLifetime || row.OutputLifetime > maxOutputLifetime:
		return invalid("output_lifetime", "must be from 1m to ten years, not %s", row.OutputLifetime)
	}
	if err := klingapi.CheckTaskPath(row.TaskPath); err != nil {
		return invalid("task_path", "cannot be used: %s", err)
	}
	if _, err := klingapi.New(klingapi.Config{BaseURL: row.BaseURL, TaskPath: row.TaskPath, Credential: klingapi.StaticKey("unused")}); err != nil {
		return invalid("", "the address cannot be used: %s", err) // it may hold a password
	}
	return nil
}

// GetRelay returns a relay.
func GetRelay(ctx context.Context, pool *pgxpool.Pool, name string) (db.Relay, error) {
	row, err := db.GetRelay(ctx, pool, name)
	switch {
	case errors.Is(err, db.ErrNotFound):
		return row, noRelay(name)
	case err != nil:
		return row, fmt.Errorf("reading the relay: %w", err)
	}
	return row, nil
}

// RemoveRelay removes a relay whose tasks have all ended. Its tasks stay.
func RemoveRelay(ctx context.Context, pool *pgxpool.Pool, name string) error {
	if name == db.DefaultRelay {
		return refuse(Conflict, "", "the relay default belongs to the settings of the service")
	}
	if _, err := GetRelay(ctx, pool, name); err != nil {
		return err
	}
	var (
		removed bool
		open    int
	)
	err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) (err error) {
		removed, open, err = db.RemoveRelay(ctx, tx, name)
		return err
	})
	switch {
	case err != nil:
		return fmt.Errorf("removing the relay: %w", err)
	case !removed && open > 0:
		return refuse(Conflict, "see klingwatch list --relay "+name, "%d tasks of the relay %s are still asked about: wait for them, or cancel them", open, name)
	}
	return nil
}

// CheckRelay asks a relay with its key and says what is wrong, if anything. own is the
// client of the settings, for the relay default; nil where there is none.
func CheckRelay(ctx context.Context, pool *pgxpool.Pool, name string, own *klingapi.Client, o relays.Options) (relays.Verdict, error) {
	row, err := GetRelay(ctx, pool, name)
	if err != nil {
		return relays.Verdict{}, err
	}
	client := own
	if name != db.DefaultRelay {
		if client, err = relays.Open(row, o); err != nil {
			return relays.Verdict{}, refuse(Conflict, "", "the relay %s cannot be asked from here: %s", name, err)
		}
		defer client.Close()
	}
	if client == nil {
		return relays.Verdict{}, refuse(Conflict, "", "the relay default is asked with the settings of the service, and they are not set here: KLING_BASE_URL and a key")
	}
	tracked, err := db.SampleTasks(ctx, pool, name, relays.MaxTracked)
	if err != nil {
		return relays.Verdict{}, fmt.Errorf("reading tasks of the relay: %w", err)
	}
	refs := make([]klingapi.Ref, len(tracked))
	for i, t := range tracked {
		refs[i] = klingapi.Ref{Action: t.Action, Action2: t.Action2, TaskID: t.TaskID}
	}
	return relays.Check(ctx, client, refs)
}
