package migrations_test

import (
	"context"
	"errors"
	"fmt"
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

// The owner, who also works tasks, those who read and those who operate see all, and so
// does a role that an administrator let change all tasks. Any other role sees its own.
func TestOnlyWhoIsKnownToSeeAllSeesTheTasksOfAll(t *testing.T) {
	t.Parallel()
	pool, _, _ := twoApps(t)
	all, own := []string{"before", "blog", "owner", "shop"}, []string{"before"}
	byHand := func(right string) *pgx.Conn {
		conn := loginIn(t, pool)
		withItsObjects(t, pool, conn)
		exec(t, pool, `grant usage on schema klingwatch to `+conn.Config().User)
		exec(t, pool, `grant `+right+` on klingwatch.tasks to `+conn.Config().User)
		return conn
	}
	for conn, want := range map[*pgx.Conn][]string{
		loginIn(t, pool, "klingwatch_reader"): all, loginIn(t, pool, "klingwatch_operator"): all,
		loginIn(t, pool, "klingwatch_producer", "klingwatch_reader"): all, byHand("select, update"): all,
		byHand("select"): own, byHand("select, insert, update (callback_url)"): own,
	} {
		if got := read(t, conn, visible); !slices.Equal(got, want) {
			t.Errorf("%s sees %q", conn.Config().User, got)
		}
	}
	both := loginIn(t, pool, "klingwatch_producer", "klingwatch_operator")
	if got := read(t, both, `select event_id from klingwatch.events`); len(got) != 5 {
		t.Errorf("a producer that operates sees %q", got)
	}
}

// withItsObjects gives a login a schema of its own name, and removes all that it has got
// when the test ends.
func withItsObjects(t *testing.T, pool *pgxpool.Pool, conn *pgx.Conn) {
	t.Helper()
	exec(t, pool, `create schema authorization `+conn.Config().User)
	t.Cleanup(func() { _, _ = pool.Exec(context.Background(), `drop owned by `+conn.Config().User+` cascade`) })
}

// Postgres reads the tables behind a view with the rights of its owner, while current_user
// is its reader: what an app shows to others leads nobody to the tasks of another app.
func TestAViewOfAnAppShowsNothingOfAnother(t *testing.T) {
	t.Parallel()
	pool, shop, blog := twoApps(t)
	withItsObjects(t, pool, shop)
	allowed(t, shop,
		`create view tasks as select task_id, action, action2, app from klingwatch.tasks`,
		`create view urls as select url as task_id from klingwatch.outputs`,
		`create view messages as select event_id as task_id from klingwatch.events`,
		`create view nested as select * from tasks`,
		`create materialized view kept as select task_id from klingwatch.tasks`,
		`create table orders (task_id text)`,
		`create rule track as on insert to orders do also insert into klingwatch.tasks (task_id, action, action2, app) values (new.task_id, 'videos', 'text2video', '`+blog.Config().User+`')`,
		`grant usage on schema `+shop.Config().User+` to public`,
		`grant select, insert on all tables in schema `+shop.Config().User+` to public`)
	in := shop.Config().User + "."
	for conn, want := range map[*pgx.Conn][]string{
		loginIn(t, pool): {"before"}, loginIn(t, pool, "klingwatch_reader"): {"before"}, blog: {"before", "blog"}, shop: {"before", "shop"},
	} {
		for _, view := range []string{"tasks", "urls", "messages", "nested"} {
			if got := read(t, conn, `select task_id from `+in+view); !slices.Equal(got, want) {
				t.Errorf("%s: %s: %q, want %q", conn.Config().User, view, got, want)
			}
		}
		if got := read(t, conn, `select task_id from `+in+`kept`); !slices.Equal(got, []string{"before", "shop"}) {
			t.Errorf("%s: the app has kept %q", conn.Config().User, got)
		}
		for _, app := range []string{"owner", "", "klingwatch_producer"} {
			refused(t, conn, "42501", `insert into `+in+`nested (task_id, action, action2, app) values ('forged', 'videos', 'text2video', '`+app+`')`)
		}
		if conn != blog {
			refused(t, conn, "42501", `insert into `+in+`orders values ('forged')`)
		}
	}
}

// A view of the tasks that somebody makes who may see all is a gift to whoever may read it.
func TestAViewOfAReaderShowsWhatTheReaderSees(t *testing.T) {
	t.Parallel()
	pool, _, _ := twoApps(t)
	reader := loginIn(t, pool, "klingwatch_reader")
	withItsObjects(t, pool, reader)
	allowed(t, reader,
		`create view tasks as select task_id from klingwatch.tasks`,
		`create view urls as select url from klingwatch.outputs`,
		`grant usage on schema `+reader.Config().User+` to public`,
		`grant select on tasks, urls to public`)
	for _, view := range []string{"tasks", "urls"} {
		if got := read(t, loginIn(t, pool), `select * from `+reader.Config().User+`.`+view); len(got) != 4 {
			t.Errorf("%s shows %q", view, got)
		}
	}
}

// In a function with the rights of an app, its caller is that app, whoever calls it.
func TestAFunctionOfAnAppActsForThatApp(t *testing.T) {
	t.Parallel()
	pool, shop, blog := twoApps(t)
	withItsObjects(t, pool, shop)
	exec(t, pool, `update klingwatch.tasks set status = 'failed', finished_at = now() where task_id in ('shop', 'blog')`)
	const function = ` returns setof klingwatch.tasks language sql security definer set search_path = pg_catalog, pg_temp as `
	allowed(t, shop,
		`create function seen()`+function+`'select * from klingwatch.tasks'`,
		`create function again(bigint)`+function+`'select * from klingwatch.retry(ids => array[$1])'`,
		`create function stop(bigint)`+function+`'select * from klingwatch.cancel(ids => array[$1])'`,
		`create function follow(text)`+function+`'select * from klingwatch.track(array[$1], ''videos'', ''text2video'')'`,
		`create table orders (task_id text)`,
		`create function follow_order() returns trigger language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
			begin insert into klingwatch.tasks (task_id, action, action2) values (new.task_id, 'videos', 'text2video'); return new; end $$`,
		`create trigger follow_order after insert on orders for each row execute function follow_order()`,
		`grant usage on schema `+shop.Config().User+` to public`, `grant insert on orders to public`)
	own, others := ourID(t, shop, "shop"), ourID(t, blog, "blog")
	in := shop.Config().User + "."
	web, reader, operator := loginIn(t, pool), loginIn(t, pool, "klingwatch_reader"), loginIn(t, pool, "klingwatch_operator")
	for _, conn := range []*pgx.Conn{web, blog, reader, operator} {
		if got := read(t, conn, `select task_id from `+in+`seen()`); slices.Contains(got, "blog") || slices.Contains(got, "owner") {
			t.Errorf("%s sees %q", conn.Config().User, got)
		}
		for _, call := range []string{"again", "stop"} {
			refused(t, conn, "P0002", fmt.Sprintf(`select from %s%s(%d)`, in, call, others))
		}
		for _, call := range []string{"again", "stop"} {
			if got := read(t, conn, `select task_id from `+in+call+`($1)`, own); !slices.Equal(got, []string{"shop"}) {
				t.Errorf("%s: %s returns %q", conn.Config().User, call, got)
			}
		}
		exec(t, pool, `update klingwatch.tasks set status = 'failed', finished_at = now() where task_id = 'shop'`)
		allowed(t, conn, `select from `+in+`follow('by-`+conn.Config().User+`')`, `insert into `+in+`orders values ('order-of-`+conn.Config().User+`')`)
	}
	if got := read(t, blog, `select status from klingwatch.tasks where task_id = 'blog'`); got[0] != "failed" {
		t.Errorf("the other app's task is %s", got[0])
	}
	if got := read(t, shop, visible+` where app = current_user`); len(got) != 1+2*4 {
		t.Errorf("the app has %q", got)
	}
	if got := read(t, operator, `select asked_by from klingwatch.cancellations`); !slices.Equal(got, []string{shop.Config().User}) {
		t.Errorf("asked by %q", got)
	}
}

// The tables behind klingwatch.cancel and klingwatch.retry take what those would.
func TestNobodyAsksForAnothersTaskBesideTheFunctions(t *testing.T) {
	t.Parallel()
	pool, shop, blog := twoApps(t)
	exec(t, pool, `update klingwatch.tasks set status = 'failed', finished_at = now() where task_id = 'blog'`)
	others := ourID(t, blog, "blog")
	refused(t, shop, "42501", fmt.Sprintf(`insert into klingwatch.retries (task) values (%d)`, others))
	refused(t, shop, "42501", fmt.Sprintf(`insert into klingwatch.cancellations (task) values (%d)`, others))
	refused(t, blog, "42501", fmt.Sprintf(`insert into klingwatch.cancellations (task, asked_by) values (%d, '%s')`, others, shop.Config().User))
	denied(t, loginIn(t, pool, "klingwatch_reader"), fmt.Sprintf(`insert into klingwatch.retries (task) values (%d)`, others),
		fmt.Sprintf(`insert into klingwatch.cancellations (task) values (%d)`, others))
	denied(t, shop, `select * from klingwatch.retries`, `select * from klingwatch.cancellations`)
	allowed(t, blog, fmt.Sprintf(`insert into klingwatch.retries (task) values (%d)`, others))
	if got := read(t, blog, `select status from klingwatch.tasks where task_id = 'blog'`); got[0] != "pending" {
		t.Errorf("it is %s", got[0])
	}
}

func TestTheNameOfAnAppMayHaveQuotes(t *testing.T) {
	t.Parallel()
	pool, shop, _ := twoApps(t)
	const name = `"o'brien ""and"" sons"`
	exec(t, pool, `create role `+name+` in role klingwatch_producer`)
	t.Cleanup(func() { _, _ = pool.Exec(context.Background(), `drop role `+name) })
	exec(t, pool, `grant `+name+` to `+shop.Config().User)
	allowed(t, shop, `set role `+name, `select klingwatch.track('quoted', 'videos', 'text2video')`, `select klingwatch.cancel(id) from klingwatch.tasks where task_id = 'quoted'`)
	if got := read(t, shop, visible); !slices.Equal(got, []string{"before", "quoted"}) {
		t.Errorf("it sees %q", got)
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
