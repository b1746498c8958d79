package dbtest

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// patience bounds waiting for something that must happen.
const patience = 30 * time.Second

// Blocked starts work and returns once it waits for a lock that another
// transaction of the pool's database holds. End that transaction, then call wait:
// it returns what work returned. Work that ends without waiting fails the test.
//
//	first := ... // a transaction that holds the row
//	wait := dbtest.Blocked(t, pool, func() error { ... })
//	first.Commit(ctx)
//	err := wait()
func Blocked(t testing.TB, pool *pgxpool.Pool, work func() error) (wait func() error) {
	t.Helper()
	before, deadline := waiting(t, pool), time.Now().Add(patience)
	done := make(chan error, 1)
	go func() { done <- work() }()
	for waiting(t, pool) <= before {
		select {
		case err := <-done:
			t.Fatalf("it did not wait for the other transaction, and returned %v", err)
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("within %s it neither ended nor waited for the other transaction", patience)
		}
	}
	return func() error { return <-done }
}

// waiting counts the sessions of the pool's database that wait for a lock.
func waiting(t testing.TB, pool *pgxpool.Pool) (n int) {
	t.Helper()
	const sql = `select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`
	if err := pool.QueryRow(context.Background(), sql).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}
