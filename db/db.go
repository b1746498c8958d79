package db

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Querier is a pool, a connection or a transaction.
type Querier interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// ErrNotFound says that there is no such row.
var ErrNotFound = errors.New("not found")

// connectTimeout bounds one connection attempt, so that an unreachable host is
// told soon.
const connectTimeout = 5 * time.Second

// idleInTransaction is longer than any pause of ours between two statements and
// shorter than the time that a write is waited for.
const idleInTransaction = "3s"

// Open returns a pool of at most maxConns connections and checks that the
// database answers. Errors are one line and hold no password.
func Open(ctx context.Context, url string, maxConns int32) (*pgxpool.Pool, error) {
	return open(ctx, url, maxConns, nil)
}

// open is Open with further parameters of the sessions.
func open(ctx context.Context, url string, maxConns int32, parameters map[string]string) (*pgxpool.Pool, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, errors.New("DATABASE_URL is not a Postgres URL like postgres://user:password@host:5432/database")
	}
	cfg.MaxConns = maxConns
	cfg.ConnConfig.ConnectTimeout = connectTimeout
	if cfg.ConnConfig.RuntimeParams["application_name"] == "" {
		cfg.ConnConfig.RuntimeParams["application_name"] = "klingwatch"
	}
	// River's fetch gets a bad generic plan after a bulk insert: seconds instead of milliseconds.
	cfg.ConnConfig.RuntimeParams["plan_cache_mode"] = "force_custom_plan"
	// A process that is stopped in the middle of a transaction must not hold its
	// rows: the others could write none of those tasks.
	cfg.ConnConfig.RuntimeParams["idle_in_transaction_session_timeout"] = idleInTransaction
	maps.Copy(cfg.ConnConfig.RuntimeParams, parameters)
	cfg.AfterConnect = scanUTC
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, connectError(cfg, err)
	}
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		return nil, connectError(cfg, err)
	}
	return pool, nil
}

// scanUTC makes a connection return times in UTC, not in the zone of the
// machine: what is read is printed, compared and sent to others.
func scanUTC(_ context.Context, conn *pgx.Conn) error {
	types := conn.TypeMap()
	types.RegisterType(&pgtype.Type{Name: "timestamptz", OID: pgtype.TimestamptzOID, Codec: &pgtype.TimestamptzCodec{ScanLocation: time.UTC}})
	return nil
}

// connectError says where it went wrong without repeating the URL.
func connectError(cfg *pgxpool.Config, err error) error {
	place := fmt.Sprintf("database %s on %s port %d", cfg.ConnConfig.Database, cfg.ConnConfig.Host, cfg.ConnConfig.Port)
	var pgErr *pgconn.PgError
	var opErr *net.OpError
	switch {
	case errors.As(err, &pgErr):
		return fmt.Errorf("connecting to %s: %s", place, pgErr.Message)
	case errors.As(err, &opErr):
		return fmt.Errorf("connecting to %s: %s: is Postgres running there?", place, opErr.Err)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("connecting to %s: no answer within %s", place, connectTimeout)
	}
	var dnsErr *net.DNSError
	if errors.As(err, &dnsErr) {
		return fmt.Errorf("connecting to %s: the host's name cannot be resolved", place)
	}
	if cause := errors.Unwrap(err); cause != nil { // without the driver's preface, which repeats the place
		err = cause
	}
	return fmt.Errorf("connecting to %s: %w", place, err)
}

// LimitLockWait bounds, for the rest of a transaction, how long a statement waits
// for a row that somebody else has locked.
func LimitLockWait(ctx context.Context, tx pgx.Tx, limit time.Duration) error {
	_, err := tx.Exec(ctx, `select set_config('lock_timeout', $1, true)`, fmt.Sprintf("%dms", limit.Milliseconds()))
	return err
}

// one reads exactly one row into T; none gives ErrNotFound.
func one[T any](ctx context.Context, q Querier, sql string, args ...any) (T, error) {
	rows, err := q.Query(ctx, sql, args...)
	if err != nil {
		var zero T
		return zero, err
	}
	row, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[T])
	if errors.Is(err, pgx.ErrNoRows) {
		err = ErrNotFound
	}
	return row, err
}

// all reads the rows into a slice of T.
func all[T any](ctx context.Context, q Querier, sql string, args ...any) ([]T, error) {
	rows, err := q.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByName[T])
}
