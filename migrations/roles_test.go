package migrations_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db/dbtest"
)

// letIn gives the roles, which all databases of the server share, a password.
var letIn sync.Once

// loginAs connects as one of our roles, as an administrator would set it up.
func loginAs(t *testing.T, pool *pgxpool.Pool, role string) *pgx.Conn {
	t.Helper()
	letIn.Do(func() {
		for _, role := range []string{"klingwatch_producer", "klingwatch_reader", "klingwatch_operator"} {
			if _, err := pool.Exec(t.Context(), `alter role `+role+` login password 'let-me-in'`); err != nil {
				t.Fatal(err)
			}
		}
	})
	return connectAs(t, pool, role)
}

// connectAs connects as a role that has the usual password.
func connectAs(t *testing.T, pool *pgxpool.Pool, role string) *pgx.Conn {
	t.Helper()
	cfg := pool.Config().ConnConfig.Copy()
	cfg.User, cfg.Password = role, dbtest.RolePassword
	cfg.AfterConnect = nil // the settings of our own connections
	conn, err := pgx.ConnectConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// denied runs statements that must be refused for lack of rights.
func denied(t *testing.T, conn *pgx.Conn, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		var pgErr *pgconn.PgError
		if _, err := conn.Exec(t.Context(), statement); !errors.As(err, &pgErr) || pgErr.Code != "42501" {
			t.Errorf("%s: %s: want permission denied, got %v", conn.Config().User, statement, err)
		}
	}
}

func allowed(t *testing.T, conn *pgx.Conn, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		if _, err := conn.Exec(t.Context(), statement); err != nil {
			t.Errorf("%s: %s: %v", conn.Config().User, statement, err)
		}
	}
}

func TestAProducerMayInsertTasksAndNothingElse(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	producer := loginAs(t, pool, "klingwatch_producer")
	allowed(t, producer,
		`insert into klingwatch.tasks (task_id, action, action2, external_id, callback_url, metadata, deadline_at)
		 values ('p1', 'videos', 'text2video', 'order-7', 'https://app.example/hook', '{"a":1}', now() + interval '1 h') returning id`,
		`insert into klingwatch.tasks (task_id, action, action2) values ('p1', 'videos', 'text2video') on conflict do nothing`,
		`select id, status, result from klingwatch.tasks where task_id = 'p1'`,
		`select * from klingwatch.outputs`,
		`select * from klingwatch.events`,
	)
	if got := jobs(t, pool, "poll"); got != 1 {
		t.Errorf("%d jobs, want 1", got)
	}
	for _, column := range []string{"status", "polls", "result", "finished_at", "created_at", "last_error", "unit_deduction", "late_checks_until"} {
		denied(t, producer, fmt.Sprintf(`insert into klingwatch.tasks (task_id, action, action2, %s) values ('p2', 'videos', 'text2video', default)`, column))
	}
	denied(t, producer,
		`select relay from klingwatch.relay_callbacks`,
		`update klingwatch.tasks set callback_url = null`,
		`delete from klingwatch.tasks`,
		`truncate klingwatch.tasks`,
		`select * from klingwatch.river_job`,
		`select * from klingwatch.signing_keys`,
		`select * from klingwatch.event_secret`,
		`select * from klingwatch.webhook_endpoints`,
		`select * from klingwatch.deliveries`,
		`select * from klingwatch.report_daily`,
		`insert into klingwatch.river_job (kind, args, max_attempts) values ('poll', '{"id":1}', 1)`,
		`select klingwatch.give_jobs('poll', array[1]::bigint[])`,
		`select klingwatch.refresh_reports()`,
		`create table klingwatch.mine (x int)`,
	)
}

