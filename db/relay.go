package db

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"time"

	"github.com/jackc/pgx/v5"
)

// DefaultRelay is the name of the relay of the settings, and of tasks that name none.
const DefaultRelay = "default"

// Where the key of a relay is: relays.key_source.
const (
	KeyInSettings = "settings"   // of the service; for DefaultRelay alone
	KeyInFile     = "key_file"   // on the machine of the service
	KeyStored     = "stored"     // in the row, encrypted
	KeyByAccess   = "access_key" // Kling's own JWT, its secret key in a file
)

// Relay is a row of klingwatch.relays.
type Relay struct {
	ID             int           `json:"-"` // names the queues of its tasks
	Name           string        `json:"name"`
	BaseURL        string        `json:"base_url"`
	TaskPath       string        `json:"task_path"`
	BatchSize      int           `json:"batch_size"`      // most ids in one request, where TaskPath takes several
	PollRate       float64       `json:"poll_rate"`       // most requests per second
	OutputLifetime time.Duration `json:"output_lifetime"` // of files, from the end of their task
	KeySource      string        `json:"key_source"`
	KeyFile        *string       `json:"key_file"`
	StoredKey      *string       `json:"-"` // as stored
	AccessKey      *string       `json:"access_key"`
	SecretKeyFile  *string       `json:"secret_key_file"`
	Archive        *bool         `json:"archive"`    // whether the files of its tasks are kept; nil: as KLINGWATCH_ARCHIVE says
	Credential     *string       `json:"credential"` // fingerprint of host and key in use; nil: no service has used it yet
	Version        int           `json:"version"`    // of the row; raised by every change but that of Credential
	CreatedAt      time.Time     `json:"created_at"`
	ChangedAt      time.Time     `json:"changed_at"`
}

// Identity names address, path and key together: 8 hex digits.
func (r Relay) Identity() string {
	credential := ""
	if r.Credential != nil {
		credential = *r.Credential
	}
	sum := sha256.Sum256([]byte(r.BaseURL + "\x00" + r.TaskPath + "\x00" + credential))
	return hex.EncodeToString(sum[:4])
}

const relayColumns = `
		       id,
		       name,
		       base_url,
		       task_path,
		       batch_size,
		       poll_rate,
		       output_lifetime,
		       key_source,
		       key_file,
		       stored_key,
		       access_key,
		       secret_key_file,
		       archive,
		       credential,
		       version,
		       created_at,
		       changed_at
		from klingwatch.relays`

// Relays returns all relays by name.
func Relays(ctx context.Context, q Querier) ([]Relay, error) {
	return all[Relay](ctx, q, `
		select`+relayColumns+`
		order by name`)
}

// RelayExists reports whether there is a relay of that name. An app may ask this as well.
func RelayExists(ctx context.Context, q Querier, name string) (exists bool, err error) {
	err = q.QueryRow(ctx, `select exists (select from klingwatch.relays where name = @name)`, pgx.StrictNamedArgs{"name": name}).Scan(&exists)
	return exists, err
}

// GetRelay returns a relay, or ErrNotFound.
func GetRelay(ctx context.Context, q Querier, name string) (Relay, error) {
	found, err := all[Relay](ctx, q, `
		select`+relayColumns+`
		where name = @name`,
		pgx.StrictNamedArgs{"name": name})
	if err != nil {
		return Relay{}, err
	}
	if len(found) == 0 {
		return Relay{}, ErrNotFound
	}
	return found[0], nil
}

// relayArgs are the columns that people, or the settings, choose.
func relayArgs(r Relay) pgx.StrictNamedArgs {
	return pgx.StrictNamedArgs{
		"name": r.Name, "base_url": r.BaseURL, "task_path": r.TaskPath, "batch_size": r.BatchSize, "poll_rate": r.PollRate,
		"output_lifetime": r.OutputLifetime, "key_source": r.KeySource, "key_file": r.KeyFile, "stored_key": r.StoredKey,
		"access_key": r.AccessKey, "secret_key_file": r.SecretKeyFile, "archive": r.Archive,
	}
}

