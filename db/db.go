package db

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
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

// connectTimeout bounds one connection attempt, so that an unreachable host is
// reported soon.
const connectTimeout = 5 * time.Second

// idleInTransaction is longer than any pause of ours between two statements of a
// transaction, and shorter than the time that a writer waits for a lock.
const idleInTransaction = "3s"

// Open returns a pool of at most maxConns connections and checks that the
// database answers. Errors are one line and hold no password.
func Open(ctx context.Context, url string, maxConns int32) (*pgxpool.Pool, error) {
	return open(ctx, url, maxConns, nil)
}

// OpenReadOnly is Open for programs that only look: the server refuses their
// writes, and ends a query that takes longer than limit.
func OpenReadOnly(ctx context.Context, url string, maxConns int32, limit time.Duration) (*pgxpool.Pool, error) {
	return open(ctx, url, maxConns, map[string]string{
		"default_transaction_read_only": "on",
		"statement_timeout":             strconv.FormatInt(limit.Milliseconds(), 10),
	})
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
	// The queue's fetch gets a bad generic plan after a bulk insert: seconds instead of milliseconds.
	cfg.ConnConfig.RuntimeParams["plan_cache_mode"] = "force_custom_plan"
	// A process that is stopped in the middle of a transaction must not keep its
	// rows locked: the other processes could write none of those tasks.
	cfg.ConnConfig.RuntimeParams["idle_in_transaction_session_timeout"] = idleInTransaction
	maps.Copy(cfg.ConnConfig.RuntimeParams, parameters)
	cfg.AfterConnect = scanUTC
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

// LimitLockWait bounds how long each later statement of a transaction waits for a
// row that another transaction has locked. Where it waits longer, RowLocked holds
// for its error.
func LimitLockWait(ctx context.Context, tx pgx.Tx, limit time.Duration) error {
	_, err := tx.Exec(ctx, `select set_config('lock_timeout', $1, true)`, fmt.Sprintf("%dms", limit.Milliseconds()))
	return err
}

// one reads exactly one row into a T, by column names. It returns ErrNotFound
// where there is none.
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

// all reads the rows into a slice of T, by column names.
func all[T any](ctx context.Context, q Querier, sql string, args ...any) ([]T, error) {
	rows, err := q.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByName[T])
}

// existing turns "no row was changed" into ErrNotFound.
func existing(tag pgconn.CommandTag, err error) error {
	if err == nil && tag.RowsAffected() == 0 {
		return ErrNotFound
	}
	return err
}
