package migrations_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/migrations"
)

// loginIn makes a login in roles of ours, as the README shows, and connects as it.
func loginIn(t *testing.T, pool *pgxpool.Pool, roles ...string) *pgx.Conn {
	t.Helper()
	login := dbtest.NewRole(t)
	for _, role := range roles {
		exec(t, pool, `grant `+role+` to `+login)
	}
	return connectAs(t, pool, login)
}

func exec(t *testing.T, pool *pgxpool.Pool, sql string) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%v in %s", err, sql)
	}
}

// read returns the first column of a query's rows, in order.
func read(t *testing.T, conn *pgx.Conn, sql string, args ...any) []string {
	t.Helper()
	rows, _ := conn.Query(t.Context(), sql, args...)
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatalf("%s: %v in %s", conn.Config().User, err, sql)
	}
	slices.Sort(list)
	return list
}

// refused runs a statement that must be refused with a code.
func refused(t *testing.T, conn *pgx.Conn, code, statement string) {
	t.Helper()
	_, err := conn.Exec(t.Context(), statement)
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); !ok || pgErr.Code != code {
		t.Errorf("%s: %s: want %s, got %v", conn.Config().User, statement, code, err)
	}
}

const visible = `select task_id from klingwatch.tasks`

// twoApps are logins of two apps with a task each, beside one from before and one of the
// owner; each task has an output and an event.
func twoApps(t *testing.T) (pool *pgxpool.Pool, shop, blog *pgx.Conn) {
	t.Helper()
	pool = dbtest.New(t)
	exec(t, pool, `insert into klingwatch.tasks (task_id, action, action2, app) values ('before', 'videos', 'text2video', ''), ('owner', 'videos', 'text2video', default)`)
	shop, blog = loginIn(t, pool, "klingwatch_producer"), loginIn(t, pool, "klingwatch_producer")
	allowed(t, shop, `insert into klingwatch.tasks (task_id, action, action2) values ('shop', 'videos', 'text2video') returning id`)
	allowed(t, blog, `insert into klingwatch.tasks (task_id, action, action2) values ('blog', 'videos', 'text2video') returning id`)
	exec(t, pool, `insert into klingwatch.outputs (task, kind, position, url) select id, 'video', 0, task_id from klingwatch.tasks`)
	exec(t, pool, `insert into klingwatch.events (event_id, task, sequence, type, payload) select task_id, id, 1, 'task.submitted', '{}' from klingwatch.tasks`)
	exec(t, pool, `insert into klingwatch.events (event_id, type, payload) values ('of an endpoint', 'endpoint.disabled', '{}')`)
	return pool, shop, blog
}

func TestAnAppMeetsOnlyItsOwnTasks(t *testing.T) {
	t.Parallel()
	pool, shop, blog := twoApps(t)
	for conn, want := range map[*pgx.Conn][]string{shop: {"before", "shop"}, blog: {"before", "blog"}} {
		for _, query := range []string{visible, `select url from klingwatch.outputs`, `select event_id from klingwatch.events`} {
			if got := read(t, conn, query); !slices.Equal(got, want) {
				t.Errorf("%s: %s: %q, want %q", conn.Config().User, query, got, want)
			}
		}
	}
	if n := jobs(t, pool, "poll"); n != 4 {
		t.Errorf("%d tasks have jobs, want 4", n)
	}
}

func TestAnAppCannotInsertInAnothersName(t *testing.T) {
	t.Parallel()
	pool, shop, blog := twoApps(t)
	const insert = `insert into klingwatch.tasks (task_id, action, action2, app) values ('x', 'videos', 'text2video', `
	for _, other := range []string{blog.Config().User, "klingwatch_producer", ""} {
		refused(t, shop, "42501", insert+`'`+other+`')`)
	}
	allowed(t, shop, insert+`'`+shop.Config().User+`')`, insert+`current_user) on conflict do nothing`)
	if n := jobs(t, pool, "poll"); n != 5 {
		t.Errorf("%d tasks have jobs, want 5", n)
	}
}

func TestATaskOfAnotherAppIsTrackedAlready(t *testing.T) {
	t.Parallel()
	_, shop, _ := twoApps(t)
	const insert = `insert into klingwatch.tasks (task_id, action, action2) values ('blog', 'videos', 'text2video')`
	refused(t, shop, "23505", insert)
	allowed(t, shop, insert+` on conflict do nothing`, insert+` on conflict (task_id, action, action2) do nothing`)
}

// The owner, who also works tasks, those who read and those who operate see all; a role
// that an administrator gave rights by hand sees what it did before.
func TestOthersThanAppsSeeTheTasksOfAll(t *testing.T) {
	t.Parallel()
	pool, _, _ := twoApps(t)
	all := []string{"before", "blog", "owner", "shop"}
	byHand := loginIn(t, pool)
	exec(t, pool, `grant usage on schema klingwatch to `+byHand.Config().User)
	exec(t, pool, `grant select on klingwatch.tasks to `+byHand.Config().User)
	t.Cleanup(func() { _, _ = pool.Exec(context.Background(), `drop owned by `+byHand.Config().User) })
	for _, conn := range []*pgx.Conn{
		loginIn(t, pool, "klingwatch_reader"), loginIn(t, pool, "klingwatch_operator"), byHand,
		loginIn(t, pool, "klingwatch_producer", "klingwatch_reader"),
	} {
		if got := read(t, conn, visible); !slices.Equal(got, all) {
			t.Errorf("%s sees %q", conn.Config().User, got)
		}
	}
	both := loginIn(t, pool, "klingwatch_producer", "klingwatch_operator")
	if got := read(t, both, `select event_id from klingwatch.events`); len(got) != 5 {
		t.Errorf("a producer that operates sees %q", got)
	}
}

// Tasks from before the step have no app, and are everybody's; no row is rewritten.
func TestTasksFromBeforeAppsStayVisible(t *testing.T) {
	t.Parallel()
	pool := emptyDatabase(t)
	if err := migrations.UpTo(t.Context(), pool, 18); err != nil {
		t.Fatal(err)
	}
	exec(t, pool, `insert into klingwatch.tasks (task_id, action, action2) values ('before', 'videos', 'text2video')`)
	file := func() (node uint32) {
		if err := pool.QueryRow(t.Context(), `select pg_relation_filenode('klingwatch.tasks')`).Scan(&node); err != nil {
			t.Fatal(err)
		}
		return node
	}
	before := file()
	upgrade(t, pool)
	if file() != before {
		t.Error("the table was rewritten")
	}
	exec(t, pool, `insert into klingwatch.tasks (task_id, action, action2) values ('since', 'videos', 'text2video')`) // as the version before does
	if got := read(t, loginIn(t, pool, "klingwatch_producer"), visible); !slices.Equal(got, []string{"before"}) {
		t.Errorf("an app sees %q", got)
	}
}
