package db_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
)

func TestADatabaseWithoutOurTablesIsNoticed(t *testing.T) {
	t.Parallel()
	pool := must(db.Open(t.Context(), dbtest.NewEmptyURL(t), 1))(t)
	defer pool.Close()
	if err := db.Ping(t.Context(), pool); db.Code(err) != "42P01" {
		t.Errorf("an empty database: %v", err)
	}
}

func TestTheClockGoesOnWithinATransaction(t *testing.T) {
	t.Parallel()
	tx := begin(t, dbtest.New(t))
	first := must(db.Clock(t.Context(), tx))(t)
	if second := must(db.Clock(t.Context(), tx))(t); !second.After(first) || !near(time.Since(second), 0) {
		t.Errorf("%s, then %s", first, second)
	}
}

func TestTheServerIsDescribedForTheOperator(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	tx := begin(t, pool)
	before := must(db.DescribeServer(t.Context(), tx))(t)
	if before.Database != pool.Config().ConnConfig.Database || before.Size < 1<<20 || before.Major < 14 || !strings.HasPrefix(before.Version, value[string](t, tx, `select $1::int::text || '.'`, before.Major)) ||
		before.Standby || !before.Autovacuum || before.Fsync || !before.Throwaway || before.ReadOnly || !before.SeesAll {
		t.Errorf("as a superuser: %+v", before)
	}
	if max := value[int](t, tx, `select current_setting('max_connections')::int`); before.Connections >= max || before.Connections < max-20 {
		t.Errorf("%d connections of %d", before.Connections, max)
	}
	if before.Others < 1 { // the one that makes and drops the databases of the tests
		t.Errorf("%d connections of other programs", before.Others)
	}
	run(t, tx, `set local default_transaction_read_only = on`)
	if looking := must(db.DescribeServer(t.Context(), tx))(t); looking.ReadOnly { // a session of its own accord
		t.Errorf("of a session that only looks: %+v", looking)
	}
	run(t, tx, `set local role klingwatch_reader`)
	if reader := must(db.DescribeServer(t.Context(), tx))(t); reader.SeesAll || !reader.Throwaway {
		t.Errorf("as a reader: %+v", reader)
	}
}

func TestTheHealthOfBusyTablesTellsOfVacuum(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	var names []string
	for _, table := range must(db.BusyTables(t.Context(), pool))(t) {
		names = append(names, table.Name)
		if table.Size <= 0 || table.Vacuumed != nil {
			t.Errorf("%+v", table)
		}
	}
	if !slices.Equal(names, []string{"river_job", "tasks", "events", "deliveries"}) {
		t.Errorf("tables %q", names)
	}
	track(t, pool, "a", "b")
	run(t, pool, `vacuum klingwatch.tasks`)
	tasks := must(db.BusyTables(t.Context(), pool))(t)[1]
	if tasks.Vacuumed == nil || !near(*tasks.Vacuumed, 0) || tasks.Live != 2 || tasks.Dead != 0 {
		t.Errorf("after a vacuum: %+v", tasks)
	}
}

func TestTheOldestSnapshotIsFound(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	if got, err := db.OldestSnapshot(t.Context(), pool); !errors.Is(err, db.ErrNotFound) {
		t.Fatalf("without other transactions: %+v, %v", got, err)
	}
	old := must(pool.BeginTx(t.Context(), pgx.TxOptions{IsoLevel: pgx.RepeatableRead}))(t)
	defer func() { check(t, old.Rollback(t.Context())) }()
	value[int](t, old, `select count(*) from klingwatch.tasks`)
	track(t, pool, "a")
	track(t, pool, "b")
	younger := begin(t, pool)
	track(t, younger, "c")
	pid := value[string](t, old, `select pg_backend_pid()::text`)
	got := must(db.OldestSnapshot(t.Context(), pool))(t)
	if !strings.HasPrefix(got.Holder, "session "+pid+" of ") || !strings.HasSuffix(got.Holder, "(klingwatch), idle in transaction") || got.Held == nil || *got.Held <= 0 || got.Transactions < 2 {
		t.Errorf("%+v, the session is %s", got, pid)
	}
}

func TestRolesThatTheServerLacksAreNamed(t *testing.T) {
	t.Parallel()
	tx := begin(t, dbtest.New(t))
	if missing := must(db.MissingRoles(t.Context(), tx))(t); len(missing) != 0 {
		t.Errorf("%q are missing after a migration", missing)
	}
	run(t, tx, `alter role klingwatch_reader rename to somebody_else`) // undone at the end
	if missing := must(db.MissingRoles(t.Context(), tx))(t); !slices.Equal(missing, []string{"klingwatch_reader"}) {
		t.Errorf("%q are missing", missing)
	}
}
