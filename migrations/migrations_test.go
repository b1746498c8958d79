package migrations_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/migrations"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

func emptyDatabase(t *testing.T) *pgxpool.Pool {
	t.Helper()
	pool, err := db.Open(t.Context(), dbtest.NewEmptyURL(t), 10)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

func TestUpBringsAnEmptyDatabaseToTheSchemaOnce(t *testing.T) {
	t.Parallel()
	pool := emptyDatabase(t)
	pending, err := migrations.Pending(t.Context(), pool)
	if err != nil || len(pending) == 0 {
		t.Fatalf("pending in an empty database: %v, %v", pending, err)
	}
	applied, err := migrations.Up(t.Context(), pool)
	if err != nil || len(applied) != len(pending) {
		t.Fatalf("applied %d of %d: %v", len(applied), len(pending), err)
	}
	if again, err := migrations.Up(t.Context(), pool); err != nil || len(again) != 0 {
		t.Fatalf("a second time: %v, %v", again, err)
	}
	if left, err := migrations.Pending(t.Context(), pool); err != nil || len(left) != 0 {
		t.Fatalf("still pending: %v, %v", left, err)
	}
}

func TestTwoProcessesThatMigrateAtOnceDoItOnce(t *testing.T) {
	t.Parallel()
	url := dbtest.NewEmptyURL(t)
	const processes = 4
	var (
		wg      sync.WaitGroup
		applied [processes]int
		errs    [processes]error
	)
	for i := range processes {
		pool, err := db.Open(t.Context(), url, 4)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(pool.Close)
		wg.Go(func() {
			var done []migrations.Migration
			done, errs[i] = migrations.Up(t.Context(), pool)
			applied[i] = len(done)
		})
	}
	wg.Wait()
	workers := 0
	for i := range processes {
		if errs[i] != nil {
			t.Error(errs[i])
		}
		if applied[i] > 0 {
			workers++
		}
	}
	if workers != 1 {
		t.Errorf("%d of %d migrated, want 1", workers, processes)
	}
}

// Any role that may connect can hold the lock: it stops nobody who has nothing to
// migrate, and who waits is told for whom.
func TestAStrangerThatHoldsTheLockIsNamedAndStopsOnlyRealMigrations(t *testing.T) {
	t.Parallel()
	pool, empty := dbtest.New(t), emptyDatabase(t)
	role := dbtest.NewRole(t)
	hold := func(pool *pgxpool.Pool) *pgx.Conn {
		cfg := pool.Config().ConnConfig
		cfg.User, cfg.Password, cfg.RuntimeParams["application_name"] = role, dbtest.RolePassword, "psql"
		conn, err := pgx.ConnectConfig(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close(context.Background()) })
		if _, err := conn.Exec(t.Context(), `select pg_advisory_lock($1)`, migrations.LockKey); err != nil {
			t.Fatal(err)
		}
		return conn
	}
	hold(pool)
	begun := time.Now()
	if applied, err := migrations.Up(t.Context(), pool); err != nil || len(applied) > 0 || time.Since(begun) > 3*time.Second {
		t.Errorf("with nothing to migrate: %v, %v after %s", applied, err, time.Since(begun))
	}
	holder := hold(empty)
	told, done := make(chan string, 10), make(chan error, 1)
	go func() {
		_, err := migrations.UpTelling(t.Context(), empty, func(message string) { told <- message })
		done <- err
	}()
	want := fmt.Sprintf(`waiting for the migration lock: the session with pid %d of role %q, application "psql", holds it`, holder.PgConn().PID(), role)
	if message := <-told; message != want {
		t.Errorf("told %q, want %q", message, want)
	}
	if err := holder.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("when the lock is free: %v", err)
	}
	if len(told) > 0 {
		t.Errorf("told again: %s", <-told)
	}
}

func TestADatabaseNewerThanTheBinaryIsRefused(t *testing.T) {
	t.Parallel()
	for _, insert := range []string{
		`insert into klingwatch.migrations (version, name) values (999, '999_future')`,
		`insert into klingwatch.river_migration (line, version) values ('main', 999)`,
	} {
		pool := dbtest.New(t)
		if _, err := pool.Exec(t.Context(), insert); err != nil {
			t.Fatal(err)
		}
		if _, err := migrations.Up(t.Context(), pool); !errors.Is(err, migrations.ErrNewerDatabase) {
			t.Errorf("Up after %q: %v", insert, err)
		}
		if _, err := migrations.Pending(t.Context(), pool); !errors.Is(err, migrations.ErrNewerDatabase) {
			t.Errorf("Pending after %q: %v", insert, err)
		}
	}
}

func TestEveryTableAndColumnHasAComment(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	rows, _ := pool.Query(t.Context(), `
		select c.relname || coalesce('.' || a.attname, '')
		from pg_class c
		left join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
		where c.relnamespace = 'klingwatch'::regnamespace and c.relkind in ('r', 'v', 'p') and c.relname not like 'river%'
		  and (obj_description(c.oid) is null or col_description(c.oid, a.attnum) is null)`)
	uncommented, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(uncommented) > 0 {
		t.Errorf("without a comment: %v (%v)", uncommented, err)
	}
}

