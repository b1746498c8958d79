package db_test

import (
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
)

func relayNamed(name string) db.Relay {
	file := "/run/secrets/" + name
	return db.Relay{
		Name: name, BaseURL: "https://" + name + ".example", TaskPath: "/tasks?task_ids={task_ids}", BatchSize: 10, PollRate: 20,
		OutputLifetime: 36 * time.Hour, KeySource: db.KeyInFile, KeyFile: &file,
	}
}

func TestARelayIsAddedChangedAndRemoved(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	for _, name := range []string{"b", "a"} {
		check(t, db.AddRelay(t.Context(), pool, relayNamed(name)))
	}
	if err := db.AddRelay(t.Context(), pool, relayNamed("a")); !db.RefusedValue(err) {
		t.Errorf("a second relay of that name: %v", err)
	}
	all := must(db.Relays(t.Context(), pool))(t)
	if len(all) != 2 || all[0].Name != "a" || all[0].OutputLifetime != 36*time.Hour || all[0].BatchSize != 10 || *all[0].KeyFile != "/run/secrets/a" || all[0].Archive != nil || all[0].Credential != nil {
		t.Fatalf("%+v", all)
	}

	edited, stale := all[0], all[0]
	edited.PollRate, edited.Archive = 5, new(false)
	if changed := must(db.ChangeRelay(t.Context(), pool, edited))(t); !changed {
		t.Error("it was not changed")
	}
	stale.PollRate = 7
	if changed := must(db.ChangeRelay(t.Context(), pool, stale))(t); changed {
		t.Error("a change was made that was decided on an older row")
	}
	check(t, db.NoteCredential(t.Context(), pool, "a", "12345678"))
	got := must(db.GetRelay(t.Context(), pool, "a"))(t)
	if got.PollRate != 5 || *got.Archive || got.Version != 1 || *got.Credential != "12345678" {
		t.Errorf("%+v", got)
	}

	run(t, pool, `insert into klingwatch.tasks (task_id, action, action2, relay) values ('1', 'videos', 'text2video', 'a')`)
	if removed, open, err := removeA(t, pool); removed || open != 1 || err != nil {
		t.Errorf("with an open task: removed %v, %d open, %v", removed, open, err)
	}
	run(t, pool, `update klingwatch.tasks set status = 'canceled', finished_at = now()`)
	if removed, open, err := removeA(t, pool); !removed || open != 0 || err != nil {
		t.Errorf("removed %v, %d open, %v", removed, open, err)
	}
	if _, err := db.GetRelay(t.Context(), pool, "a"); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("it is still there: %v", err)
	}
}

func TestTheRelayDefaultSaysWhatTheLastSettingsSaid(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	take := func(url, credential string) (before *db.Relay, taken bool) {
		t.Helper()
		check(t, pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) (err error) {
			before, taken, err = db.TakeDefault(t.Context(), tx, db.Relay{BaseURL: url, TaskPath: "/{task_id}", PollRate: 50, Credential: &credential})
			return err
		}))
		return before, taken
	}
	if before, taken := take("https://one.example", "11111111"); before != nil || !taken {
		t.Errorf("the first: before %+v, taken %v", before, taken)
	}
	run(t, pool, `update klingwatch.relays set output_lifetime = '1 day', batch_size = 5`)
	if before, taken := take("https://one.example", "11111111"); before == nil || taken {
		t.Errorf("the same again: before %+v, taken %v", before, taken)
	}
	if before, taken := take("https://two.example", "22222222"); before == nil || before.BaseURL != "https://one.example" || !taken {
		t.Errorf("others: before %+v, taken %v", before, taken)
	}
	got := must(db.GetRelay(t.Context(), pool, db.DefaultRelay))(t)
	if got.BaseURL != "https://two.example" || *got.Credential != "22222222" || got.OutputLifetime != 24*time.Hour || got.BatchSize != 5 || got.Version != 1 {
		t.Errorf("%+v", got)
	}
}

func TestTwoTakeTheRelayDefaultAtOnce(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	relay := func(credential string) db.Relay {
		return db.Relay{BaseURL: "https://relay.example", TaskPath: "/{task_id}", PollRate: 50, Credential: &credential}
	}
	first := begin(t, pool)
	if _, taken, err := db.TakeDefault(t.Context(), first, relay("11111111")); !taken || err != nil {
		t.Fatal(taken, err)
	}
	wait := dbtest.Blocked(t, pool, func() error {
		return pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
			_, _, err := db.TakeDefault(t.Context(), tx, relay("22222222"))
			return err
		})
	})
	commit(t, first)
	check(t, wait())
	if got := must(db.GetRelay(t.Context(), pool, db.DefaultRelay))(t); *got.Credential != "22222222" {
		t.Errorf("%+v", got)
	}
}

