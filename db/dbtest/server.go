package dbtest

import (
	"context"
	"os"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/embeddedpg"
	"github.com/klingwatch/klingwatch/migrations"
)

// NewServer starts a Postgres for a test that changes the server as a whole, and returns
// a pool of its administrator on a migrated database. It is stopped when the test ends.
func NewServer(t testing.TB) *pgxpool.Pool {
	t.Helper()
	dir, unlock, err := newDir()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = os.RemoveAll(dir)
		unlock()
	})
	if err := os.Chmod(dir, 0o755); err != nil { // the server's user enters it
		t.Fatal(err)
	}
	own, err := embeddedpg.Start(context.Background(), embeddedpg.Config{DataDir: dir + "/postgres", Parameters: parameters()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := own.Close(); err != nil {
			t.Errorf("stopping the test's own Postgres: %v", err)
		}
	})
	pool := open(t, own.URL())
	if _, err := migrations.Up(context.Background(), pool); err != nil {
		t.Fatal(err)
	}
	return pool
}

// SetReadOnly has a server refuse the writes of all sessions from now on, as managed ones
// do at a failover and when their disk is full; or accept them again.
func SetReadOnly(t testing.TB, admin *pgxpool.Pool, readOnly bool) {
	t.Helper()
	value := map[bool]string{true: "on", false: "off"}[readOnly]
	for _, sql := range []string{`alter system set default_transaction_read_only = ` + value, `select pg_reload_conf()`} {
		if _, err := admin.Exec(context.Background(), sql); err != nil {
			t.Fatal(err)
		}
	}
}

// OpenWritable returns a pool like that of klingwatch serve on the database of another.
func OpenWritable(t testing.TB, pool *pgxpool.Pool) *pgxpool.Pool {
	t.Helper()
	writable, err := db.OpenWritable(context.Background(), pool.Config().ConnString(), maxConns)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(writable.Close)
	return writable
}