// PrepareRelayKey builds the unique index of tasks that tells their relays apart, where it
// is not there yet: AddRelay needs it, and builds it itself only for few tasks. Tasks are
// inserted meanwhile; it waits for the transactions that are open.
func PrepareRelayKey(ctx context.Context, conn *pgx.Conn) error {
	var valid *bool
	err := conn.QueryRow(ctx, `
		select (select indisvalid
		        from pg_index
		        where indexrelid = to_regclass('klingwatch."relay, task_id, action, action2: this task is tracked already"'))`).Scan(&valid)
	if err != nil || valid != nil && *valid {
		return err
	}
	for _, sql := range []string{ // an invalid one is what an interrupted attempt left
		`drop index concurrently if exists klingwatch."relay, task_id, action, action2: this task is tracked already"`,
		`create unique index concurrently "relay, task_id, action, action2: this task is tracked already" on klingwatch.tasks (task_id, relay, action, action2)`,
	} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}

// AddRelay adds a relay. Where there is one of that name already, or the database
// refuses a value, RefusedValue holds for the error. The first relay beside
// DefaultRelay needs the tasks for a moment: a trigger drops the old unique key.
func AddRelay(ctx context.Context, q Querier, r Relay) error {
	_, err := q.Exec(ctx, `
		insert into klingwatch.relays (name, base_url, task_path, batch_size, poll_rate, output_lifetime, key_source, key_file, stored_key, access_key, secret_key_file, archive)
		values (@name, @base_url, @task_path, @batch_size, @poll_rate, justify_hours(@output_lifetime::interval), @key_source, @key_file, @stored_key,
		        @access_key, @secret_key_file, @archive)`,
		relayArgs(r))
	return err
}

// ChangeRelay replaces what a relay says, unless somebody has changed it since
// r.Version was read, or it is gone: then it returns false.
func ChangeRelay(ctx context.Context, q Querier, r Relay) (changed bool, err error) {
	args := relayArgs(r)
	args["version"] = r.Version
	tag, err := q.Exec(ctx, `
		update klingwatch.relays
		set base_url = @base_url,
		    task_path = @task_path,
		    batch_size = @batch_size,
		    poll_rate = @poll_rate,
		    output_lifetime = justify_hours(@output_lifetime::interval),
		    key_source = @key_source,
		    key_file = @key_file,
		    stored_key = @stored_key,
		    access_key = @access_key,
		    secret_key_file = @secret_key_file,
		    archive = @archive,
		    version = version + 1,
		    changed_at = now()
		where name = @name and version = @version`,
		args)
	return tag.RowsAffected() > 0, err
}

// RemoveRelay removes a relay whose tasks have all ended, and are not asked about late.
// It returns how many have not: then it removes nothing. It waits for transactions that
// insert tasks of the relay, and lets none begin.
func RemoveRelay(ctx context.Context, tx pgx.Tx, name string) (removed bool, open int, err error) {
	// only a later statement sees what such a transaction inserted
	if _, err := tx.Exec(ctx, `select from klingwatch.relays where name = @name for update`, pgx.StrictNamedArgs{"name": name}); err != nil {
		return false, 0, err
	}
	err = tx.QueryRow(ctx, `
		with watched as (
			select count(*) as tasks
			from klingwatch.tasks
			where relay = @name and (finished_at is null or late_checks_until > now())
		), gone as (
			delete from klingwatch.relays
			where name = @name and (select tasks from watched) = 0
			returning name
		), uncalled as (
			delete from klingwatch.relay_callbacks where relay in (select name from gone)
		)
		select exists (select from gone), (select tasks from watched)`,
		pgx.StrictNamedArgs{"name": name}).Scan(&removed, &open)
	return removed, open, err
}

