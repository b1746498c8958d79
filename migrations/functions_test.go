package migrations_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/klingwatch/klingwatch/db/dbtest"
)

// ourID returns our id of a task.
func ourID(t *testing.T, conn *pgx.Conn, taskID string) (id int64) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), `select id from klingwatch.tasks where task_id = $1`, taskID).Scan(&id); err != nil {
		t.Fatal(err)
	}
	return id
}

func TestAnAppTracksOneTaskOrMany(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	shop := loginIn(t, pool, "klingwatch_producer")
	const one = `select concat_ws(' ', t.task_id, t.status, t.external_id, t.app = current_user) from klingwatch.track($1, 'videos', 'text2video', external_id => $2) t`
	for range 2 { // the second finds it
		if got := read(t, shop, one, "a", "order-7"); !slices.Equal(got, []string{"a pending order-7 t"}) {
			t.Errorf("%q", got)
		}
	}
	rows, _ := shop.Query(t.Context(), `
		select concat_ws(' ', task_id, external_id, callback_url, metadata)
		from klingwatch.track(task_ids => $1, action => 'videos', action2 => 'text2video', external_ids => $2, callback_url => 'https://app.example/hook', metadata => '{"a": 1}')`,
		[]string{"c", "a", "b", "c"}, []string{"3", "1", "2"})
	const rest = ` https://app.example/hook {"a": 1}`
	if got, err := pgx.CollectRows(rows, pgx.RowTo[string]); err != nil || !slices.Equal(got, []string{"c 3" + rest, "a order-7 {}", "b 2" + rest, "c 3" + rest}) {
		t.Errorf("many are in another order, or changed: %q, %v", got, err)
	}
	if n := jobs(t, pool, "poll"); n != 3 {
		t.Errorf("%d tasks have jobs, want 3", n)
	}
}

func TestATaskOfAnotherAppCannotBeTrackedCanceledOrRetried(t *testing.T) {
	t.Parallel()
	pool, shop, blog := twoApps(t)
	exec(t, pool, `update klingwatch.tasks set status = 'failed', finished_at = now() where task_id = 'blog'`)
	id := ourID(t, blog, "blog")
	_, err := shop.Exec(t.Context(), `select klingwatch.track('blog', 'videos', 'text2video')`)
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); !ok || pgErr.Code != "23505" || pgErr.Message != "tracked already, by another app: blog" {
		t.Errorf("tracking it: %v", err)
	}
	for _, sql := range []string{
		`select klingwatch.cancel(id => $1)`, `select klingwatch.retry(id => $1)`, `select klingwatch.cancel(array[$1::bigint])`, `select klingwatch.retry(array[$1::bigint])`,
	} {
		_, err := shop.Exec(t.Context(), sql, id)
		if pgErr, ok := errors.AsType[*pgconn.PgError](err); !ok || pgErr.Code != "P0002" || !strings.HasPrefix(pgErr.Message, "no task of yours has the id ") {
			t.Errorf("%s: %v", sql, err)
		}
	}
	if got := read(t, blog, `select status from klingwatch.tasks where task_id = 'blog'`); got[0] != "failed" {
		t.Errorf("it is %s", got[0])
	}
}

func TestAnAppRetriesItsTasksAndThoseFromBefore(t *testing.T) {
	t.Parallel()
	pool, shop, _ := twoApps(t)
	exec(t, pool, `
		update klingwatch.tasks
		set status = 'failed', finished_at = now(), created_at = now() - interval '3 d', deadline_at = now() - interval '3 d' + interval '2 h'
		where task_id <> 'owner'`)
	exec(t, pool, `delete from klingwatch.river_job`)
	ids := []int64{ourID(t, shop, "shop"), ourID(t, shop, "before")}
	const shown = `concat_ws(' ', task_id, status, date_trunc('minute', deadline_at - now() + interval '1 s'), version)`
	rows, _ := shop.Query(t.Context(), `select `+shown+` from klingwatch.retry(ids => $1)`, ids)
	if got, err := pgx.CollectRows(rows, pgx.RowTo[string]); err != nil || !slices.Equal(got, []string{"shop pending 02:00:00 2", "before pending 02:00:00 2"}) {
		t.Errorf("%q, %v", got, err)
	}
	if got := read(t, shop, `select `+shown+` from klingwatch.retry(id => $1, deadline => '5 h')`, ids[0]); got[0] != "shop pending 02:00:00 2" {
		t.Errorf("a task that is tracked became %q", got)
	}
	if n := jobs(t, pool, "poll"); n != 2 {
		t.Errorf("%d tasks have jobs, want 2", n)
	}
}

