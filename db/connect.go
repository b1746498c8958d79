package db

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
)

// connectTimeout bounds one connection attempt, so that an unreachable host is
// reported soon.
const connectTimeout = 5 * time.Second

// Open returns a pool of at most maxConns connections and checks that the database
// answers, is encoded in UTF8 and gives each connection a session of its own. Errors
// are one line and hold no password.
func Open(ctx context.Context, url string, maxConns int32) (*pgxpool.Pool, error) {
	return open(ctx, url, maxConns, func(*pgxpool.Config) settings { return nil })
}

// OpenWritable is Open for programs that write all the time. Each connection, also a
// later one, is made to a server that accepts writes, and is refused with ErrReadOnly
// otherwise; of several hosts in the URL the one that accepts them is taken.
func OpenWritable(ctx context.Context, url string, maxConns int32) (*pgxpool.Pool, error) {
	return open(ctx, url, maxConns, func(cfg *pgxpool.Config) settings {
		cfg.ConnConfig.ValidateConnect = requireWritable
		return nil
	})
}

// OpenReadOnly is Open for programs that only look: the server refuses their
// writes, and ends a query that takes longer than limit.
func OpenReadOnly(ctx context.Context, url string, maxConns int32, limit time.Duration) (*pgxpool.Pool, error) {
	return open(ctx, url, maxConns, func(*pgxpool.Config) settings {
		return settings{
			{"default_transaction_read_only", "on"},
			{"statement_timeout", strconv.FormatInt(limit.Milliseconds(), 10) + "ms"},
		}
	})
}

// open is Open with changes to the configuration, and further settings of the sessions.
func open(ctx context.Context, url string, maxConns int32, change func(*pgxpool.Config) settings) (*pgxpool.Pool, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, errors.New("DATABASE_URL is not a Postgres URL like postgres://user:password@host:5432/database")
	}
	cfg.MaxConns = maxConns
	cfg.ConnConfig.ConnectTimeout = connectTimeout
	if cfg.ConnConfig.RuntimeParams["application_name"] == "" {
		cfg.ConnConfig.RuntimeParams["application_name"] = "klingwatch"
	}
	cfg.AfterConnect = scanUTC
	further := change(cfg)
	if err := inspect(ctx, cfg.ConnConfig); err != nil {
		return nil, connectError(cfg.ConnConfig, err)
	}
	cfg.ConnConfig.AfterConnect = append(sessionSettings(), further...).apply
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, connectError(cfg.ConnConfig, err)
	}
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		return nil, connectError(cfg.ConnConfig, err)
	}
	return pool, nil
}

// scanUTC makes a connection return times in UTC instead of the machine's zone:
// they are printed, compared and sent to others.
func scanUTC(_ context.Context, conn *pgx.Conn) error {
	types := conn.TypeMap()
	types.RegisterType(&pgtype.Type{Name: "timestamptz", OID: pgtype.TimestamptzOID, Codec: &pgtype.TimestamptzCodec{ScanLocation: time.UTC}})
	return nil
}

// settings are those of a session: names and values.
type settings [][2]string

// sessionSettings are what klingwatch relies on, whatever the role, the database or the
// server say. They are set once a connection is open: poolers such as PgBouncer refuse
// start-up parameters.
func sessionSettings() settings {
	return settings{
		// The queue's fetch gets a bad generic plan after a bulk insert: seconds instead of milliseconds.
		{"plan_cache_mode", "force_custom_plan"},
		// A process that is stopped in the middle of a transaction must not keep its rows
		// locked. This is longer than any pause of ours between two statements, and shorter
		// than the time that a writer waits for a lock.
		{"idle_in_transaction_session_timeout", "3s"},
		{"idle_session_timeout", "0"},
		{"transaction_timeout", "0"},
		// callers bound their statements, and their waits for locks
		{"statement_timeout", "0"},
		{"lock_timeout", "0"},
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_deferrable", "off"},
		// A task that ended stays ended: a commit is on disk when it is reported.
		{"synchronous_commit", "on"},
		{"client_encoding", "UTF8"},
		{"standard_conforming_strings", "on"},
		{"search_path", "pg_catalog"},
		{"DateStyle", "ISO, MDY"},
		{"IntervalStyle", "postgres"},
		{"TimeZone", "UTC"},
	}
}

// apply sets up a session. Settings that this version of Postgres lacks are left out, and
// so is a synchronous_commit that promises more than ours.
func (s settings) apply(ctx context.Context, conn *pgconn.PgConn) error {
	values := make([]string, len(s))
	for i, setting := range s {
		values[i] = fmt.Sprintf("('%s', '%s')", setting[0], setting[1])
	}
	_, err := conn.Exec(ctx, `
		select pg_catalog.set_config(s.name, s.value, false)
		from (values `+strings.Join(values, ", ")+`) as s (name, value)
		where pg_catalog.current_setting(s.name, true) <> s.value
		  and not (s.name = 'synchronous_commit' and pg_catalog.current_setting(s.name) = 'remote_apply')`).ReadAll()
	return err
}

// ErrReadOnly says that a server does not accept writes: it is a standby, or was set to
// read only, as managed databases do at a failover and when their disk is full.
var ErrReadOnly = errors.New("the database is read only")