func TestBadRowsAreRefusedWithAMessageThatNamesTheColumn(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	long := strings.Repeat("x", 300)
	for _, c := range []struct{ name, column, task, action, action2, callback, metadata, external string }{
		{name: "empty id", column: "task_id", task: ""},
		{name: "long id", column: "task_id", task: long},
		{name: "id with a space", column: "task_id", task: "a b"},
		{name: "id that climbs the path", column: "task_id", task: ".."},
		{name: "empty action", column: "action", action: "-"},
		{name: "action that climbs the path", column: "action", action: ".."},
		{name: "action with a percent sign", column: "action", action: "%2e"},
		{name: "action with a slash", column: "action", action: "a/b"},
		{name: "action2 with three slashes", column: "action2", action2: "a/b/c/d"},
		{name: "action2 that climbs the path", column: "action2", action2: "a/../b"},
		{name: "action2 with an empty part", column: "action2", action2: "a//b"},
		{name: "action2 with a slash at its end", column: "action2", action2: "a/"},
		{name: "action2 with a query", column: "action2", action2: "a?b"},
		{name: "relative callback", column: "callback_url", callback: "/hook"},
		{name: "other scheme", column: "callback_url", callback: "ftp://host/x"},
		{name: "callback with a password", column: "callback_url", callback: "https://u:p@host/x"},
		{name: "callback without a host", column: "callback_url", callback: "https:///x"},
		{name: "callback with a space", column: "callback_url", callback: "https://host/a b"},
		{name: "metadata array", column: "metadata", metadata: "[]"},
		{name: "metadata string", column: "metadata", metadata: `"x"`},
		{name: "huge metadata", column: "metadata", metadata: `{"a":"` + strings.Repeat("x", 20000) + `"}`},
		{name: "deep metadata", column: "metadata", metadata: strings.Repeat(`{"a":`, 9000) + "1" + strings.Repeat("}", 9000)},
		{name: "long external id", column: "external_id", external: long},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			or := func(value, fallback string) string {
				switch {
				case value == "-":
					return ""
				case value == "":
					return fallback
				}
				return value
			}
			task := c.task
			if c.column != "task_id" {
				task = c.name[:1] + "ok"
			}
			_, err := pool.Exec(t.Context(), `
				insert into klingwatch.tasks (task_id, action, action2, callback_url, metadata, external_id)
				values ($1, $2, $3, nullif($4, ''), $5, nullif($6, ''))`,
				task, or(c.action, "videos"), or(c.action2, "text2video"), c.callback, or(c.metadata, "{}"), c.external)
			var pgErr *pgconn.PgError
			if !errors.As(err, &pgErr) || !strings.Contains(pgErr.Message, `"`+c.column+":") {
				t.Errorf("want a refusal that names %s, got %v", c.column, err)
			}
		})
	}
}

// jobs counts the River jobs of a kind.
func jobs(t *testing.T, pool *pgxpool.Pool, kind string) (n int) {
	t.Helper()
	if err := pool.QueryRow(t.Context(), `select count(*) from klingwatch.river_job where kind = $1`, kind).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestEveryWayOfInsertingGivesEachTaskOneJobAndWakesAWorker(t *testing.T) {
	t.Parallel()
	ways := map[string]struct {
		insert func(ctx context.Context, conn *pgx.Conn) error
		jobs   int
	}{
		"single row": {func(ctx context.Context, conn *pgx.Conn) error {
			_, err := conn.Exec(ctx, `insert into klingwatch.tasks (task_id, action, action2) values ('CjMT7WdSwWcAAAAAALvB3g', 'images', 'generations')`)
			return err
		}, 1},
		"many rows": {func(ctx context.Context, conn *pgx.Conn) error {
			_, err := conn.Exec(ctx, `insert into klingwatch.tasks (task_id, action, action2) select 'm' || i, 'videos', 'avatar/image2video' from generate_series(1, 50) i`)
			return err
		}, 50},
		"copy": {func(ctx context.Context, conn *pgx.Conn) error {
			_, err := conn.CopyFrom(ctx, pgx.Identifier{"klingwatch", "tasks"}, []string{"task_id", "action", "action2"},
				pgx.CopyFromSlice(20, func(i int) ([]any, error) { return []any{string(rune('a' + i)), "videos", "text2video"}, nil }))
			return err
		}, 20},
		"on conflict do nothing": {func(ctx context.Context, conn *pgx.Conn) error {
			_, err := conn.Exec(ctx, `insert into klingwatch.tasks (task_id, action, action2) values ('x', 'videos', 'lip-sync'), ('x', 'videos', 'lip-sync'), ('y', 'videos', 'lip-sync') on conflict do nothing`)
			return err
		}, 2},
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := dbtest.New(t)
			listener, err := pool.Acquire(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer listener.Release()
			if _, err := listener.Exec(t.Context(), `listen "klingwatch.river_insert"`); err != nil {
				t.Fatal(err)
			}
			conn, err := pool.Acquire(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Release()
			if err := way.insert(t.Context(), conn.Conn()); err != nil {
				t.Fatal(err)
			}
			if got := jobs(t, pool, "poll"); got != way.jobs {
				t.Errorf("%d jobs, want %d", got, way.jobs)
			}
			note, err := listener.Conn().WaitForNotification(t.Context())
			if err != nil || !strings.Contains(note.Payload, `"poll-`) {
				t.Errorf("notification %v, %v", note, err)
			}
		})
	}
}

func TestAnInsertThatIsRolledBackLeavesNoJob(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	undo := errors.New("undo")
	err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), `insert into klingwatch.tasks (task_id, action, action2) values ('t', 'videos', 'text2video')`); err != nil {
			return err
		}
		return undo
	})
	if !errors.Is(err, undo) {
		t.Fatal(err)
	}
	if got := jobs(t, pool, "poll"); got != 0 {
		t.Errorf("%d jobs of a task that was never committed", got)
	}
}
