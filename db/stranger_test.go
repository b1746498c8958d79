package db_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/migrations"
)

const klng = 0x6b6c6e67

// aStranger is a session of a role that may connect, and nothing else.
func aStranger(t testing.TB, pool *pgxpool.Pool) *pgx.Conn {
	t.Helper()
	return connectAs(t, pool, dbtest.NewRole(t))
}

func connectAs(t testing.TB, pool *pgxpool.Pool, role string) *pgx.Conn {
	t.Helper()
	cfg := pool.Config().ConnConfig
	cfg.User, cfg.Password = role, dbtest.RolePassword
	conn := must(pgx.ConnectConfig(t.Context(), cfg))(t)
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func TestLocksOfAStrangerAreNoInstances(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	forger := aStranger(t, pool)
	run(t, forger, `set application_name = 'klingwatch kw1 tasks=1000000 asks=1234abcd'`)
	run(t, forger, `select pg_advisory_lock($1, slot) from generate_series(1, 2000) slot`, klng)
	if n := must(db.LiveInstances(t.Context(), pool))(t); n != 0 {
		t.Errorf("%d instances", n)
	}
	if must(db.AskedByAnybody(t.Context(), pool, "1234abcd"))(t) {
		t.Error("a stranger asks the relay")
	}
	conn, slot := instance(t, pool)
	if slot != 2001 {
		t.Errorf("the slot is %d", slot)
	}
	if n, share, err := db.ShareWork(t.Context(), conn, slot, db.Work{Tasks: 3, Asks: "1234abcd"}); n != 1 || share != 1 || err != nil {
		t.Errorf("%d instances, a share of %v, %v", n, share, err)
	}
	// what was worked by a process whose slot the stranger has now is given back
	run(t, pool, `insert into klingwatch.tasks (task_id, action, action2) values ('t', 'videos', 'text2video')`)
	run(t, pool, `update klingwatch.river_job set state = 'running', attempted_at = now(), attempted_by = '{kw7}'`)
	run(t, pool, `insert into klingwatch.river_leader (leader_id, elected_at, expires_at) values ('kw7', now(), now() + interval '1 h')`)
	if n := must(db.ReturnJobs(t.Context(), pool, 0))(t); n != 1 {
		t.Errorf("%d jobs given back", n)
	}
	if n := value[int](t, pool, `select count(*) from klingwatch.river_leader`); n != 0 {
		t.Error("a stranger leads")
	}
}

// Slots are free as long as Postgres has room for locks, wherever a stranger holds some.
func TestAClaimFindsTheSlotsThatAStrangerLeaves(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	forger := aStranger(t, pool)
	run(t, forger, `select pg_advisory_lock($1, slot) from unnest(array[-1, 0, 1, 2, 4, 2147483647]) slot`, klng)
	run(t, forger, `select pg_advisory_lock_shared($1, 3)`, klng)
	if _, slot := instance(t, pool); slot != 5 {
		t.Errorf("the slot is %d", slot)
	}
	run(t, forger, `select pg_advisory_unlock_all()`)
	if _, slot := instance(t, pool); slot != 1 {
		t.Errorf("the next slot is %d", slot)
	}
}

// Who may change our tasks is one of us; who may only read or insert is not.
func TestAnInstanceIsASessionThatMayChangeTasks(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	for _, c := range []struct {
		rights []string
		counts bool
	}{
		{nil, false},
		{[]string{`grant klingwatch_reader to `}, false},
		{[]string{`grant klingwatch_producer to `}, false},
		{[]string{`grant usage on schema klingwatch to `, `grant select, insert, update, delete on all tables in schema klingwatch to `}, true},
	} {
		role := dbtest.NewRole(t)
		for _, grant := range c.rights {
			run(t, pool, grant+role)
			t.Cleanup(func() { _, _ = pool.Exec(context.Background(), `drop owned by `+role) })
		}
		conn := connectAs(t, pool, role)
		run(t, conn, `select pg_advisory_lock($1, 1)`, klng)
		if n := must(db.LiveInstances(t.Context(), pool))(t); (n == 1) != c.counts {
			t.Errorf("%d instances with %q", n, c.rights)
		}
		check(t, conn.Close(t.Context()))
		awaitInstances(t, pool, 0)
		for value[int](t, pool, `select count(*) from pg_locks where locktype = 'advisory' and classid = $1`, klng) > 0 {
			time.Sleep(time.Millisecond)
		}
	}
}

// A role that works under another one, without its rights by itself, is one of us.
func TestAnInstanceMayTakeOnTheRoleThatMayChangeTasks(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	login, owner := dbtest.NewRole(t), dbtest.NewRole(t)
	t.Cleanup(func() { _, _ = pool.Exec(context.Background(), `drop owned by `+owner) })
	for _, sql := range []string{
		`grant usage on schema klingwatch to ` + owner, `grant select, update on klingwatch.tasks to ` + owner,
		`alter role ` + login + ` noinherit`, `grant ` + owner + ` to ` + login, `alter role ` + login + ` set role = ` + owner,
	} {
		run(t, pool, sql)
	}
	run(t, connectAs(t, pool, login), `select pg_advisory_lock($1, 1)`, klng)
	if n := must(db.LiveInstances(t.Context(), pool))(t); n != 1 {
		t.Errorf("%d instances", n)
	}
	if found := must(db.Strangers(t.Context(), pool, migrations.LockKey))(t); len(found) != 0 {
		t.Errorf("a stranger: %+v", found)
	}
}

func TestStrangersAreNamed(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	instance(t, pool)
	if found := must(db.Strangers(t.Context(), pool, migrations.LockKey))(t); len(found) != 0 {
		t.Errorf("%+v", found)
	}
	forger, halter, other := aStranger(t, pool), aStranger(t, pool), aStranger(t, pool)
	run(t, forger, `select pg_advisory_lock($1, slot) from generate_series(2, 10) slot`, klng)
	run(t, halter, `select pg_advisory_lock($1)`, migrations.LockKey)
	run(t, other, `select pg_advisory_lock(1, 1), pg_advisory_lock(1)`)
	want := []db.Stranger{
		{PID: int(forger.PgConn().PID()), Role: forger.Config().User, Locks: 9},
		{PID: int(halter.PgConn().PID()), Role: halter.Config().User, Locks: 1, Halts: true},
	}
	slices.SortFunc(want, func(a, b db.Stranger) int { return a.PID - b.PID })
	if found := must(db.Strangers(t.Context(), pool, migrations.LockKey))(t); !slices.Equal(found, want) {
		t.Errorf("%+v, want %+v", found, want)
	}
}
