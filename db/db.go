package db

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
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

// ErrNotFound says that there is no such row.
var ErrNotFound = errors.New("not found")

// LostConnection reports whether an error is about reaching the database (SQLSTATE
// classes 08 and 57P, a session that the server has ended, network errors, a context
// whose time has passed) and not about what was asked of it.
func LostConnection(err error) bool {
	if code := Code(err); code != "" {
		return inClass(code, "08", "57P") || code == idleInTransactionTimeout
	}
	if errors.Is(err, context.Canceled) { // by the caller
		return false
	}
	var netErr net.Error
	var connectErr *pgconn.ConnectError
	return errors.As(err, &netErr) || errors.As(err, &connectErr) || errors.Is(err, io.ErrUnexpectedEOF) || pgconn.SafeToRetry(err)
}

// idleInTransactionTimeout is the SQLSTATE of a session that the server has ended
// because its process stopped in the middle of a transaction: see idleInTransaction.
const idleInTransactionTimeout = "25P03"

// InEachOthersWay reports whether two transactions could not both go on
// (deadlock, serialization failure; class 40): the same write may succeed at once.
func InEachOthersWay(err error) bool { return inClass(Code(err), "40") }

// Transient reports whether the same write may succeed in a moment: the
// connection was lost, or two transactions were in each other's way.
func Transient(err error) bool { return InEachOthersWay(err) || LostConnection(err) }

// RefusedValue reports whether an error is about the data that was written
// (classes 21 to 23 and 54).
func RefusedValue(err error) bool { return inClass(Code(err), "21", "22", "23", "54") }

// RowLocked reports whether another transaction kept a row locked for longer than
// lock_timeout.
func RowLocked(err error) bool { return Code(err) == "55P03" }

// Code returns the SQLSTATE of an error, "" for one that is not the server's.
func Code(err error) string {
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pgErr.Code
	}
	return ""
}

func inClass(code string, classes ...string) bool {
	return slices.ContainsFunc(classes, func(class string) bool { return len(code) == 5 && code[:len(class)] == class })
}

// connectError says in one line which database could not be reached and why,
// without the URL, which holds the password.
func connectError(cfg *pgx.ConnConfig, err error) error {
	place := fmt.Sprintf("database %s on %s port %d", cfg.Database, cfg.Host, cfg.Port)
	var pgErr *pgconn.PgError
	var opErr *net.OpError
	switch {
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
