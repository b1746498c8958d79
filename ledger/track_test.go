package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/ledger"
)

func TestTrackingAnswersInTheOrderOfTheList(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	old := track(t, pool, "old")[0]
	elsewhere := newTask("a")
	elsewhere.Action2 = "lip-sync"
	tracked := must(ledger.Track(t.Context(), pool, []db.NewTask{newTask("b"), newTask("old"), newTask("a"), newTask("b"), elsewhere, newTask("old")}, nil))(t)
	var added []bool
	for _, task := range tracked {
		added = append(added, task.Added)
	}
	if !slices.Equal(added, []bool{true, false, true, false, true, false}) {
		t.Errorf("added %v", added)
	}
	for i, want := range []string{"b videos/text2video", "old videos/text2video", "a videos/text2video", "b videos/text2video", "a videos/lip-sync", "old videos/text2video"} {
		if task := must(db.GetPollTarget(t.Context(), pool, tracked[i].ID, deadline))(t); task.TaskID+" "+task.Action+"/"+task.Action2 != want {
			t.Errorf("place %d is %+v, want %s", i, task, want)
		}
	}
	if tracked[1].ID != old || tracked[5].ID != old || tracked[0].ID != tracked[3].ID {
		t.Errorf("tracked %+v", tracked)
	}
	if got := must(ledger.Track(t.Context(), pool, nil, nil))(t); len(got) != 0 {
		t.Errorf("of nothing %+v was tracked", got)
	}
}

func TestOfManyTasksTheRefusedOneIsNamed(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	for _, place := range []int{0, 36, 99} {
		var tasks []db.NewTask
		for i := range 100 {
			tasks = append(tasks, newTask(fmt.Sprintf("t%d", i)))
		}
		tasks[place].CallbackURL = new("/hook")
		_, err := ledger.Track(t.Context(), pool, tasks, nil)
		var refused *ledger.RefusedError
		if !errors.As(err, &refused) || refused.TaskID != tasks[place].TaskID || !db.RefusedValue(refused.Err) || !strings.Contains(err.Error(), "callback_url: absolute http(s) URL") || strings.Contains(err.Error(), "\n") {
			t.Errorf("place %d: %v", place, err)
		}
	}
	if n := count(t, pool, `select count(*) from klingwatch.tasks`); n != 0 {
		t.Errorf("%d tasks were tracked", n)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := ledger.Track(ended, pool, []db.NewTask{newTask("t")}, nil); !errors.Is(err, context.Canceled) || !strings.HasPrefix(err.Error(), "tracking 1 tasks: ") {
		t.Errorf("a caller who left: %v", err)
	}
}

// Two apps track the same task at once: the second waits for what becomes of the
// first.
func TestTwoTrackTheSameTaskAtOnce(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	for _, end := range []string{"commit", "rollback"} {
		first := begin(t, pool)
		must(db.InsertTasks(t.Context(), first, []db.NewTask{newTask(end)}))(t)
		var tracked []ledger.Tracked
		wait := dbtest.Blocked(t, pool, func() (err error) {
			tracked, err = ledger.Track(t.Context(), pool, []db.NewTask{newTask(end + "-other"), newTask(end)}, nil)
			return err
		})
		if end == "commit" {
			check(t, first.Commit(t.Context()))
		} else {
			check(t, first.Rollback(t.Context()))
		}
		check(t, wait())
		found := must(db.FindTasks(t.Context(), pool, end))(t)
		if len(found) != 1 || tracked[1] != (ledger.Tracked{ID: found[0].ID, Added: end == "rollback"}) || !tracked[0].Added {
			t.Errorf("after the %s: tracked %+v, found %+v", end, tracked, found)
		}
	}
}

// Two track the same two tasks in opposite orders, and wait for each other. Postgres
// ends the one that began to wait last.
func TestTrackingSurvivesADeadlock(t *testing.T) {
	t.Parallel()
	pool := open(t, "&deadlock_timeout=20ms")
	other, delay := begin(t, pool), begin(t, pool)
	run(t, other, `set local deadlock_timeout = '1 min'`)
	must(db.InsertTasks(t.Context(), other, []db.NewTask{newTask("a")}))(t)
	must(db.InsertTasks(t.Context(), delay, []db.NewTask{newTask("between")}))(t)
	var tracked []ledger.Tracked
	track := dbtest.Blocked(t, pool, func() (err error) {
		tracked, err = ledger.Track(t.Context(), pool, []db.NewTask{newTask("b"), newTask("between"), newTask("a")}, nil)
		return err
	})
	insert := dbtest.Blocked(t, pool, func() error {
		_, err := db.InsertTasks(t.Context(), other, []db.NewTask{newTask("b")})
		return err
	})
	check(t, delay.Rollback(t.Context()))
	check(t, insert())
	check(t, other.Commit(t.Context()))
	check(t, track())
	if len(tracked) != 3 || tracked[0].Added || !tracked[1].Added || tracked[2].Added || count(t, pool, `select count(*) from klingwatch.tasks`) != 3 {
		t.Errorf("tracked %+v", tracked)
	}
}

// Somebody deletes the task as soon as it is there.
func TestTrackingGivesUpOnATaskThatNeverStays(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	run(t, pool, `create function klingwatch.skip() returns trigger language plpgsql as 'begin return null; end'`)
	run(t, pool, `create trigger skip before insert on klingwatch.tasks for each row execute function klingwatch.skip()`)
	if _, err := ledger.Track(t.Context(), pool, []db.NewTask{newTask("t")}, nil); err == nil || err.Error() != `tracking 1 tasks: task "t" is inserted and deleted all the time` {
		t.Errorf("tracking: %v", err)
	}
}
