package db_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
)

// Postgres does not know how many rows a batch has, and takes it for one row where several
// conditions apply. Two of its parts must not be joined, then: each row of the one would be
// compared with each of the other, which takes 400 ms of a batch of 500 deliveries.
func TestManyRowsAreNotComparedWithEachOther(t *testing.T) {
	t.Parallel()
	const many = 200
	pool := dbtest.New(t)
	q, looked := explaining(t, pool)
	addEndpoint(t, q, "https://a.example/hook")
	var tasks []db.NewTask
	for i := range many {
		tasks = append(tasks, newTask(fmt.Sprint("many-", i)))
		tasks[i].CallbackURL = new("https://b.example/hook")
	}
	targetsOf := func(ids []int64) []db.PollTarget { return must(db.PollTargets(t.Context(), q, ids, time.Hour))(t) }

	var ids, sent []int64
	var changes []db.Change
	var troubles []db.Trouble
	var outputs []db.Output
	var events []db.NewEvent
	var outcomes []db.DeliveryOutcome
	for _, statement := range []struct {
		name string
		run  func() error
	}{
		{"InsertTasks", func() error {
			for _, one := range must(db.InsertTasks(t.Context(), q, tasks))(t) {
				ids = append(ids, one.ID)
			}
			return nil
		}},
		{"FindTracked", func() error { return second(db.FindTracked(t.Context(), q, tasks)) }},
		{"PollTargets", func() error { return second(db.PollTargets(t.Context(), q, ids, time.Hour)) }},
		{"RecordTroubles", func() error {
			for _, one := range targetsOf(ids) {
				troubles = append(troubles, db.Trouble{Task: one.ID, Created: one.CreatedAt, Version: one.Version, Error: "broken"})
			}
			return second(db.RecordTroubles(t.Context(), q, troubles))
		}},
		{"ApplyChanges", func() error {
			for _, one := range targetsOf(ids) {
				changes = append(changes, db.Change{Task: one.ID, Created: one.CreatedAt, Version: one.Version, Status: db.Succeeded, EndedBy: new("provider"), Polled: true})
			}
			for _, one := range must(db.ApplyChanges(t.Context(), q, changes))(t) {
				events = append(events, db.NewEvent{EventID: fmt.Sprint("e", one.Task), Task: one.Task, Sequence: 1, Type: "task.succeeded", Payload: json.RawMessage(`{}`)})
				outputs = append(outputs, db.Output{Task: one.Task, Kind: "video", URL: "https://cdn.example/a.mp4"})
			}
			return nil
		}},
		{"AddOutputs", func() error { return db.AddOutputs(t.Context(), q, outputs, true) }},
		{"AddOutputs again", func() error { return db.AddOutputs(t.Context(), q, outputs, true) }},
		{"RenewURLs", func() error { return db.RenewURLs(t.Context(), q, outputs) }},
		{"AddEvents", func() error { return second(db.AddEvents(t.Context(), q, events)) }},
		{"DeliveryTargets", func() error {
			sent = value[[]int64](t, q, `select array_agg(id) from klingwatch.deliveries where endpoint is null`)
			for _, one := range must(db.DeliveryTargets(t.Context(), q, sent))(t) {
				outcomes = append(outcomes, answered(one, 503))
			}
			return nil
		}},
		{"RecordDeliveries", func() error { return db.RecordDeliveries(t.Context(), q, outcomes) }},
		{"CallTasks", func() error { return db.CallTasks(t.Context(), q, ids, 0) }},
	} {
		*looked = 0
		check(t, statement.run())
		if *looked < many || *looked > 10*many {
			t.Errorf("%s looks at %d rows in one step, for %d", statement.name, *looked, many)
		}
	}
}

