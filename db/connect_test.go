package db_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
)

// opened opens a database for a test.
func opened(t testing.TB, url string) *pgxpool.Pool {
	t.Helper()
	pool := must(db.Open(t.Context(), url, 3))(t)
	t.Cleanup(pool.Close)
	return pool
}

// A database and a role may be set up for other programs: klingwatch's sessions have the
// settings that it relies on all the same.
func TestSessionsHaveTheirOwnSettings(t *testing.T) {
	t.Parallel()
	url := dbtest.NewURL(t)
	odd := opened(t, url)
	for _, set := range []string{
		`plan_cache_mode = 'force_generic_plan'`, `idle_in_transaction_session_timeout = '1ms'`, `idle_session_timeout = '1min'`,
		`statement_timeout = '7s'`, `lock_timeout = '7s'`, `default_transaction_isolation = 'serializable'`, `synchronous_commit = 'off'`,
		`standard_conforming_strings = 'off'`, `search_path = 'elsewhere'`, `"DateStyle" = 'German'`, `"IntervalStyle" = 'iso_8601'`, `"TimeZone" = 'Asia/Kathmandu'`,
	} {
		run(t, odd, `do $$ begin execute format('alter database %I set `+strings.ReplaceAll(set, "'", "''")+`', current_database()); end $$`)
	}
	pool := opened(t, url)
	for setting, want := range map[string]string{
		"application_name": "klingwatch", "plan_cache_mode": "force_custom_plan", "idle_in_transaction_session_timeout": "3s", "idle_session_timeout": "0",
		"statement_timeout": "0", "lock_timeout": "0", "default_transaction_isolation": "read committed", "synchronous_commit": "on",
		"standard_conforming_strings": "on", "search_path": "pg_catalog", "DateStyle": "ISO, MDY", "IntervalStyle": "postgres", "TimeZone": "UTC",
		"client_encoding": "UTF8", "default_transaction_read_only": "off",
	} {
		if got := value[string](t, pool, `select current_setting($1)`, setting); got != want {
			t.Errorf("%s is %q, want %q", setting, got, want)
		}
	}
	alone := connect(t, pool)
	if got := value[string](t, alone, `select current_setting('plan_cache_mode')`); got != "force_custom_plan" {
		t.Errorf("a connection beside the pool has plan_cache_mode = %s", got)
	}
	run(t, pool, `do $$ begin execute format('alter database %I set synchronous_commit = remote_apply', current_database()); end $$`)
	if got := value[string](t, opened(t, url), `select current_setting('synchronous_commit')`); got != "remote_apply" {
		t.Errorf("synchronous_commit = remote_apply became %q", got)
	}
	if got := value[string](t, opened(t, url+"&application_name=mine"), `select current_setting('application_name')`); got != "mine" {
		t.Errorf("the URL's application_name became %q", got)
	}
}

func TestAReadOnlyPoolCannotWriteAndEndsLongQueries(t *testing.T) {
	t.Parallel()
	pool := must(db.OpenReadOnly(t.Context(), dbtest.NewURL(t), 1, 50*time.Millisecond))(t)
	defer pool.Close()
	must(db.Clock(t.Context(), pool))(t)
	if _, err := db.InsertTasks(t.Context(), pool, []db.NewTask{newTask("t")}); db.Code(err) != "25006" {
		t.Errorf("inserting a task: %v", err)
	}
	if _, err := pool.Exec(t.Context(), `select pg_sleep(60)`); db.Code(err) != "57014" {
		t.Errorf("a query of a minute: %v", err)
	}
}

// A database that is set to read only, as managed ones are at a failover, or a standby.
func TestAPoolThatWritesWantsAServerThatAcceptsWrites(t *testing.T) {
	t.Parallel()
	url := dbtest.NewURL(t)
	pool := must(db.OpenWritable(t.Context(), url, 2))(t)
	defer pool.Close()
	readOnly := func(value string) {
		t.Helper()
		run(t, opened(t, url+"&default_transaction_read_only=off"), `do $$ begin execute format('alter database %I set default_transaction_read_only = `+value+`', current_database()); end $$`)
	}
	readOnly("on")
	pool.Reset()
	for what, err := range map[string]error{
		"a new connection of the pool": db.Ping(t.Context(), pool),
		"a connection beside it":       second(pgx.ConnectConfig(t.Context(), pool.Config().ConnConfig)),
	} {
		if !errors.Is(err, db.ErrReadOnly) || db.OutageOf(err) != db.ReadOnly {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := db.OpenWritable(t.Context(), url, 2); !errors.Is(err, db.ErrReadOnly) || !strings.HasSuffix(err.Error(), ": the database is read only: let DATABASE_URL name the primary, or wait until it accepts writes") {
		t.Errorf("opening it: %v", err)
	}
	if err := db.Ping(t.Context(), opened(t, url)); !errors.Is(err, db.ErrReadOnly) {
		t.Errorf("a pool that also reads says %v", err)
	}
	readOnly("off")
	check(t, db.Ping(t.Context(), pool))
}

func second[T any](_ T, err error) error { return err }

// A character that the database's encoding lacks would be refused with the verdict that
// holds it, each time.
func TestADatabaseThatDoesNotHoldEveryCharacterIsRefused(t *testing.T) {
	t.Parallel()
	admin := opened(t, dbtest.NewEmptyURL(t))
	for _, encoding := range []string{"LATIN1", "SQL_ASCII"} {
		name := fmt.Sprintf("encoding_%s_%d", strings.ToLower(encoding), time.Now().UnixNano())
		run(t, admin, fmt.Sprintf(`create database %s encoding '%s' locale 'C' template template0`, name, encoding))
		t.Cleanup(func() { _, _ = admin.Exec(context.Background(), `drop database `+name) })
		cfg := admin.Config().ConnConfig.Copy()
		url := fmt.Sprintf("postgres://%s:%s@%s:%d/%s", cfg.User, cfg.Password, cfg.Host, cfg.Port, name)
		_, err := db.Open(t.Context(), url, 1)
		if err == nil || !strings.Contains(err.Error(), "it is encoded in "+encoding) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", encoding, err)
		}
	}
}