func TestOneTaskOfEachPathStandsForARelay(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	check(t, db.AddRelay(t.Context(), pool, relayNamed("a")))
	run(t, pool, `insert into klingwatch.tasks (task_id, action, action2, relay) values
		('1', 'videos', 'text2video', 'a'), ('2', 'images', 'generations', 'a'), ('3', 'videos', 'text2video', 'a'), ('4', 'videos', 'text2video', 'default')`)
	got := must(db.SampleTasks(t.Context(), pool, "a", 5))(t)
	if len(got) != 2 || got[0] != (db.SampleTask{TaskID: "3", Action: "videos", Action2: "text2video"}) || got[1].TaskID != "2" {
		t.Errorf("%+v", got)
	}
	if got := must(db.SampleTasks(t.Context(), pool, "a", 1))(t); len(got) != 1 {
		t.Errorf("%+v", got)
	}
}

func TestRelaysAreShownWithTheirPauseAndTasks(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	check(t, db.AddRelay(t.Context(), pool, relayNamed("a")))
	single := relayNamed("b")
	single.TaskPath = "/{task_id}"
	check(t, db.AddRelay(t.Context(), pool, single))
	check(t, db.NoteCredential(t.Context(), pool, "a", "12345678"))
	run(t, pool, `insert into klingwatch.tasks (task_id, action, action2, relay, last_error) values ('1', 'videos', 'text2video', 'a', null), ('2', 'videos', 'text2video', 'a', 'refused')`)
	must(db.PausePolling(t.Context(), pool, "12345678", "HTTP 401", time.Minute, db.PauseStale, true))(t)
	got := must(db.RelayStates(t.Context(), pool))(t)
	if len(got) != 2 || got[0].PausedAt == nil || *got[0].PauseReason != "HTTP 401" || got[0].OpenTasks != 2 || got[0].InTrouble != 1 || got[0].BatchSize != 10 ||
		got[1].PausedAt != nil || got[1].BatchSize != 1 || got[1].OpenTasks != 0 {
		t.Errorf("%+v", got)
	}
}

// removeA removes the relay a in a transaction of its own.
func removeA(t *testing.T, pool *pgxpool.Pool) (removed bool, open int, err error) {
	t.Helper()
	err = pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) (err error) {
		removed, open, err = db.RemoveRelay(t.Context(), tx, "a")
		return err
	})
	return removed, open, err
}

func TestARelayIsNotRemovedUnderAnInsert(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	check(t, db.AddRelay(t.Context(), pool, relayNamed("a")))
	app := begin(t, pool)
	must(app.Exec(t.Context(), `insert into klingwatch.tasks (relay, task_id, action, action2) values ('a', '1', 'videos', 'text2video')`))(t)
	var removed bool
	var open int
	wait := dbtest.Blocked(t, pool, func() (err error) {
		removed, open, err = removeA(t, pool)
		return err
	})
	commit(t, app)
	check(t, wait())
	if removed || open != 1 {
		t.Errorf("removed %v, %d open", removed, open)
	}
}

// Only the first relay beside default needs the tasks to itself.
func TestASecondRelayIsAddedBesideAReader(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	check(t, db.AddRelay(t.Context(), pool, relayNamed("a")))
	reader := begin(t, pool)
	must(reader.Exec(t.Context(), `select count(*) from klingwatch.tasks`))(t)
	second := must(pool.BeginTx(t.Context(), db.LimitLockWait(time.Second)))(t)
	check(t, db.AddRelay(t.Context(), second, relayNamed("b")))
	commit(t, second)
	commit(t, reader)
}

func TestATaskOfARemovedRelayIsNotReopened(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	check(t, db.AddRelay(t.Context(), pool, relayNamed("a")))
	run(t, pool, `insert into klingwatch.tasks (relay, task_id, action, action2, status, finished_at) values ('a', '1', 'videos', 'text2video', 'failed', now())`)
	if reopened := must(db.ReopenTasks(t.Context(), pool, []int64{1}, time.Hour))(t); len(reopened) == 0 {
		t.Error("not reopened while the relay is there")
	}
	run(t, pool, `update klingwatch.tasks set status = 'failed', finished_at = now()`)
	if removed, _, err := removeA(t, pool); !removed || err != nil {
		t.Fatal(removed, err)
	}
	if reopened := must(db.ReopenTasks(t.Context(), pool, []int64{1}, time.Hour))(t); len(reopened) > 0 {
		t.Error("a task was reopened that nobody can ask about")
	}
}

func TestTheIndexOfRelaysIsBuiltOnceAndAnewWhereItBroke(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	conn := must(pool.Acquire(t.Context()))(t)
	defer conn.Release()
	const index = `klingwatch."relay, task_id, action, action2: this task is tracked already"`
	oid := func() int {
		t.Helper()
		check(t, db.PrepareRelayKey(t.Context(), conn.Conn()))
		if !value[bool](t, pool, `select indisvalid from pg_index where indexrelid = to_regclass($1)`, index) {
			t.Error("the index is not valid")
		}
		return value[int](t, pool, `select to_regclass($1)::oid::int`, index)
	}
	first := oid()
	if again := oid(); again != first {
		t.Error("it was built again")
	}
	run(t, pool, `update pg_index set indisvalid = false where indexrelid = to_regclass('`+index+`')`) // as an interrupted attempt leaves it
	if again := oid(); again == first {
		t.Error("a broken index was kept")
	}
	check(t, db.AddRelay(t.Context(), pool, relayNamed("a")))
}