// TakeDefault makes the row of DefaultRelay say what the settings of a process say:
// address, path, rate and credential. What people chose for it stays. It returns the
// row before, nil where there was none, and whether it changed anything.
func TakeDefault(ctx context.Context, tx pgx.Tx, r Relay) (before *Relay, taken bool, err error) {
	found, err := all[Relay](ctx, tx, `
		select`+relayColumns+`
		where name = 'default'
		for update`)
	if err != nil {
		return nil, false, err
	}
	if len(found) > 0 {
		before = &found[0]
	}
	tag, err := tx.Exec(ctx, `
		insert into klingwatch.relays as r (name, base_url, task_path, poll_rate, key_source, credential)
		values ('default', @base_url, @task_path, @poll_rate, 'settings', @credential)
		on conflict (name) do update
		set base_url = excluded.base_url,
		    task_path = excluded.task_path,
		    poll_rate = excluded.poll_rate,
		    credential = excluded.credential,
		    version = r.version + 1,
		    changed_at = now()
		where (r.base_url, r.task_path, r.poll_rate, r.credential) is distinct from
		      (excluded.base_url, excluded.task_path, excluded.poll_rate, excluded.credential)`,
		pgx.StrictNamedArgs{"base_url": r.BaseURL, "task_path": r.TaskPath, "poll_rate": r.PollRate, "credential": r.Credential})
	return before, tag.RowsAffected() > 0, err
}

// NoteCredential writes which host and key a relay is asked with.
func NoteCredential(ctx context.Context, q Querier, name, credential string) error {
	_, err := q.Exec(ctx, `
		update klingwatch.relays
		set credential = @credential
		where name = @name and credential is distinct from @credential`,
		pgx.StrictNamedArgs{"name": name, "credential": credential})
	return err
}

// StoreRelayKey replaces the stored form of a relay's key, unless somebody has replaced it
// since. The key is the same: the version stays.
func StoreRelayKey(ctx context.Context, q Querier, name, before, after string) error {
	_, err := q.Exec(ctx, `update klingwatch.relays set stored_key = @after where name = @name and stored_key = @before`,
		pgx.StrictNamedArgs{"name": name, "before": before, "after": after})
	return err
}

// SampleTask is a task by which a relay can be asked.
type SampleTask struct {
	TaskID  string
	Action  string
	Action2 string
}

// SampleTasks returns the newest task of each path of a relay, at most limit, looking at
// the newest thousand.
func SampleTasks(ctx context.Context, q Querier, relay string, limit int) ([]SampleTask, error) {
	return all[SampleTask](ctx, q, `
		with newest as (
			select id,
			       task_id,
			       action,
			       action2
			from klingwatch.tasks
			where relay = @relay
			order by id desc
			limit 1000
		), latest as (
			select distinct on (action, action2) id,
			       task_id,
			       action,
			       action2
			from newest
			order by action, action2, id desc
		)
		select task_id,
		       action,
		       action2
		from latest
		order by id desc
		limit @limit`,
		pgx.StrictNamedArgs{"relay": relay, "limit": limit})
}

// RelayState is a relay with what becomes of its tasks: a row of report_relays.
type RelayState struct {
	Name           string     `json:"name"`
	BaseURL        string     `json:"base_url"`
	TaskPath       string     `json:"task_path"`
	BatchSize      int        `json:"batch_size"` // 1 where TaskPath takes one id
	PollRate       float64    `json:"poll_rate"`
	OutputLifetime float64    `json:"output_lifetime_seconds"`
	KeySource      string     `json:"key_source"`
	KeyFile        *string    `json:"key_file"`
	AccessKey      *string    `json:"access_key"`
	SecretKeyFile  *string    `json:"secret_key_file"`
	Archive        *bool      `json:"archive"` // as of Relay
	Credential     *string    `json:"credential"`
	PausedAt       *time.Time `json:"paused_at"` // nil: it is asked
	PauseReason    *string    `json:"pause_reason"`
	ProbeAt        *time.Time `json:"probe_at"`
	OpenTasks      int        `json:"open_tasks"`
	InTrouble      int        `json:"in_trouble"` // of them, those whose last poll brought no answer
}

