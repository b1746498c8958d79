package operate_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/operate"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

// deadline is that of tasks that have none of their own.
const deadline = 24 * time.Hour

// exec runs statements that make a database as the test needs it.
func exec(t *testing.T, pool *pgxpool.Pool, statements ...string) {
	t.Helper()
	for _, sql := range statements {
		if _, err := pool.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
}

// read returns what a query returns.
func read[T any](t *testing.T, pool *pgxpool.Pool, sql string, args ...any) T {
	t.Helper()
	rows, err := pool.Query(t.Context(), sql, args...)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	value, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[T])
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return value
}

// wantRefusal fails unless err is an answer "no" with a code, about a field, that
// contains a part.
func wantRefusal(t *testing.T, what string, err error, code operate.Code, field, part string) {
	t.Helper()
	refused, ok := errors.AsType[*operate.Error](err)
	if !ok || refused.Code != code || refused.Field != field || !strings.Contains(refused.Error(), part) {
		t.Errorf("%s: %#v (%v), want %s of field %q with %q", what, refused, err, code, field, part)
	}
	if ok && strings.ContainsAny(refused.Error(), "\r\n") {
		t.Errorf("%s: %q is more than a line", what, refused)
	}
}

// track tracks tasks of videos/text2video and returns our ids.
func track(t *testing.T, pool *pgxpool.Pool, taskIDs ...string) []int64 {
	t.Helper()
	tasks := make([]db.NewTask, len(taskIDs))
	for i, id := range taskIDs {
		tasks[i] = db.NewTask{TaskID: id, Action: "videos", Action2: "text2video"}
	}
	tracked, err := operate.Track(t.Context(), pool, tasks)
	if err != nil {
		t.Fatal(err)
	}
	ids := make([]int64, len(tracked))
	for i, task := range tracked {
		ids[i] = task.ID
	}
	return ids
}

// find returns the task with an id.
func find(t *testing.T, pool *pgxpool.Pool, id string) db.Task {
	t.Helper()
	task, err := operate.FindTask(t.Context(), pool, id)
	if err != nil {
		t.Fatal(err)
	}
	return task
}

// cancel ends a task, with its event and deliveries.
func cancel(t *testing.T, pool *pgxpool.Pool, id int64) {
	t.Helper()
	if err := operate.Cancel(t.Context(), pool, db.Task{ID: id}, deadline); err != nil {
		t.Fatal(err)
	}
}

// addEndpoint adds a receiver with the default choices.
func addEndpoint(t *testing.T, pool *pgxpool.Pool, url string) int64 {
	t.Helper()
	added, err := operate.AddEndpoint(t.Context(), pool, nil, operate.NewEndpoint{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	return added.ID
}

// statements counts what a pool asks of its database.
type statements struct{ atomic.Int64 }

func (s *statements) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	s.Add(1)
	return ctx
}

func (s *statements) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// counted returns a fresh database whose statements are counted.
func counted(t *testing.T) (*pgxpool.Pool, *statements) {
	t.Helper()
	cfg, count := dbtest.New(t).Config(), &statements{}
	cfg.ConnConfig.Tracer = count
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool, count
}

func TestARefusalReadsAsOneSentence(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err  operate.Error
		want string
	}{
		{operate.Error{Code: operate.NotFound, Message: "there is no endpoint 7"}, "there is no endpoint 7"},
		{operate.Error{Code: operate.Invalid, Field: "until", Message: "must be later than since"}, "until must be later than since"},
		{operate.Error{Code: operate.Conflict, Field: "url", Message: "is taken", Hint: "see the list"}, "url is taken; see the list"},
	} {
		if got := test.err.Error(); got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
}
