package operate_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/ledger"
	"github.com/klingwatch/klingwatch/operate"
)

// A provider's id that is a number may be another task's own id.
func TestOurOwnIDComesBeforeAProvidersID(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	ids := track(t, pool, "order-a", "1")
	if !slices.Equal(ids, []int64{1, 2}) {
		t.Fatalf("our ids are %d", ids)
	}
	if task := find(t, pool, "1"); task.ID != 1 {
		t.Errorf("1 means task %d", task.ID)
	}
	for id, want := range map[string]int64{"2": 2, "order-a": 1} {
		if task := find(t, pool, id); task.ID != want {
			t.Errorf("%s means task %d, want %d", id, task.ID, want)
		}
	}
	both, err := operate.FindTasks(t.Context(), pool, "1")
	if err != nil || len(both) != 2 || both[0].ID != 1 || both[1].TaskID != "1" {
		t.Errorf("with 1 there are %+v, %v", both, err)
	}
}

func TestAnIDMayMeanNoTaskOrSeveral(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	track(t, pool, "a")
	if _, err := operate.Track(t.Context(), pool, []db.NewTask{{TaskID: "a", Action: "videos", Action2: "image2video"}}); err != nil {
		t.Fatal(err)
	}
	_, err := operate.FindTask(t.Context(), pool, "a")
	wantRefusal(t, "two paths", err, operate.Ambiguous, "", `2 tasks have the id "a": give our id`)
	if both, err := operate.FindTasks(t.Context(), pool, "a"); err != nil || len(both) != 2 || both[0].ID > both[1].ID {
		t.Errorf("both: %+v, %v", both, err)
	}
	for _, id := range []string{"b", "", "7", "99999999999999999999999", "' or true --", "a\x00"} {
		_, err = operate.FindTask(t.Context(), pool, id)
		wantRefusal(t, fmt.Sprintf("%q", id), err, operate.NotFound, "", "no task has the id")
	}
}

func TestTrackAnswersInTheOrderOfTheTasks(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	there := track(t, pool, "c", "a")
	tracked, err := operate.Track(t.Context(), pool, []db.NewTask{
		{TaskID: "a", Action: "videos", Action2: "text2video"},
		{TaskID: "b", Action: "videos", Action2: "text2video", ExternalID: new("order-7"), CallbackURL: new("https://app.example/hook"),
			Metadata: json.RawMessage(`{"user": 42}`), DeadlineIn: new(time.Hour)},
		{TaskID: "c", Action: "videos", Action2: "text2video"},
		{TaskID: "b", Action: "videos", Action2: "text2video"},
		{TaskID: "a", Action: "images", Action2: "generations"},
	})
	if err != nil {
		t.Fatal(err)
	}
	b, imageA := tracked[1].ID, tracked[4].ID
	want := []ledger.Tracked{{ID: there[1]}, {ID: b, Added: true}, {ID: there[0]}, {ID: b}, {ID: imageA, Added: true}}
	if !slices.Equal(tracked, want) {
		t.Errorf("%+v, want %+v", tracked, want)
	}
	task := find(t, pool, "b")
	if *task.ExternalID != "order-7" || *task.CallbackURL != "https://app.example/hook" || string(task.Metadata) != `{"user": 42}` ||
		task.DeadlineAt.Sub(task.CreatedAt).Round(time.Second) != time.Hour || task.Status != db.Pending {
		t.Errorf("%+v", task)
	}
	if none, err := operate.Track(t.Context(), pool, nil); err != nil || len(none) != 0 {
		t.Errorf("nothing: %v, %v", none, err)
	}
}

