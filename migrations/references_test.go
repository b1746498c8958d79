package migrations_test

import (
	"context"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db/dbtest"
)

// family inserts a task with a row of each kind that belongs to it.
func family(t *testing.T, pool *pgxpool.Pool, taskID string) {
	t.Helper()
	do(t, pool, `insert into klingwatch.tasks (task_id, action, action2) values ($1, 'videos', 'text2video')`, taskID)
	do(t, pool, `
		with event as (
			insert into klingwatch.events (event_id, task, sequence, type, payload)
			select 'msg_' || task_id, id, 1, 'task.processing', '{}' from klingwatch.tasks where task_id = $1
			returning id, task
		), output as (
			insert into klingwatch.outputs (task, kind, position, url) select task, 'video', 0, 'https://files.example/v' from event
		), delivery as (
			insert into klingwatch.deliveries (event, url) select id, 'https://app.example' from event
			returning id
		)
		insert into klingwatch.delivery_attempts (delivery, attempt, started_at, finished_at) select id, 1, now(), now() from delivery`, taskID)
}

// belongings counts the rows that belong to tasks.
func belongings(t *testing.T, pool *pgxpool.Pool) (counts [4]int) {
	t.Helper()
	err := pool.QueryRow(t.Context(), `
		select (select count(*) from klingwatch.outputs), (select count(*) from klingwatch.events),
		       (select count(*) from klingwatch.deliveries), (select count(*) from klingwatch.delivery_attempts)`).
		Scan(&counts[0], &counts[1], &counts[2], &counts[3])
	if err != nil {
		t.Fatal(err)
	}
	return counts
}

// violates fails unless a statement is refused as one that breaks a reference.
func violates(t *testing.T, err error) {
	t.Helper()
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); !ok || pgErr.Code != "23503" {
		t.Errorf("a broken reference: %v", err)
	}
}

func TestNothingBelongsToARowThatIsNotThere(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	family(t, pool, "a")
	for _, sql := range []string{
		`insert into klingwatch.events (event_id, task, sequence, type, payload) values ('msg_b', 99, 1, 'task.failed', '{}')`,
		`insert into klingwatch.outputs (task, kind, position, url) values (1, 'image', 0, 'https://files.example/1'), (99, 'image', 0, 'https://files.example/2')`,
		`insert into klingwatch.deliveries (event, url) values (99, 'https://app.example')`,
		`insert into klingwatch.delivery_attempts (delivery, attempt, started_at, finished_at) values (99, 1, now(), now())`,
		`update klingwatch.outputs set task = 99`,
		`update klingwatch.deliveries set event = 99`,
		`update klingwatch.events set id = default`,
	} {
		_, err := pool.Exec(t.Context(), sql)
		violates(t, err)
	}
	if got := belongings(t, pool); got != [4]int{1, 1, 1, 1} {
		t.Errorf("there are %v", got)
	}
	do(t, pool, `insert into klingwatch.events (event_id, type, payload) values ('msg_c', 'endpoint.disabled', '{}')`) // belongs to no task
}

func TestWhatBelongsToATaskGoesWithIt(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	for _, id := range []string{"a", "b", "c"} {
		family(t, pool, id)
	}
	do(t, pool, `delete from klingwatch.tasks where task_id in ('a', 'c')`)
	if got := belongings(t, pool); got != [4]int{1, 1, 1, 1} {
		t.Errorf("%v are left of three families", got)
	}
	do(t, pool, `delete from klingwatch.events`)
	if got := belongings(t, pool); got != [4]int{1, 0, 0, 0} {
		t.Errorf("%v are left without events", got)
	}
	family(t, pool, "d")
	for _, sql := range []string{`truncate klingwatch.tasks`, `truncate klingwatch.tasks, klingwatch.outputs, klingwatch.events`, `truncate klingwatch.deliveries cascade`} {
		_, err := pool.Exec(t.Context(), sql)
		violates(t, err)
	}
	do(t, pool, `insert into klingwatch.events (event_id, type, payload) values ('msg_endpoint', 'endpoint.disabled', '{}')`)
	do(t, pool, `truncate klingwatch.tasks, klingwatch.outputs, klingwatch.events, klingwatch.deliveries, klingwatch.delivery_attempts`)
	if got := belongings(t, pool); got != [4]int{} {
		t.Errorf("%v are left of empty tables", got)
	}
}

// With an older snapshot it would leave what others have added since.
func TestATaskIsNotDeletedWithAnOldSnapshot(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	family(t, pool, "a")
	_, err := pool.Exec(t.Context(), `begin isolation level repeatable read; delete from klingwatch.tasks; commit`)
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); !ok || pgErr.Message != "rows of klingwatch.tasks are deleted only in transactions that are read committed" {
		t.Errorf("deleted with an old snapshot: %v", err)
	}
}

// Whoever comes second waits for the first, and finds what that one did.
func TestNothingIsAddedToATaskWhileItIsDeleted(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	family(t, pool, "a")
	const add = `insert into klingwatch.outputs (task, kind, position, url) values (1, 'image', 0, 'https://files.example/1')`

	adding, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	do(t, adding, add)
	deleted := dbtest.Blocked(t, pool, func() error {
		_, err := pool.Exec(context.Background(), `delete from klingwatch.tasks`)
		return err
	})
	if err := errors.Join(adding.Commit(t.Context()), deleted()); err != nil {
		t.Fatal(err)
	}
	if got := belongings(t, pool); got != [4]int{} {
		t.Errorf("%v are left, the output that was added meanwhile among them", got)
	}

	do(t, pool, `insert into klingwatch.tasks (task_id, action, action2) overriding system value select 'b', 'videos', 'text2video'`)
	deleting, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	do(t, deleting, `delete from klingwatch.tasks`)
	added := dbtest.Blocked(t, pool, func() error {
		_, err := pool.Exec(context.Background(), `insert into klingwatch.outputs (task, kind, position, url) select id, 'image', 0, 'https://files.example/1' from klingwatch.tasks`)
		return err
	})
	if err := deleting.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	violates(t, added())
}

// The version before writes neither ended_as nor, where a person writes, the version.
func TestAWriteByOthersIsCompleted(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	family(t, pool, "a")
	for _, step := range []struct {
		sql     string
		version int
		endedAs string
		endedBy string
	}{
		{`update klingwatch.tasks set metadata = '{"a": 1}'`, 1, "", ""},
		{`update klingwatch.tasks set status = 'failed', finished_at = now()`, 2, "failed", "provider"},
		{`update klingwatch.tasks set status = 'expired', ended_by = 'klingwatch', version = version + 1`, 4, "expired", "klingwatch"},
		{`update klingwatch.tasks set status = 'pending', finished_at = null, ended_by = null, ended_as = null, version = version + 1`, 5, "", ""},
		{`update klingwatch.tasks set status = 'canceled', finished_at = now(), ended_by = 'person', ended_as = 'canceled', version = version + 1`, 6, "canceled", "person"},
	} {
		do(t, pool, step.sql)
		var version int
		var endedAs, endedBy string
		if err := pool.QueryRow(t.Context(), `select version, coalesce(ended_as, ''), coalesce(ended_by, '') from klingwatch.tasks`).Scan(&version, &endedAs, &endedBy); err != nil {
			t.Fatal(err)
		}
		if version != step.version || endedAs != step.endedAs || endedBy != step.endedBy {
			t.Errorf("%s: version %d, ended as %q by %q", step.sql, version, endedAs, endedBy)
		}
	}
}