// explaining returns a connection, and the most rows that any step of a statement on it has
// looked at, those included that a function's statements look at.
func explaining(t *testing.T, pool *pgxpool.Pool) (*pgx.Conn, *int) {
	t.Helper()
	looked := new(0)
	cfg := pool.Config().ConnConfig.Copy()
	cfg.OnNotice = func(_ *pgconn.PgConn, notice *pgconn.Notice) {
		_, plan, found := strings.Cut(notice.Message, "plan:\n")
		var explained struct{ Plan step }
		if found && json.Unmarshal([]byte(plan), &explained) == nil {
			*looked = max(*looked, explained.Plan.mostRows())
		}
	}
	conn := must(pgx.ConnectConfig(t.Context(), cfg))(t)
	t.Cleanup(func() { _ = conn.Close(t.Context()) })
	run(t, conn, `load 'auto_explain'`)
	for name, setting := range map[string]string{
		"auto_explain.log_min_duration": "0", "auto_explain.log_analyze": "on", "auto_explain.log_timing": "off", "auto_explain.log_format": "json",
		"auto_explain.log_level": "notice", "auto_explain.log_nested_statements": "on", "plan_cache_mode": "force_custom_plan",
	} {
		run(t, conn, `select set_config($1, $2, false)`, name, setting)
	}
	return conn, looked
}

// step is a step of a plan as Postgres explains it.
type step struct {
	Loops    float64 `json:"Actual Loops"`
	Rows     float64 `json:"Actual Rows"` // of each loop, as are those that are removed
	Filtered float64 `json:"Rows Removed by Filter"`
	Unjoined float64 `json:"Rows Removed by Join Filter"`
	Plans    []step
}

func (s step) mostRows() int {
	most := int(s.Loops * (s.Rows + s.Filtered + s.Unjoined))
	for _, part := range s.Plans {
		most = max(most, part.mostRows())
	}
	return most
}

// Rows reach Postgres as they would in JSON, which has neither text that is no UTF-8 nor a
// null that is a value.
func TestRowsAreCleanedOnTheirWay(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	one := target(t, pool, track(t, pool, "a")[0])
	beyond := time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)
	change := db.Change{UpstreamCreatedAt: &beyond, Task: one.ID, Created: one.CreatedAt, Version: one.Version, Status: db.Processing, StatusMessage: "a\xffb", RequestID: new("\xc3"), UnitDeduction: new("0.10")}
	for _, result := range []json.RawMessage{json.RawMessage(`{"videos":[]}`), json.RawMessage("null"), nil} {
		change.Result = result
		if changed := must(db.ApplyChanges(t.Context(), pool, []db.Change{change}))(t); len(changed) != 1 {
			t.Fatalf("changed %+v", changed)
		}
		change.Version++
	}
	got := task(t, pool, one.ID)
	if got.StatusMessage != "a\ufffdb" || *got.RequestID != "\ufffd" || got.UnitDeduction.String() != "0.10" || got.UpstreamCreatedAt != nil || string(got.Result) != `{"videos": []}` {
		t.Errorf("the task became %+v", got)
	}
	change.UnitDeduction = new("1e999999")
	if _, err := db.ApplyChanges(t.Context(), pool, []db.Change{change}); !db.RefusedValue(err) {
		t.Errorf("a number that Postgres cannot hold: %v", err)
	}
}

// Of a list of ids Postgres knows how many there are, and then takes the block range index of
// tasks for the cheaper one. In it each id matches most ranges, once rows have moved.
func TestTasksAreReadByTheirKey(t *testing.T) {
	t.Parallel()
	const tasks, many = 20_000, 1000
	pool := dbtest.New(t)
	run(t, pool, `alter table klingwatch.tasks disable trigger user`)
	run(t, pool, `insert into klingwatch.tasks (task_id, action, action2) select 't' || i, 'videos', 'text2video' from generate_series(1, $1::int) i`, tasks)
	run(t, pool, `update klingwatch.tasks set polls = 1 where id % 3 = 0`)
	run(t, pool, `vacuum analyze klingwatch.tasks`)
	ids := value[[]int64](t, pool, `select array_agg(id) from (select id from klingwatch.tasks order by hashint8(id) limit $1) t`, many)
	q, looked := explaining(t, pool)
	run(t, q, `set random_page_cost = 8`) // makes of so few tasks what 500,000 are
	for name, read := range map[string]func() error{
		"PollTargets": func() error { return second(db.PollTargets(t.Context(), q, ids, time.Hour)) },
		"VersionsOf":  func() error { return second(db.VersionsOf(t.Context(), q, ids)) },
		"TasksOf":     func() error { return second(db.TasksOf(t.Context(), q, ids)) },
		"StatusesOf":  func() error { return second(db.StatusesOf(t.Context(), q, ids)) },
	} {
		*looked = 0
		check(t, read())
		if *looked < many || *looked > 2*many {
			t.Errorf("%s looks at %d rows in one step, for %d", name, *looked, many)
		}
	}
}