// Whatever is wrong with one of them, none is tracked, and the first that is
// wrong is named.
func TestTrackTakesAllOrNone(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	good := db.NewTask{TaskID: "good", Action: "videos", Action2: "text2video"}
	with := func(change func(*db.NewTask)) db.NewTask {
		task := good
		task.TaskID = "wrong"
		change(&task)
		return task
	}
	for name, test := range map[string]struct {
		task  db.NewTask
		field string
		part  string
	}{
		"space in the id":       {with(func(n *db.NewTask) { n.TaskID = "bad id" }), "", `task "bad id" was refused, nothing was tracked: task_id: 1 to 255 characters`},
		"no id":                 {with(func(n *db.NewTask) { n.TaskID = "" }), "", `task "" was refused, nothing was tracked: task_id: `},
		"zero byte in the id":   {with(func(n *db.NewTask) { n.TaskID = "a\x00" }), "", `task "a\x00" was refused, nothing was tracked: `},
		"zero byte in metadata": {with(func(n *db.NewTask) { n.Metadata = json.RawMessage(`{"a":"\u0000"}`) }), "", `task "wrong" was refused, nothing was tracked: `},
		"slash in the action":   {with(func(n *db.NewTask) { n.Action = "a/b" }), "", "action: 1 to 64 letters"},
		"unknown relay":         {with(func(n *db.NewTask) { n.Relay = "typo" }), "", "relay typo is not known, the relays are default"},
		"long reference":        {with(func(n *db.NewTask) { n.ExternalID = new(strings.Repeat("x", 256)) }), "", "external_id: 1 to 255 characters"},
		"large metadata":        {with(func(n *db.NewTask) { n.Metadata = json.RawMessage(`{"a":"` + strings.Repeat("x", 17_000) + `"}`) }), "", "metadata: a JSON object of at most 16 kB"},
		"metadata array":        {with(func(n *db.NewTask) { n.Metadata = json.RawMessage(`[1]`) }), "metadata", "is not a JSON object"},
		"metadata null":         {with(func(n *db.NewTask) { n.Metadata = json.RawMessage(`null`) }), "metadata", "is not a JSON object"},
		"metadata broken":       {with(func(n *db.NewTask) { n.Metadata = json.RawMessage(`{"a":`) }), "metadata", "is not a JSON object"},
		"metadata empty":        {with(func(n *db.NewTask) { n.Metadata = json.RawMessage(``) }), "metadata", "is not a JSON object"},
		"relative callback":     {with(func(n *db.NewTask) { n.CallbackURL = new("/hook") }), "callback_url", "cannot be used: it must begin with http"},
		"callback of a user":    {with(func(n *db.NewTask) { n.CallbackURL = new("https://user:pass@app.example/") }), "callback_url", "cannot be used: "},
		"no deadline":           {with(func(n *db.NewTask) { n.DeadlineIn = new(time.Duration(0)) }), "deadline", "must be more than 0, not 0s"},
		"past deadline":         {with(func(n *db.NewTask) { n.DeadlineIn = new(-time.Second) }), "deadline", "must be more than 0, not -1s"},
	} {
		_, err := operate.Track(t.Context(), pool, []db.NewTask{good, test.task, {TaskID: "also bad", Action: "videos", Action2: "text2video"}})
		wantRefusal(t, name, err, operate.Invalid, test.field, test.part)
		if strings.Contains(fmt.Sprint(err), "pass@") {
			t.Errorf("%s: a password in %q", name, err)
		}
	}
	if n := read[int](t, pool, `select count(*) from klingwatch.tasks`); n != 0 {
		t.Errorf("%d tasks are tracked", n)
	}
}

// many returns n tasks.
func many(n int) []db.NewTask {
	tasks := make([]db.NewTask, n)
	for i := range tasks {
		tasks[i] = db.NewTask{TaskID: fmt.Sprintf("t%d", i), Action: "videos", Action2: "text2video"}
	}
	return tasks
}

