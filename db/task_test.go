package db_test

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/lookback"
)

// newTask is a task of the type videos/text2video.
func newTask(taskID string) db.NewTask {
	return db.NewTask{TaskID: taskID, Action: "videos", Action2: "text2video"}
}

// track inserts tasks of one type and returns our ids in their order.
func track(t testing.TB, q db.Querier, taskIDs ...string) []int64 {
	t.Helper()
	tasks := make([]db.NewTask, len(taskIDs))
	for i, id := range taskIDs {
		tasks[i] = newTask(id)
	}
	ids := make([]int64, len(taskIDs))
	for _, tracked := range must(db.InsertTasks(t.Context(), q, tasks))(t) {
		ids[slices.Index(taskIDs, tracked.TaskID)] = tracked.ID
	}
	if slices.Contains(ids, 0) {
		t.Fatalf("of %q some were tracked already", taskIDs)
	}
	return ids
}

// task reads the one task with an id.
func task(t testing.TB, q db.Querier, id int64) db.Task {
	t.Helper()
	found := must(db.FindTasks(t.Context(), q, strconv.FormatInt(id, 10)))(t)
	if len(found) != 1 {
		t.Fatalf("%d tasks have the id %d", len(found), id)
	}
	return found[0]
}

func trackedOf(t db.Task) db.Tracked {
	return db.Tracked{ID: t.ID, Relay: t.Relay, TaskID: t.TaskID, Action: t.Action, Action2: t.Action2}
}

func TestInsertingTasksSkipsThoseThatAreTracked(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	old := track(t, pool, "old")[0]
	full := db.NewTask{
		TaskID: "full", Action: "images", Action2: "generations", ExternalID: new("order-7"), CallbackURL: new("https://app.example/hook"),
		Metadata: json.RawMessage(`{"user": 7}`), DeadlineIn: new(90 * time.Minute),
		Archive: new(false), CallbackEvents: []string{"task.archived", "task.submitted"},
	}
	elsewhere, bare := newTask("old"), newTask("bare")
	elsewhere.Action2 = "lip-sync"
	bare.Metadata = json.RawMessage(`null`)
	list := []db.NewTask{full, newTask("old"), bare, elsewhere, bare}

	inserted := must(db.InsertTasks(t.Context(), pool, list))(t)
	found := must(db.FindTracked(t.Context(), pool, append(list, newTask("unknown"))))(t)
	slices.SortFunc(inserted, func(a, b db.Task) int { return int(a.ID - b.ID) })
	slices.SortFunc(found, func(a, b db.Tracked) int { return int(a.ID - b.ID) })
	found = slices.Compact(found)
	if len(inserted) != 3 || len(found) != 4 || found[0] != (db.Tracked{ID: old, Relay: "default", TaskID: "old", Action: "videos", Action2: "text2video"}) {
		t.Fatalf("inserted %+v, found %+v", inserted, found)
	}
	for i, tracked := range inserted {
		got := task(t, pool, tracked.ID)
		if found[i+1] != trackedOf(got) {
			t.Errorf("found %+v, which is %+v", found[i+1], got)
		}
		if diff := cmp.Diff(got, tracked); diff != "" {
			t.Errorf("a task is not what its insert said (-is +said):\n%s", diff)
		}
		if jobs := jobsOf(t, pool, "poll", tracked.ID); len(jobs) != 1 || jobs[0].State != "available" {
			t.Errorf("%s has the jobs %+v", tracked.TaskID, jobs)
		}
		if tracked.TaskID != "full" {
			if string(got.Metadata) != "{}" || got.ExternalID != nil || got.CallbackURL != nil || got.DeadlineAt != nil || got.Archive != nil || len(got.CallbackEvents) != 0 {
				t.Errorf("%s is %+v", tracked.TaskID, got)
			}
			continue
		}
		if *got.ExternalID != *full.ExternalID || *got.CallbackURL != *full.CallbackURL || string(got.Metadata) != `{"user": 7}` ||
			got.DeadlineAt.Sub(got.CreatedAt) != 90*time.Minute || got.Status != db.Pending || *got.Archive || !slices.Equal(got.CallbackEvents, full.CallbackEvents) || got.Action != "images" || got.Action2 != "generations" {
			t.Errorf("full is %+v", got)
		}
	}
}

