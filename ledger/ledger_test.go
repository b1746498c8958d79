package ledger_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/ledger"
	"github.com/klingwatch/klingwatch/webhook"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

const deadline = 24 * time.Hour

// must hands on a value; an error ends the test.
func must[T any](value T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		check(t, err)
		return value
	}
}

// check ends the test on an error.
func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// run runs a statement that sets up a test.
func run(t testing.TB, q db.Querier, sql string, args ...any) {
	t.Helper()
	_, err := q.Exec(t.Context(), sql, args...)
	check(t, err)
}

// count returns the number that a query finds.
func count(t testing.TB, q db.Querier, sql string, args ...any) (n int) {
	t.Helper()
	check(t, q.QueryRow(t.Context(), sql, args...).Scan(&n))
	return n
}

// begin begins a transaction that is rolled back when the test ends.
func begin(t testing.TB, pool *pgxpool.Pool) pgx.Tx {
	t.Helper()
	tx := must(pool.Begin(t.Context()))(t)
	t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	return tx
}

// open returns a pool on a fresh database, with further parameters of its sessions.
func open(t testing.TB, parameters string) *pgxpool.Pool {
	t.Helper()
	pool := must(db.Open(t.Context(), dbtest.NewURL(t)+parameters, 10))(t)
	t.Cleanup(pool.Close)
	return pool
}

// newTask is a task of the type videos/text2video with a callback.
func newTask(taskID string) db.NewTask {
	return db.NewTask{TaskID: taskID, Action: "videos", Action2: "text2video", CallbackURL: new("https://app.example/hook")}
}

// track tracks new tasks and returns our ids.
func track(t testing.TB, pool *pgxpool.Pool, taskIDs ...string) []int64 {
	t.Helper()
	tasks, ids := make([]db.NewTask, len(taskIDs)), make([]int64, len(taskIDs))
	for i, id := range taskIDs {
		tasks[i] = newTask(id)
	}
	for i, tracked := range must(ledger.Track(t.Context(), pool, tasks, nil))(t) {
		ids[i] = tracked.ID
	}
	return ids
}

// changeTo is a change of a task as somebody decides it who reads it now.
func changeTo(t testing.TB, q db.Querier, id int64, status string) ledger.Change {
	t.Helper()
	task := must(db.GetPollTarget(t.Context(), q, id, deadline))(t)
	return ledger.Change{Change: db.Change{Task: id, Created: task.CreatedAt, Version: task.Version, From: task.Status, Status: status, Polls: task.Polls + 1, Polled: true, Deadline: deadline}}
}

// createdAt is when a task was inserted.
func createdAt(t testing.TB, q db.Querier, id int64) time.Time {
	t.Helper()
	return must(db.GetPollTarget(t.Context(), q, id, deadline))(t).CreatedAt
}

// move gives a task a status with all that follows.
func move(t testing.TB, pool *pgxpool.Pool, id int64, status string) {
	t.Helper()
	if applied := must(ledger.Apply(t.Context(), pool, []ledger.Change{changeTo(t, pool, id, status)}, nil))(t); !applied[id] {
		t.Fatalf("task %d did not become %s", id, status)
	}
}

// statusOf reads the status of a task.
func statusOf(t testing.TB, q db.Querier, id int64) string {
	t.Helper()
	return must(db.GetPollTarget(t.Context(), q, id, deadline))(t).Status
}

// eventsOf lists the events of a task like "1 task.failed".
func eventsOf(t testing.TB, q db.Querier, id int64) string {
	t.Helper()
	var list []string
	for _, e := range must(db.EventsOfTask(t.Context(), q, id))(t) {
		list = append(list, fmt.Sprintf("%d %s", e.Sequence, e.Type))
	}
	return strings.Join(list, ", ")
}

// payloads decodes the events that endpoints get.
func payloads(t testing.TB, q db.Querier) (events []webhook.EndpointEvent) {
	t.Helper()
	rows, err := q.Query(t.Context(), `select payload from klingwatch.events where task is null order by id`)
	check(t, err)
	for _, payload := range must(pgx.CollectRows(rows, pgx.RowTo[[]byte]))(t) {
		var event webhook.EndpointEvent
		check(t, json.Unmarshal(payload, &event))
		events = append(events, event)
	}
	return events
}

// addEndpoint adds a receiver of all events.
func addEndpoint(t testing.TB, q db.Querier, url string) int64 {
	t.Helper()
	return must(db.AddEndpoint(t.Context(), q, db.NewEndpoint{URL: url, EventTypes: webhook.Types, Secret: "whsec_own"}))(t)
}