func TestTrackingManyTasksTakesNoMoreStatementsThanTrackingOne(t *testing.T) {
	t.Parallel()
	pool, asked := counted(t)
	if _, err := operate.Track(t.Context(), pool, many(1)); err != nil {
		t.Fatal(err)
	}
	few := asked.Swap(0)
	tracked, err := operate.Track(t.Context(), pool, many(5_000)[1:])
	if err != nil || !tracked[4_998].Added {
		t.Fatal(err)
	}
	if n := asked.Swap(0); n != few || n > 5 {
		t.Errorf("one task takes %d statements, 4,999 take %d", few, n)
	}
	// those that are tracked already are looked up together
	if tracked, err = operate.Track(t.Context(), pool, many(5_000)); err != nil || tracked[4_999].Added {
		t.Fatal(err)
	}
	if n := asked.Swap(0); n > 5 {
		t.Errorf("5,000 that are tracked already take %d", n)
	}
	// the one that is refused is found by halves
	spoilt := many(5_000)
	spoilt[3_333].TaskID = "bad id"
	_, err = operate.Track(t.Context(), pool, spoilt)
	wantRefusal(t, "one of 5,000", err, operate.Invalid, "", `task "bad id" was refused`)
	if n := asked.Swap(0); n > 60 {
		t.Errorf("finding one of 5,000 that is refused takes %d statements", n)
	}
}

// end gives a task a status that ends it.
func end(t *testing.T, status string, id int64) string {
	t.Helper()
	return fmt.Sprintf(`update klingwatch.tasks set status = '%s', finished_at = now() where id = %d`, status, id)
}

func TestWhichTasksCanBeCanceled(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	ids := track(t, pool, "open", "succeeded", "expired")
	exec(t, pool, end(t, db.Succeeded, ids[1]), end(t, db.Expired, ids[2]), fmt.Sprintf(`update klingwatch.tasks set late_checks_until = now() + interval '1 h' where id = %d`, ids[2]))
	for _, id := range []string{"open", "expired"} { // one that expired is still asked about now and then
		if err := operate.Cancel(t.Context(), pool, find(t, pool, id), deadline); err != nil {
			t.Errorf("%s: %v", id, err)
		}
		if task := find(t, pool, id); task.Status != db.Canceled || task.FinishedAt == nil {
			t.Errorf("%s: %+v", id, task)
		}
	}
	err := operate.Cancel(t.Context(), pool, find(t, pool, "open"), deadline)
	wantRefusal(t, "canceled already", err, operate.Conflict, "", "task 1: the task has ended already: canceled")
	err = operate.Cancel(t.Context(), pool, find(t, pool, "succeeded"), deadline)
	wantRefusal(t, "succeeded", err, operate.Conflict, "", "task 2: the task has ended already: succeeded")
	err = operate.Cancel(t.Context(), pool, db.Task{ID: 99}, deadline)
	wantRefusal(t, "unknown", err, operate.NotFound, "", "there is no task 99")
}

func TestWhichTasksCanBeRetried(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	ids := track(t, pool, db.Pending, db.Canceled, db.Succeeded, db.Failed, db.Expired, db.NotFound)
	cancel(t, pool, ids[1])
	for _, id := range ids[1:] {
		task := find(t, pool, fmt.Sprint(id))
		if task.TaskID != db.Canceled {
			exec(t, pool, end(t, task.TaskID, id))
		}
		if err := operate.Retry(t.Context(), pool, task, time.Hour); err != nil {
			t.Errorf("%s: %v", task.TaskID, err)
		}
		task = find(t, pool, task.TaskID)
		if left := time.Until(*task.DeadlineAt); task.Status != db.Pending || task.FinishedAt != nil || left > time.Hour || left < 59*time.Minute {
			t.Errorf("%+v", task)
		}
	}
	err := operate.Retry(t.Context(), pool, find(t, pool, db.Pending), deadline)
	wantRefusal(t, "open", err, operate.Conflict, "", "task 1 is pending and being tracked: there is nothing to retry")
	err = operate.Retry(t.Context(), pool, db.Task{ID: 99}, deadline)
	wantRefusal(t, "unknown", err, operate.NotFound, "", "there is no task 99")
}