func TestOneRefusedTaskLetsNoneIn(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	for name, change := range map[string]func(*db.NewTask){
		"a space":             func(n *db.NewTask) { n.TaskID = "a b" },
		"a zero byte":         func(n *db.NewTask) { n.TaskID = "a\x00b" },
		"metadata of a list":  func(n *db.NewTask) { n.Metadata = json.RawMessage(`[]`) },
		"a relative callback": func(n *db.NewTask) { n.CallbackURL = new("/hook") },
	} {
		refused := newTask("refused")
		change(&refused)
		if _, err := db.InsertTasks(t.Context(), pool, []db.NewTask{newTask("fine"), refused}); !db.RefusedValue(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	broken := newTask("broken")
	broken.Metadata = json.RawMessage(`{`)
	if _, err := db.InsertTasks(t.Context(), pool, []db.NewTask{broken}); err == nil {
		t.Error("metadata that is not JSON was accepted")
	}
	if n := value[int](t, pool, `select count(*) from klingwatch.tasks`); n != 0 {
		t.Errorf("%d tasks were inserted", n)
	}
}

// Two apps insert the same task at the same moment: the second waits for what
// becomes of the first.
func TestTwoInsertTheSameTaskAtOnce(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	for _, end := range []string{"commit", "rollback"} {
		tasks := []db.NewTask{newTask(end)}
		first := begin(t, pool)
		mine := must(db.InsertTasks(t.Context(), first, tasks))(t)
		var theirs []db.Task
		wait := dbtest.Blocked(t, pool, func() (err error) {
			theirs, err = db.InsertTasks(t.Context(), pool, tasks)
			return err
		})
		if end == "commit" {
			check(t, first.Commit(t.Context()))
		} else {
			check(t, first.Rollback(t.Context()))
		}
		check(t, wait())
		found := must(db.FindTracked(t.Context(), pool, tasks))(t)
		switch {
		case len(mine) != 1 || len(found) != 1:
			t.Errorf("%s: the first inserted %v, and %v is there", end, mine, found)
		case end == "commit" && (len(theirs) != 0 || found[0] != trackedOf(mine[0])):
			t.Errorf("after the commit the second inserted %v, and %v is there", theirs, found)
		case end == "rollback" && (len(theirs) != 1 || found[0] != trackedOf(theirs[0])):
			t.Errorf("after the rollback the second inserted %v, and %v is there", theirs, found)
		}
	}
}

func TestTasksAreListedAndFound(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	ids := track(t, pool, "a", "b", "c")
	other := must(db.InsertTasks(t.Context(), pool, []db.NewTask{
		{TaskID: "a", Action: "videos", Action2: "avatar/image2video"},
		{TaskID: strconv.FormatInt(ids[1], 10), Action: "images", Action2: "generations"},
	}))(t)
	move(t, pool, ids[2], db.Failed)
	for name, list := range map[string]struct {
		choice db.TaskChoice
		limit  int
		want   []int64
	}{
		"all, newest first": {db.TaskChoice{}, 9, []int64{other[1].ID, other[0].ID, ids[2], ids[1], ids[0]}},
		"the newest two":    {db.TaskChoice{}, 2, []int64{other[1].ID, other[0].ID}},
		"by status":         {db.TaskChoice{Statuses: []string{db.Failed}}, 9, []int64{ids[2]}},
		"by action":         {db.TaskChoice{Path: "videos"}, 9, []int64{other[0].ID, ids[2], ids[1], ids[0]}},
		"by the whole path": {db.TaskChoice{Path: "videos/avatar/image2video"}, 9, []int64{other[0].ID}},
		"by both":           {db.TaskChoice{Statuses: []string{db.Pending}, Path: "videos/text2video"}, 9, []int64{ids[1], ids[0]}},
		"by half a path":    {db.TaskChoice{Path: "videos/avatar"}, 9, nil},
	} {
		if got := idsOf(must(db.ListTasks(t.Context(), pool, list.choice, lookback.Search{Limit: list.limit}))(t).Items); !slices.Equal(got, list.want) {
			t.Errorf("%s: %v, want %v", name, got, list.want)
		}
	}
	for id, want := range map[string][]int64{
		"a":                              {ids[0], other[0].ID},
		strconv.FormatInt(ids[1], 10):    {ids[1], other[1].ID}, // our id of one, the provider's of the other
		strconv.FormatInt(ids[0], 10):    {ids[0]},
		"nobody":                         nil,
		"-1":                             nil,
		"99999999999999999999999999":     nil, // more than a bigint holds
		strings.Repeat("0", 17) + "1":    {1},
		"1; drop table klingwatch.tasks": nil,
	} {
		if got := idsOf(must(db.FindTasks(t.Context(), pool, id))(t)); !slices.Equal(got, want) {
			t.Errorf("finding %q: %v, want %v", id, got, want)
		}
	}
	statuses := must(db.StatusesOf(t.Context(), pool, []int64{ids[2], 12345, ids[0]}))(t)
	want := []db.TaskStatus{{ID: ids[0], TaskID: "a", Status: db.Pending}, {ID: ids[2], TaskID: "c", Status: db.Failed, StatusMessage: "as a test wants"}}
	if !slices.Equal(statuses, want) {
		t.Errorf("statuses %+v", statuses)
	}
}

func idsOf(tasks []db.Task) (ids []int64) {
	for _, t := range tasks {
		ids = append(ids, t.ID)
	}
	return ids
}

// The polls of a task that sleeps are noted in its job only.
func TestATaskShowsWhatItsSleepingJobKnows(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	id := track(t, pool, "t")[0]
	run(t, pool, `update klingwatch.river_job set state = 'scheduled', scheduled_at = '2030-01-01', metadata = '{"klingwatch": {"polls": 7}}'`)
	if got := task(t, pool, id); got.Polls != 7 || got.NextPollAt == nil || got.NextPollAt.Year() != 2030 {
		t.Errorf("asleep: %d polls, next at %v", got.Polls, got.NextPollAt)
	}
	run(t, pool, `update klingwatch.river_job set state = 'running'`)
	if got := task(t, pool, id); got.Polls != 7 || got.NextPollAt != nil {
		t.Errorf("running: %d polls, next at %v", got.Polls, got.NextPollAt)
	}
	run(t, pool, `update klingwatch.tasks set polls = 9`)
	if got := task(t, pool, id); got.Polls != 9 {
		t.Errorf("%d polls, although 9 are written", got.Polls)
	}
	run(t, pool, `update klingwatch.river_job set state = 'scheduled'`)
	move(t, pool, id, db.Succeeded)
	if got := task(t, pool, id); got.NextPollAt != nil {
		t.Errorf("a task that succeeded has its next poll at %v", got.NextPollAt)
	}
}

func TestATaskThatHasEndedIsReopened(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	for status, want := range map[string]bool{
		db.Pending: false, db.Submitted: false, db.Processing: false,
		db.Succeeded: true, db.Failed: true, db.Expired: true, db.NotFound: true, db.Canceled: true,
	} {
		id := track(t, pool, status)[0]
		if status != db.Pending {
			move(t, pool, id, status)
		}
		run(t, pool, `update klingwatch.tasks set last_error = 'timeout', late_checks_until = now() where id = $1`, id)
		run(t, pool, `update klingwatch.river_job set state = 'completed', finalized_at = now() where unique_key = klingwatch.job_key('poll', $1)`, id)
		before := version(t, pool, id)
		if got := must(db.ReopenTasks(t.Context(), pool, []int64{id}, time.Hour))(t); len(got) == 1 != want {
			t.Errorf("reopening a task that is %s: %v", status, got)
			continue
		}
		got, jobs := task(t, pool, id), jobsOf(t, pool, "poll", id)
		if !want {
			if got.Status != status || version(t, pool, id) != before || len(jobs) != 0 {
				t.Errorf("%s became %+v with the jobs %+v", status, got, jobs)
			}
			continue
		}
		left := got.DeadlineAt.Sub(must(db.Clock(t.Context(), pool))(t))
		if got.Status != db.Pending || got.FinishedAt != nil || got.LastError != nil || got.LastPolledAt != nil || !near(left, time.Hour) ||
			version(t, pool, id) != before+1 || len(jobs) != 1 || jobs[0].State != "available" {
			t.Errorf("%s became %+v with the jobs %+v", status, got, jobs)
		}
		if !value[bool](t, pool, `select retried_at is not null and late_checks_until is null from klingwatch.tasks where id = $1`, id) {
			t.Errorf("%s: the retry is not noted", status)
		}
	}
	if got := must(db.ReopenTasks(t.Context(), pool, []int64{12345}, time.Hour))(t); len(got) > 0 {
		t.Error("a task that is not there was reopened")
	}
}

func TestTwoReopenATaskAtOnce(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	id := track(t, pool, "t")[0]
	move(t, pool, id, db.Failed)
	first, second := begin(t, pool), []int64{id}
	if len(must(db.ReopenTasks(t.Context(), first, []int64{id}, time.Hour))(t)) != 1 {
		t.Fatal("it was not reopened")
	}
	wait := dbtest.Blocked(t, pool, func() (err error) {
		second, err = db.ReopenTasks(t.Context(), pool, []int64{id}, time.Hour)
		return err
	})
	commit(t, first)
	check(t, wait())
	if len(second) > 0 || version(t, pool, id) != 2 || len(jobsOf(t, pool, "poll", id)) != 1 {
		t.Errorf("the second reopened it: %v; version %d, jobs %+v", second, version(t, pool, id), jobsOf(t, pool, "poll", id))
	}
}

// version reads the version of a task's row.
func version(t testing.TB, q db.Querier, id int64) int {
	t.Helper()
	return value[int](t, q, `select version from klingwatch.tasks where id = $1`, id)
}

func TestTerminalStatusesAreThoseThatEndATask(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	id := track(t, pool, "t")[0]
	for _, status := range db.Statuses {
		if status != db.Pending {
			move(t, pool, id, status)
		}
		if ended := task(t, pool, id).FinishedAt != nil; ended != db.Terminal(status) {
			t.Errorf("%s: terminal %v, but finished_at is set: %v", status, db.Terminal(status), ended)
		}
	}
	if db.Terminal("unknown") {
		t.Error("an unknown word ends a task")
	}
}

// One line per path, those with most tasks first: only open tasks count, and only
// the word before the first colon says the kind.
func TestTheTroubledPathsAreThoseOfOneKindOfTrouble(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	for _, task := range []struct{ id, action, action2, trouble string }{
		{"1", "images", "generations", "misconfigured: a"},
		{"2", "videos", "text2video", "misconfigured: b"},
		{"3", "videos", "text2video", "misconfigured: c: d"},
		{"4", "videos", "text2video", "timeout: misconfigured: e"},
		{"5", "videos", "image2video", "misconfigured_too: f"},
		{"6", "audios", "tts", ""},
	} {
		ids := must(db.InsertTasks(t.Context(), pool, []db.NewTask{{TaskID: task.id, Action: task.action, Action2: task.action2}}))(t)
		must(db.RecordTroubles(t.Context(), pool, []db.Trouble{{Task: ids[0].ID, Created: target(t, pool, ids[0].ID).CreatedAt, Error: task.trouble}}))(t)
	}
	ended := track(t, pool, "ended")[0]
	move(t, pool, ended, db.Failed)
	must(pool.Exec(t.Context(), `update klingwatch.tasks set last_error = 'misconfigured: g' where id = $1`, ended))(t)

	got := must(db.TroubledPaths(t.Context(), pool, "misconfigured"))(t)
	want := []db.TroubledPath{
		{Relay: "default", Action: "videos", Action2: "text2video", Tasks: 2, Error: "misconfigured: c: d"},
		{Relay: "default", Action: "images", Action2: "generations", Tasks: 1, Error: "misconfigured: a"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %+v", got)
	}
}

// Page by page, whatever is chosen, and however little time there is, all that is chosen is found once, newest first.
func TestPagesFindAllThatIsChosen(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	const n = 6000
	run(t, pool, `alter table klingwatch.tasks disable trigger enqueue`)
	run(t, pool, `
		insert into klingwatch.tasks (task_id, action, action2, app, external_id, metadata, status, status_message, created_at, finished_at)
		select 't' || i, case when i = 5 then 'audio' else 'videos' end, 'text2video', case when i = 7 then 'rare' else 'shop' end,
		       case when i % 1000 = 3 then 'order-1' end, case when i % 2000 = 9 then '{"user": 7}' else '{}' end::jsonb, s, case when s = 'failed' then 'quota' else '' end,
		       -- some were entered later than they are old
		       now() - case when i % 1500 = 0 then interval '20 h' else (6001 - i) * interval '10 s' end, case when s <> 'processing' then now() end
		from (select i, case when i % 700 = 1 then 'failed' when i = 11 then 'expired' when i % 3000 = 2 then 'processing' else 'succeeded' end as s from generate_series(1, $1::int) i) x`, n)
	run(t, pool, `vacuum analyze klingwatch.tasks`)
	ago := func(hours float64) time.Time { return time.Now().Add(time.Duration(-hours * float64(time.Hour))) }
	for name, c := range map[string]struct {
		choice db.TaskChoice
		sql    string
	}{
		"all":                {db.TaskChoice{}, `true`},
		"rare":               {db.TaskChoice{Statuses: []string{db.Failed}}, `status = 'failed'`},
		"one":                {db.TaskChoice{Statuses: []string{db.Expired}}, `status = 'expired'`},
		"two statuses":       {db.TaskChoice{Statuses: []string{db.Expired, db.Failed}}, `status in ('expired', 'failed')`},
		"open":               {db.TaskChoice{Statuses: []string{db.Processing}}, `status = 'processing'`},
		"open or failed":     {db.TaskChoice{Statuses: []string{db.Processing, db.Failed}}, `status in ('processing', 'failed')`},
		"succeeded":          {db.TaskChoice{Statuses: []string{db.Succeeded, db.Failed}}, `status in ('succeeded', 'failed')`},
		"absent":             {db.TaskChoice{Statuses: []string{db.NotFound}}, `false`},
		"path":               {db.TaskChoice{Path: "audio"}, `action = 'audio'`},
		"whole path":         {db.TaskChoice{Path: "audio/text2video"}, `action = 'audio'`},
		"app":                {db.TaskChoice{App: "rare"}, `app = 'rare'`},
		"absent app":         {db.TaskChoice{App: "nobody"}, `false`},
		"external id":        {db.TaskChoice{ExternalID: "order-1"}, `external_id = 'order-1'`},
		"metadata":           {db.TaskChoice{Metadata: map[string]string{"user": "7"}}, `metadata->>'user' = '7'`},
		"error":              {db.TaskChoice{Error: "QUOTA"}, `status_message = 'quota'`},
		"since":              {db.TaskChoice{Since: ago(8)}, `created_at >= now() - interval '8 h'`},
		"until":              {db.TaskChoice{Until: ago(8)}, `created_at < now() - interval '8 h'`},
		"in between":         {db.TaskChoice{Since: ago(9), Until: ago(8)}, `created_at >= now() - interval '9 h' and created_at < now() - interval '8 h'`},
		"failed until":       {db.TaskChoice{Statuses: []string{db.Failed}, Until: ago(4)}, `status = 'failed' and created_at < now() - interval '4 h'`},
		"until all are from": {db.TaskChoice{Until: ago(100)}, `false`},
	} {
		want := value[[]int64](t, pool, `select coalesce(array_agg(id order by id desc), '{}') from klingwatch.tasks where `+c.sql)
		for _, within := range []time.Duration{0, time.Minute} {
			var got []int64
			for s := (lookback.Search{Limit: 900, Within: within}); ; {
				page := must(db.ListTasks(t.Context(), pool, c.choice, s))(t)
				got = append(got, idsOf(page.Items)...)
				if page.Cut && (page.Since.IsZero() || within > 0) {
					t.Errorf("%s: with %s it is cut at %d, of %s", name, within, page.Next, page.Since)
				}
				if s.Before = page.Next; s.Before == 0 {
					break
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s, within %s: %d are found, want %d", name, within, len(got), len(want))
			}
		}
	}
	for most, want := range map[int]db.Count{5: {5, false}, 9: {9, true}, 100: {9, true}} {
		if got := must(db.CountTasksUpTo(t.Context(), pool, db.TaskChoice{Statuses: []string{db.Failed}}, most))(t); got != want {
			t.Errorf("counted up to %d: %+v", most, got)
		}
	}
}

// A status change of an open task touches no index; the end without success is noted whoever writes it.
func TestTheEndWithoutSuccessIsNoted(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	ids := track(t, pool, "a", "b")
	ended := func(id int64) string {
		return value[string](t, pool, `select coalesce(ended_as, '') from klingwatch.tasks where id = $1`, id)
	}
	move(t, pool, ids[0], db.Failed)
	move(t, pool, ids[1], db.Succeeded)
	if ended(ids[0]) != db.Failed || ended(ids[1]) != "" {
		t.Errorf("failed is noted as %q, succeeded as %q", ended(ids[0]), ended(ids[1]))
	}
	must(db.ReopenTasks(t.Context(), pool, ids, time.Hour))(t)
	if ended(ids[0]) != "" {
		t.Errorf("a task that is open again is noted as %q", ended(ids[0]))
	}
	run(t, pool, `insert into klingwatch.tasks (task_id, action, action2, status, finished_at) values ('c', 'videos', 'text2video', 'canceled', now())`)
	if got := value[string](t, pool, `select ended_as from klingwatch.tasks where task_id = 'c'`); got != db.Canceled {
		t.Errorf("an inserted one is noted as %q", got)
	}
}