// ReadOnlyTodo is what to do about ErrReadOnly.
const ReadOnlyTodo = "let DATABASE_URL name the primary, or wait until it accepts writes"

// requireWritable refuses a connection to a server that does not accept writes.
func requireWritable(ctx context.Context, conn *pgconn.PgConn) error {
	readOnly, err := ask(ctx, conn, `show transaction_read_only`)
	if err == nil && readOnly == "on" {
		err = ErrReadOnly
	}
	return err
}

// Look calls work with a connection of a pool, or where its server does not accept writes
// any more, with one that only reads.
func Look(ctx context.Context, pool *pgxpool.Pool, work func(Querier) error) error {
	conn, err := pool.Acquire(ctx)
	if err == nil {
		defer conn.Release()
		return work(conn)
	}
	if !errors.Is(err, ErrReadOnly) {
		return err
	}
	cfg := pool.Config().ConnConfig
	cfg.ValidateConnect = nil
	reading, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return err
	}
	defer reading.Close(context.WithoutCancel(ctx))
	return work(reading)
}

// inspect refuses a database that klingwatch cannot work on right, with the reason.
func inspect(ctx context.Context, cfg *pgx.ConnConfig) error {
	conn, err := pgconn.ConnectConfig(ctx, &cfg.Config)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	if encoding := conn.ParameterStatus("server_encoding"); encoding != "UTF8" {
		return unsuitable(fmt.Sprintf("it is encoded in %s, which does not hold every character of the relays' answers: use a database that was created with encoding 'UTF8' template template0", encoding))
	}
	backend, err := ask(ctx, conn, `select pg_catalog.pg_backend_pid()`)
	if err != nil {
		return err
	}
	if backend == strconv.FormatUint(uint64(conn.PID()), 10) {
		return nil
	}
	return inspectPooler(ctx, cfg, conn, backend) // a pooler answered in the server's place
}

// inspectPooler refuses a pooler that gives a server's session to one client after the
// other: locks, settings and LISTEN belong to a session. backend is the one that conn had
// last; it is lent to a second client meanwhile, or conn has another one now.
func inspectPooler(ctx context.Context, cfg *pgx.ConnConfig, conn *pgconn.PgConn, backend string) error {
	second, err := pgconn.ConnectConfig(ctx, &cfg.Config)
	if err != nil {
		return err
	}
	defer second.Close(ctx)
	others, err := ask(ctx, second, `begin; select pg_catalog.pg_backend_pid()`)
	if err != nil && Code(err) == "" {
		return err
	}
	now, err := ask(ctx, conn, `select pg_catalog.pg_backend_pid()`)
	if err != nil {
		return err
	}
	if others == "" || others == backend || now != backend {
		return unsuitable("a pooler lends each transaction another session of the server, but klingwatch needs sessions of its own: set pool_mode = session for it, or let DATABASE_URL name the server itself")
	}
	return nil
}

// ask returns the last value of the answer to statements; it prepares nothing.
func ask(ctx context.Context, conn *pgconn.PgConn, sql string) (value string, err error) {
	results, err := conn.Exec(ctx, sql).ReadAll()
	if err != nil {
		return "", err
	}
	for _, result := range results {
		for _, row := range result.Rows {
			value = string(row[len(row)-1])
		}
	}
	return value, nil
}

// unsuitable says why klingwatch cannot work on a database that answers.
type unsuitable string

// Error returns the reason.
func (u unsuitable) Error() string { return string(u) }

// connectError says in one line which database could not be reached and why,
// without the URL, which holds the password.
func connectError(cfg *pgx.ConnConfig, err error) error {
	place := fmt.Sprintf("database %s on %s port %d", cfg.Database, cfg.Host, cfg.Port)
	var pgErr *pgconn.PgError
	var opErr *net.OpError
	switch {
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("connecting to %s: %w", place, context.Canceled)
	case errors.Is(err, ErrReadOnly):
		return fmt.Errorf("connecting to %s: %w: %s", place, ErrReadOnly, ReadOnlyTodo)
	case errors.As(err, new(unsuitable)):
		return fmt.Errorf("%s: %w", place, err)
	case errors.As(err, &pgErr):
		return fmt.Errorf("connecting to %s: %s", place, pgErr.Message)
	case errors.As(err, &opErr):
		return fmt.Errorf("connecting to %s: %s: is Postgres running there?", place, opErr.Err)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("connecting to %s: no answer in time: is Postgres running there, and reachable?", place)
	}
	var dnsErr *net.DNSError
	if errors.As(err, &dnsErr) {
		return fmt.Errorf("connecting to %s: the host's name cannot be resolved", place)
	}
	return fmt.Errorf("connecting to %s: %w", place, lastCause(err))
}

// lastCause returns why the last of several tries to connect failed (with encryption,
// then without), without the driver's prefaces, which repeat the place.
func lastCause(err error) error {
	connectErr, ok := errors.AsType[*pgconn.ConnectError](err)
	if !ok {
		return err
	}
	last := errors.Unwrap(connectErr)
	if tries, ok := last.(interface{ Unwrap() []error }); ok {
		all := tries.Unwrap()
		last = all[len(all)-1]
	}
	if cause := errors.Unwrap(last); cause != nil {
		return cause
	}
	return last
}