func TestAReaderMayReadAllButSecretsAndTheQueue(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	reader := loginAs(t, pool, "klingwatch_reader")
	for _, relation := range []string{
		"tasks", "outputs", "events", "webhook_endpoints", "deliveries", "delivery_attempts", "redeliveries", "bulk_actions", "polling_pauses",
		"report_daily", "report_in_flight", "report_failures", "report_outputs", "report_webhooks", "report_deliveries", "report_throughput",
	} {
		allowed(t, reader, `select * from klingwatch.`+relation)
	}
	denied(t, reader,
		`select relay from klingwatch.relay_callbacks`,
		`select * from klingwatch.signing_keys`,
		`select * from klingwatch.event_secret`,
		`select * from klingwatch.river_job`,
		`select * from klingwatch.river_leader`,
		`insert into klingwatch.tasks (task_id, action, action2) values ('r1', 'videos', 'text2video')`,
		`update klingwatch.tasks set status = 'failed'`,
		`delete from klingwatch.events`,
		`select klingwatch.give_jobs('poll', array[1]::bigint[])`,
		`select klingwatch.refresh_reports()`,
	)
	for setting, want := range map[string]string{"statement_timeout": "1min", "idle_in_transaction_session_timeout": "1min"} {
		var got string
		if err := reader.QueryRow(t.Context(), `select current_setting($1)`, setting).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %s (%v), want %s", setting, got, err, want)
		}
	}
}

func TestRightsCanBeGivenToRolesThatCameLater(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	reader := loginAs(t, pool, "klingwatch_reader")
	allowed(t, loginAs(t, pool, "klingwatch_producer"), `select from klingwatch.tasks`)
	for _, sql := range []string{
		`revoke all on all tables in schema klingwatch from klingwatch_reader, klingwatch_producer`,
		`revoke all on schema klingwatch from klingwatch_reader, klingwatch_producer`,
	} {
		if _, err := pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	denied(t, reader, `select * from klingwatch.report_daily`)
	if _, err := pool.Exec(t.Context(), `select klingwatch.grant_roles()`); err != nil {
		t.Fatal(err)
	}
	allowed(t, reader, `select * from klingwatch.report_daily`, `select * from klingwatch.tasks`)
	allowed(t, loginAs(t, pool, "klingwatch_producer"), `insert into klingwatch.tasks (task_id, action, action2) values ('p9', 'videos', 'text2video')`)
}

// A reader that forgets to commit keeps Postgres from cleaning up what the queue
// leaves behind, until its timeout ends it. Here that is a second.
func TestAForgottenReaderDoesNotLetTheQueueBloat(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	database := pgx.Identifier{pool.Config().ConnConfig.Database}.Sanitize()
	if _, err := pool.Exec(t.Context(), `alter role klingwatch_reader in database `+database+` set idle_in_transaction_session_timeout = '1s'`); err != nil {
		t.Fatal(err)
	}
	reader := loginAs(t, pool, "klingwatch_reader")
	allowed(t, reader, `begin isolation level repeatable read`, `select count(*) from klingwatch.report_daily`)

	if _, err := pool.Exec(t.Context(), `insert into klingwatch.tasks (task_id, action, action2) select 't' || i, 'videos', 'text2video' from generate_series(1, 2000) i`); err != nil {
		t.Fatal(err)
	}
	// as a queue works: every job is changed again and again, and vacuumed
	churn := func() {
		for range 20 {
			if _, err := pool.Exec(t.Context(), `update klingwatch.river_job set scheduled_at = scheduled_at + interval '1 s'`); err != nil {
				t.Fatal(err)
			}
			if _, err := pool.Exec(t.Context(), `vacuum klingwatch.river_job`); err != nil {
				t.Fatal(err)
			}
		}
	}
	// of the rows alone: empty pages of indexes are used again only when no snapshot
	// in any database of the server is older, and other tests have theirs
	size := func() (bytes int64) {
		if err := pool.QueryRow(t.Context(), `select pg_relation_size('klingwatch.river_job')`).Scan(&bytes); err != nil {
			t.Fatal(err)
		}
		return bytes
	}
	churn()
	held := size()
	ended := make(chan error, 1)
	go func() { // the server says so without being asked
		_, err := reader.WaitForNotification(context.Background())
		ended <- err
	}()
	select {
	case err := <-ended:
		var pgErr *pgconn.PgError
		if !errors.As(err, &pgErr) || pgErr.Code != "25P03" {
			t.Errorf("the reader ended with %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the reader was not ended")
	}
	// Without the space of the first time the second would need as much again;
	// what the first vacuums cannot clean up yet is a part of that.
	churn()
	if after := size(); after > held*3/2 {
		t.Errorf("the queue grew from %d to %d bytes after the reader was gone", held, after)
	}
}
