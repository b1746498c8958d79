package operate_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/operate"
)

// What a creation answers is not read with the jobs, which would take longer than all else;
// it is the same.
func TestACreatedTaskIsAsItIsReadLater(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	tasks := []db.NewTask{{TaskID: "one", Action: "videos", Action2: "text2video"}, {TaskID: "two", Action: "videos", Action2: "text2video"}}
	for _, wanted := range [][]db.NewTask{tasks[:1], tasks} { // the second time one is there, and one is new
		created, err := operate.Create(t.Context(), pool, wanted)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range created {
			read, err := db.TasksOf(t.Context(), pool, []int64{c.ID})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(read[0], c.Task); diff != "" || c.NextPollAt == nil {
				t.Errorf("task %s was answered otherwise than it is read: %s", c.TaskID, diff)
			}
		}
	}
}

// Whoever repeats a request gets the task that is there, unless it says otherwise now what is
// kept and told.
func TestATaskIsTheSameOnlyIfTheSameIsKeptAndTold(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	task := db.NewTask{
		TaskID: "one", Action: "videos", Action2: "text2video", CallbackURL: new("https://app.example/hook"), Archive: new(true), CallbackEvents: []string{"task.archived", "task.processing"},
	}
	again, unsaid, refused, told := task, task, task, task
	again.CallbackEvents = []string{"task.processing", "task.archived", "task.archived"}
	unsaid.Archive, refused.Archive, told.CallbackEvents = nil, new(false), []string{"task.archived"}
	for i, wanted := range []db.NewTask{task, again} {
		if created, err := operate.Create(t.Context(), pool, []db.NewTask{wanted}); err != nil || created[0].New != (i == 0) || !*created[0].Archive || len(created[0].CallbackEvents) != 2 {
			t.Errorf("%+v, %v", created, err)
		}
	}
	for name, wanted := range map[string]db.NewTask{"unsaid": unsaid, "refused": refused, "told": told} {
		_, err := operate.Create(t.Context(), pool, []db.NewTask{wanted})
		wantRefusal(t, name, err, operate.Differs, "", "is tracked already, with other values")
	}
	unheard := task
	unheard.CallbackURL = nil
	_, err := operate.Create(t.Context(), pool, []db.NewTask{unheard})
	wantRefusal(t, "without a URL", err, operate.Invalid, "callback_events", "goes with callback_url")
	told.CallbackEvents = []string{"task.succeeded"}
	_, err = operate.Track(t.Context(), pool, []db.NewTask{told})
	wantRefusal(t, "what comes anyway", err, operate.Invalid, "callback_events", `must be task.submitted, task.processing, task.archived or task.archive_failed, not "task.succeeded"`)
}
