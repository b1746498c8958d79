// Package dbtest gives each test a fresh, migrated database on a real Postgres
// that the test process starts for itself.
//
//	func TestMain(m *testing.M) { dbtest.Main(m) }
//
//	func TestSomething(t *testing.T) {
//		t.Parallel()
//		pool := dbtest.New(t)
//	}
package dbtest

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/embeddedpg"
	"github.com/klingwatch/klingwatch/migrations"
)

// maxConns of a test's pool: enough for River and a few queries at once.
const maxConns = 10

// template is the migrated database that every test's own is copied from.
const template = "template_klingwatch"

var (
	start    sync.Once
	server   *embeddedpg.Server
	dir      string
	unlock   func() // of dir
	startErr error
	admin    *pgxpool.Pool
	copying  string // how the server copies a template
	number   atomic.Int64
)

// Main runs the tests of a package and ends the process.
func Main(m *testing.M) { os.Exit(Run(m)) }

// Run runs the tests of a package, stops the server and fails when a test left
// a goroutine behind. It returns the exit code.
func Run(m *testing.M) int {
	code := m.Run()
	if server != nil {
		admin.Close()
		if err := server.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "stopping the tests' Postgres:", err)
			code = max(code, 1)
		}
	}
	if dir != "" {
		_ = os.RemoveAll(dir)
		unlock()
	}
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, "goroutines left behind:", err)
			code = 1
		}
	}
	return code
}

// New returns a pool on a fresh, migrated database, removed when the test ends.
func New(t testing.TB) *pgxpool.Pool {
	t.Helper()
	return open(t, NewURL(t))
}

// Again returns another pool on the database of a pool, for a test that ends the
// sessions of the first.
func Again(t testing.TB, pool *pgxpool.Pool) *pgxpool.Pool {
	t.Helper()
	return open(t, pool.Config().ConnString())
}

// NewURL returns the URL of a fresh, migrated database, for tests that start
// processes.
func NewURL(t testing.TB) string {
	t.Helper()
	return create(t, template)
}

// NewEmptyURL returns the URL of a fresh database without any tables.
func NewEmptyURL(t testing.TB) string {
	t.Helper()
	return create(t, "template0")
}

// CopyURL returns the URL of a fresh database with all that another one holds, as a
// standby that is promoted has it. Nobody may be connected to that one: close its
// pools first.
func CopyURL(t testing.TB, of string) string {
	t.Helper()
	u, err := url.Parse(of)
	if err != nil {
		t.Fatal(err)
	}
	return create(t, strings.TrimPrefix(u.Path, "/"))
}

// RolePassword is that of every role of NewRole.
const RolePassword = "let-me-in"

// NewRole makes a role that may connect, and nothing else, and returns its name. It is
// removed when the test ends; who grants it more takes that back before.
func NewRole(t testing.TB) (name string) {
	t.Helper()
	name = fmt.Sprintf("stranger_%d", number.Add(1))
	ctx := context.Background()
	if _, err := admin.Exec(ctx, `create role `+name+` login password '`+RolePassword+`'`); err != nil {
		t.Fatalf("creating a role: %v", err)
	}
	t.Cleanup(func() {
		if _, err := admin.Exec(ctx, `drop role `+name); err != nil {
			t.Errorf("dropping the role: %v", err)
		}
	})
	return name
}

// NewDir returns an empty directory where the tests' server has its own, in memory where
// there is plenty. The user that runs a server may enter it; it is removed when the test ends.
func NewDir(t testing.TB) string {
	t.Helper()
	ensureServer(t)
	own, err := os.MkdirTemp(dir, "test-")
	if err == nil {
		err = os.Chmod(own, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(own) })
	return own
}

func ensureServer(t testing.TB) {
	t.Helper()
	start.Do(func() { startErr = startServer() })
	if startErr != nil {
		t.Fatal(startErr)
	}
}

func create(t testing.TB, from string) string {
	t.Helper()
	ensureServer(t)
	name := fmt.Sprintf("test_%d", number.Add(1))
	ctx := context.Background()
	if _, err := admin.Exec(ctx, fmt.Sprintf(`create database %s template %s %s`, name, from, copying)); err != nil {
		t.Fatalf("creating the test's database: %v", err)
	}
	t.Cleanup(func() {
		if _, err := admin.Exec(ctx, `drop database if exists `+name+` with (force)`); err != nil {
			t.Errorf("dropping the test's database: %v", err)
		}
	})
	return urlOf(name)
}

func open(t testing.TB, url string) *pgxpool.Pool {
	t.Helper()
	pool, err := db.Open(context.Background(), url, maxConns)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// parameters are those of a server without its promises about crashes, which no test of
// ours needs.
func parameters() map[string]string {
	return map[string]string{
		"cluster_name":     db.ThrowawayCluster,
		"fsync":            "off",
		"full_page_writes": "off",
		"max_connections":  "300",
		"max_wal_size":     "256MB", // it may be in memory
	}
}

// startServer starts Postgres and migrates the template.
func startServer() (err error) {
	ctx := context.Background()
	if dir, unlock, err = newDir(); err != nil {
		return err
	}
	if err = os.Chmod(dir, 0o755); err != nil { // the server's user enters it
		return err
	}
	server, err = embeddedpg.Start(ctx, embeddedpg.Config{
		DataDir: dir + "/postgres", Parameters: parameters(),
	})
	if err != nil {
		return err
	}
	if admin, err = pgxpool.New(ctx, server.URL()); err != nil {
		return err
	}
	// File by file takes half the work of the log. Before version 15 there was no other way.
	if err = admin.QueryRow(ctx, `select case when current_setting('server_version_num')::int >= 150000 then 'strategy file_copy' else '' end`).Scan(&copying); err != nil {
		return err
	}
	if _, err = admin.Exec(ctx, `create database `+template); err != nil {
		return err
	}
	pool, err := db.Open(ctx, urlOf(template), maxConns)
	if err != nil {
		return err
	}
	defer pool.Close() // a template must have no users
	_, err = migrations.Up(ctx, pool)
	return err
}

// tempDir makes a directory where temporary files belong.
func tempDir() (dir string, unlock func(), err error) {
	dir, err = os.MkdirTemp("", "klingwatch-dbtest-")
	return dir, func() {}, err
}

func urlOf(name string) string {
	u, err := url.Parse(server.URL())
	if err != nil {
		panic(err) // our own launcher made it
	}
	u.Path = "/" + strings.TrimPrefix(name, "/")
	return u.String()
}