// RelayStates returns all relays with what becomes of their tasks, by name.
func RelayStates(ctx context.Context, q Querier) ([]RelayState, error) {
	return all[RelayState](ctx, q, `
		select s.name,
		       s.base_url,
		       s.task_path,
		       s.batch_size,
		       s.poll_rate,
		       extract(epoch from s.output_lifetime)::float8 as output_lifetime,
		       s.key_source,
		       r.key_file,
		       r.access_key,
		       r.secret_key_file,
		       r.archive,
		       s.credential,
		       s.paused_at,
		       s.pause_reason,
		       s.probe_at,
		       s.open_tasks,
		       s.in_trouble
		from klingwatch.report_relays s
		join klingwatch.relays r using (name)
		order by s.name`)
}

// RelayCallback is a row of klingwatch.relay_callbacks: how a relay may call us.
type RelayCallback struct {
	Relay         string
	TokenHash     []byte     // nil: it may not
	OldTokenHash  []byte     // of the token before, while that is accepted
	SigningSecret *string    // as stored; nil: signatures are not verified
	MadeAt        *time.Time // the token
	OldUntil      *time.Time // OldTokenHash is accepted
}

// RelayCallbacks returns the callbacks of all relays, by relay.
func RelayCallbacks(ctx context.Context, q Querier) ([]RelayCallback, error) {
	return all[RelayCallback](ctx, q, `
		select relay,
		       token_hash,
		       case when old_until > now() then old_token_hash end as old_token_hash,
		       signing_secret,
		       made_at,
		       case when old_until > now() then old_until end as old_until
		from klingwatch.relay_callbacks
		order by relay`)
}

// SetCallbackToken gives the callbacks of a relay a token. The one before is accepted for
// a grace.
func SetCallbackToken(ctx context.Context, q Querier, relay string, hash []byte, grace time.Duration) error {
	_, err := q.Exec(ctx, `
		insert into klingwatch.relay_callbacks as c (relay, token_hash, made_at)
		values (@relay, @hash, now())
		on conflict (relay) do update
		set token_hash = excluded.token_hash,
		    made_at = excluded.made_at,
		    old_token_hash = c.token_hash,
		    old_until = case when c.token_hash is not null then now() + @grace::interval end`,
		pgx.StrictNamedArgs{"relay": relay, "hash": hash, "grace": grace})
	return err
}

// DropCallbackTokens has no token of a relay accepted any more.
func DropCallbackTokens(ctx context.Context, q Querier, relay string) error {
	_, err := q.Exec(ctx, `
		update klingwatch.relay_callbacks
		set token_hash = null,
		    made_at = null,
		    old_token_hash = null,
		    old_until = null
		where relay = @relay`,
		pgx.StrictNamedArgs{"relay": relay})
	return err
}

// SetCallbackSecret stores the secret with which a relay signs its callbacks; nil: they
// are not verified.
func SetCallbackSecret(ctx context.Context, q Querier, relay string, secret *string) error {
	_, err := q.Exec(ctx, `
		insert into klingwatch.relay_callbacks (relay, signing_secret)
		values (@relay, @secret)
		on conflict (relay) do update
		set signing_secret = excluded.signing_secret`,
		pgx.StrictNamedArgs{"relay": relay, "secret": secret})
	return err
}

// StoreCallbackSecret replaces the stored form of the secret, unless somebody has replaced
// it since.
func StoreCallbackSecret(ctx context.Context, q Querier, relay, before, after string) error {
	_, err := q.Exec(ctx, `update klingwatch.relay_callbacks set signing_secret = @after where relay = @relay and signing_secret = @before`,
		pgx.StrictNamedArgs{"relay": relay, "before": before, "after": after})
	return err
}