// Asked twice, in one transaction or in several, it is asked once; and not at all where
// the transaction is rolled back, or the task has ended.
func TestACancellationIsAskedForOnce(t *testing.T) {
	t.Parallel()
	pool, shop, _ := twoApps(t)
	exec(t, pool, `update klingwatch.tasks set status = 'failed', finished_at = now() where task_id = 'before'`)
	id, ended := ourID(t, shop, "shop"), ourID(t, shop, "before")
	asked := func() (n int) {
		if err := pool.QueryRow(t.Context(), `select count(*) from klingwatch.cancellations where asked_by = $1`, shop.Config().User).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	allowed(t, shop, `begin`)
	read(t, shop, `select status from klingwatch.cancel(id => $1)`, id)
	allowed(t, shop, `rollback`)
	if asked() != 0 || jobs(t, pool, "cancel") != 0 {
		t.Error("something is left of what was rolled back")
	}
	for range 2 {
		if got := read(t, shop, `select task_id || ' ' || status from klingwatch.cancel(ids => $1)`, []int64{id, ended, id}); !slices.Equal(got, []string{"before failed", "shop pending", "shop pending"}) {
			t.Errorf("%q", got)
		}
	}
	if asked() != 1 || jobs(t, pool, "cancel") != 1 {
		t.Errorf("asked for %d times, with %d jobs", asked(), jobs(t, pool, "cancel"))
	}
}

func TestTheFunctionsRefuseWhatMakesNoSense(t *testing.T) {
	t.Parallel()
	pool, shop, _ := twoApps(t)
	exec(t, pool, `update klingwatch.tasks set status = 'failed', finished_at = now() where task_id = 'shop'`)
	for _, call := range []string{"cancel(id => null)", "retry(id => null)", "cancel(array[null::bigint])", "retry(array[null::bigint])"} {
		refused(t, shop, "P0002", `select klingwatch.`+call)
	}
	for _, deadline := range []string{"-2 hours", "0"} {
		refused(t, shop, "23514", `select klingwatch.retry(id, deadline => '`+deadline+`') from klingwatch.tasks where task_id = 'shop'`)
		refused(t, shop, "23514", `insert into klingwatch.retries (task, deadline) select id, '`+deadline+`' from klingwatch.tasks where task_id = 'shop'`)
	}
	if got := read(t, shop, `select status from klingwatch.tasks where task_id = 'shop'`); got[0] != "failed" {
		t.Errorf("it is %s", got[0])
	}
}

// An app that repeats its transaction repeats the deadline, too, which may be past by then.
func TestATaskThatIsThereMayComeAgainAfterItsDeadline(t *testing.T) {
	t.Parallel()
	pool, shop, _ := twoApps(t)
	exec(t, pool, `update klingwatch.tasks set created_at = now() - interval '2 h', deadline_at = now() - interval '1 h' where task_id = 'shop'`)
	const values = ` (task_id, action, action2, deadline_at) values ('shop', 'videos', 'text2video', now() - interval '1 h')`
	allowed(t, shop, `insert into klingwatch.tasks`+values+` on conflict do nothing`,
		`select klingwatch.track('shop', 'videos', 'text2video', deadline_at => now() - interval '1 h')`)
	refused(t, shop, "23514", `select klingwatch.track('new', 'videos', 'text2video', deadline_at => now() - interval '1 h')`)
}

// The caller is the role that is in force, also where it was set.
func TestAnAppMayWorkUnderItsGroupsName(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	group := dbtest.NewRole(t)
	exec(t, pool, `grant klingwatch_producer to `+group)
	login := loginIn(t, pool, group)
	allowed(t, login, `set role `+group, `select klingwatch.track('a', 'videos', 'text2video')`, `select klingwatch.cancel(id) from klingwatch.tasks`)
	if got := read(t, login, `select app from klingwatch.tasks`); !slices.Equal(got, []string{group}) {
		t.Errorf("the apps are %q", got)
	}
	allowed(t, login, `reset role`)
	if got := read(t, login, visible); len(got) != 0 {
		t.Errorf("the login itself sees %q", got)
	}
}

func TestWhoMayCallTheFunctions(t *testing.T) {
	t.Parallel()
	pool, _, _ := twoApps(t)
	operator, reader := loginIn(t, pool, "klingwatch_operator"), loginIn(t, pool, "klingwatch_reader")
	allowed(t, operator, `select klingwatch.cancel(array_agg(id)) from klingwatch.tasks`, `select klingwatch.retry(id) from klingwatch.tasks`)
	denied(t, reader, `select klingwatch.cancel(1)`, `select klingwatch.retry(1)`, `select klingwatch.track('a', 'videos', 'text2video')`,
		`select klingwatch.cancel(array[1::bigint])`, `select klingwatch.tasks_within_reach(array[1::bigint])`)
	denied(t, operator, `update klingwatch.tasks set status = 'failed'`, `insert into klingwatch.events (event_id, type, payload) values ('x', 'x', '{}')`,
		`select * from klingwatch.signing_keys`, `select * from klingwatch.event_secret`, `select stored_key from klingwatch.relays`, `select relay from klingwatch.relay_callbacks`, `select * from klingwatch.river_job`,
		`update klingwatch.webhook_endpoints set url = 'https://elsewhere.example'`, `delete from klingwatch.deliveries`)
}
