package migrations_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/migrations"
)

func TestUpNeedsOneConnectionOfThePool(t *testing.T) {
	t.Parallel()
	for name, url := range map[string]string{"empty": dbtest.NewEmptyURL(t), "migrated": dbtest.NewURL(t)} {
		pool, err := db.Open(t.Context(), url, 1)
		if err != nil {
			t.Fatal(err)
		}
		defer pool.Close()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if _, err := migrations.Up(ctx, pool); err != nil {
			t.Errorf("%s database: %v", name, err)
		}
	}
}

func TestSeveralCallersMigrateOnOnePool(t *testing.T) {
	t.Parallel()
	const callers = 4
	pool, err := db.Open(t.Context(), dbtest.NewEmptyURL(t), callers)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	done := make(chan error, callers)
	for range callers {
		go func() { _, err := migrations.Up(ctx, pool); done <- err }()
	}
	for range callers {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// patience bounds waiting for something that must happen.
const patience = 30 * time.Second

// connect returns a connection of its own to a fresh, migrated database, and a second one.
func connect(t *testing.T) (one, other *pgx.Conn) {
	t.Helper()
	url := dbtest.NewURL(t)
	conns := make([]*pgx.Conn, 2)
	for i := range conns {
		conn, err := pgx.Connect(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close(context.Background()) })
		conns[i] = conn
	}
	return conns[0], conns[1]
}

// Whoever asks for a table that a step waits for stands behind the step: an
// insert must get through while a long transaction keeps the step waiting.
func TestAStepThatWaitsForALockLetsInsertsThrough(t *testing.T) {
	t.Parallel()
	migrator, app := connect(t)
	ctx := t.Context()
	reader, err := pgx.Connect(ctx, app.Config().ConnString())
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close(context.Background())
	long, err := reader.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := long.Exec(ctx, `select count(*) from klingwatch.tasks`); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		done <- migrations.ApplyStep(ctx, migrator, `alter table klingwatch.tasks add column note text`)
	}()
	for waiting := false; !waiting; {
		const sql = `select exists (select from pg_locks where relation = 'klingwatch.tasks'::regclass and not granted)`
		if err := app.QueryRow(ctx, sql).Scan(&waiting); err != nil {
			t.Fatal(err)
		}
	}
	begun := time.Now()
	if _, err := app.Exec(ctx, `insert into klingwatch.tasks (task_id, action, action2) values ('t', 'videos', 'text2video')`); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took > 3*time.Second {
		t.Errorf("an insert waited %s behind the migration", took)
	}
	if err := long.Rollback(ctx); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("the step, after the long transaction has ended: %v", err)
	}
}

func TestAStepWithoutATransactionBuildsIndexesConcurrentlyAndStandsASecondRun(t *testing.T) {
	t.Parallel()
	migrator, app := connect(t)
	ctx := t.Context()
	const sql = "-- no transaction\n" +
		"create index concurrently if not exists tasks_app on klingwatch.tasks (request_id);\n\n" +
		"create unique index concurrently if not exists tasks_once on klingwatch.tasks (external_id);\n"
	if _, err := app.Exec(ctx, `insert into klingwatch.tasks (task_id, action, action2, external_id)
		values ('a', 'videos', 'text2video', 'same'), ('b', 'videos', 'text2video', 'same')`); err != nil {
		t.Fatal(err)
	}
	if err := migrations.ApplyStep(ctx, migrator, sql); err == nil {
		t.Fatal("a unique index was built over equal values")
	}
	// what the first run left is an invalid index; the second must build it anew
	if _, err := app.Exec(ctx, `delete from klingwatch.tasks where task_id = 'b'`); err != nil {
		t.Fatal(err)
	}
	if err := migrations.ApplyStep(ctx, migrator, sql); err != nil {
		t.Fatal(err)
	}
	var valid int
	const count = `select count(*) from pg_index where indisvalid and indexrelid in ('klingwatch.tasks_app'::regclass, 'klingwatch.tasks_once'::regclass)`
	if err := app.QueryRow(ctx, count).Scan(&valid); err != nil || valid != 2 {
		t.Errorf("%d valid indexes, %v", valid, err)
	}
}
