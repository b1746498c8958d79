package db_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

// must hands on a value; an error ends the test.
func must[T any](value T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		check(t, err)
		return value
	}
}

// check ends the test on an error.
func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// run runs a statement that sets up a test.
func run(t testing.TB, q db.Querier, sql string, args ...any) {
	t.Helper()
	_, err := q.Exec(t.Context(), sql, args...)
	check(t, err)
}

// value returns the one value of a query.
func value[T any](t testing.TB, q db.Querier, sql string, args ...any) (v T) {
	t.Helper()
	check(t, q.QueryRow(t.Context(), sql, args...).Scan(&v))
	return v
}

// begin begins a transaction that is rolled back when the test ends.
func begin(t testing.TB, pool *pgxpool.Pool) pgx.Tx {
	t.Helper()
	tx, err := pool.Begin(t.Context())
	check(t, err)
	t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	return tx
}

// commit commits a transaction.
func commit(t testing.TB, tx pgx.Tx) {
	t.Helper()
	check(t, tx.Commit(t.Context()))
}

// near reports whether two durations differ by what a slow test may take.
func near(got, want time.Duration) bool { return (got - want).Abs() < 20*time.Second }

func TestAStatementWaitsForALockNoLongerThanTheLimit(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	id := track(t, pool, "t")[0]
	holder := begin(t, pool)
	run(t, holder, `select from klingwatch.tasks where id = $1 for update`, id)
	waiter := must(pool.BeginTx(t.Context(), db.LimitLockWait(20*time.Millisecond)))(t)
	if _, err := waiter.Exec(t.Context(), `update klingwatch.tasks set polls = 1 where id = $1`, id); !db.RowLocked(err) {
		t.Errorf("writing a locked row: %v", err)
	}
	check(t, waiter.Rollback(t.Context()))
	if got := value[string](t, pool, `select current_setting('lock_timeout')`); got != "0" {
		t.Errorf("lock_timeout is %s after the transaction", got)
	}
}
