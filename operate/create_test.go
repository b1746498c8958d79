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
