package db_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
)

const deadline = 24 * time.Hour

// target reads what a poll needs to know of a task.
func target(t testing.TB, q db.Querier, id int64) db.PollTarget {
	t.Helper()
	return must(db.GetPollTarget(t.Context(), q, id, deadline))(t)
}

// move gives a task a status, as somebody who has just read it.
func move(t testing.TB, q db.Querier, id int64, status string) db.Changed {
	t.Helper()
	task := target(t, q, id)
	changed := must(db.ApplyChanges(t.Context(), q, []db.Change{{
		Task: id, Created: task.CreatedAt, Version: task.Version, From: task.Status, Status: status, StatusMessage: "as a test wants", Deadline: deadline,
	}}))(t)
	if len(changed) != 1 {
		t.Fatalf("task %d did not become %s", id, status)
	}
	return changed[0]
}

func TestAPollTargetSaysHowOldATaskIsAndWhatIsLeft(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	ids := track(t, pool, "fresh", "own", "ended", "eternal", "ancient")
	for id, sql := range map[int64]string{
		ids[0]: `update klingwatch.tasks set created_at = now() - interval '1 h' where id = $1`,
		ids[1]: `update klingwatch.tasks set deadline_at = now() - interval '10 min', upstream_status = 'queued', last_error = 'timeout', polls = 3 where id = $1`,
		ids[2]: `update klingwatch.tasks set status = 'failed', finished_at = now() - interval '5 min' where id = $1`,
		ids[3]: `update klingwatch.tasks set deadline_at = now() + interval '10000 y' where id = $1`,
		ids[4]: `update klingwatch.tasks set deadline_at = now() - interval '1000 y' where id = $1`,
	} {
		run(t, pool, sql, id)
	}
	byID := map[int64]db.PollTarget{}
	for _, target := range must(db.PollTargets(t.Context(), pool, append(ids, 12345), deadline))(t) {
		byID[target.ID] = target
	}
	if len(byID) != len(ids) {
		t.Errorf("%d targets of %d tasks", len(byID), len(ids))
	}
	if f := byID[ids[0]]; f.TaskID != "fresh" || f.Action != "videos" || f.Action2 != "text2video" || f.Status != db.Pending || f.Version != 1 ||
		f.UpstreamStatus != "" || f.LastError != "" || f.Ended != 0 || !near(f.Age, time.Hour) || !near(f.Left, 23*time.Hour) {
		t.Errorf("fresh: %+v", f)
	}
	if o := byID[ids[1]]; !near(o.Left, -10*time.Minute) || o.UpstreamStatus != "queued" || o.LastError != "timeout" || o.Polls != 3 {
		t.Errorf("own deadline: %+v", o)
	}
	if e := byID[ids[2]]; !near(e.Ended, 5*time.Minute) || e.Status != db.Failed {
		t.Errorf("ended: %+v", e)
	}
	const decades = 30 * 365 * 24 * time.Hour
	if far, past := byID[ids[3]].Left, byID[ids[4]].Left; far < decades || past > -decades {
		t.Errorf("%s are left until the year 12000, %s since the year 1000", far, past)
	}
	if _, err := db.GetPollTarget(t.Context(), pool, 12345, deadline); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("an unknown task: %v", err)
	}
}

func TestAChangeWritesWhatTheReplySaid(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	id := must(db.InsertTasks(t.Context(), pool, []db.NewTask{{
		TaskID: "t", Action: "videos", Action2: "text2video", ExternalID: new("order-7"), CallbackURL: new("https://app.example/hook"), Metadata: json.RawMessage(`{"a": 1}`),
	}}))(t)[0].ID
	created, updated := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), time.Date(2026, 1, 2, 3, 5, 5, 0, time.UTC)
	apply := func(c db.Change) db.Changed {
		t.Helper()
		now := target(t, pool, id)
		c.Task, c.Created, c.Version, c.Deadline = id, now.CreatedAt, now.Version, deadline
		changed := must(db.ApplyChanges(t.Context(), pool, []db.Change{c}))(t)
		if len(changed) != 1 {
			t.Fatalf("not applied: %+v", c)
		}
		return changed[0]
	}
	first := apply(db.Change{
		Status: db.Submitted, UpstreamStatus: new("queued"), ErrorCode: new("1200"), RequestID: new("r-1"), Result: json.RawMessage(`{"n": 1}`),
		UnitDeduction: new("0.75"), Polls: 2, UpstreamCreatedAt: &created, UpstreamUpdatedAt: &updated, LastError: new("odd"), Polled: true,
	})
	if first.Task != id || first.TaskID != "t" || first.Action != "videos" || first.Action2 != "text2video" || *first.ExternalID != "order-7" ||
		string(first.Metadata) != `{"a": 1}` || *first.CallbackURL != "https://app.example/hook" || first.FinishedAt != nil || first.Sequence != 1 ||
		first.ChangedAt.Before(first.CreatedAt) {
		t.Errorf("the first change found %+v", first)
	}
	if got := task(t, pool, id); got.Status != db.Submitted || *got.UpstreamStatus != "queued" || *got.ErrorCode != "1200" || *got.RequestID != "r-1" ||
		string(got.Result) != `{"n": 1}` || got.UnitDeduction.String() != "0.75" || got.Polls != 2 || !got.UpstreamCreatedAt.Equal(created) ||
		!got.UpstreamUpdatedAt.Equal(updated) || *got.LastError != "odd" || !got.LastPolledAt.Equal(first.ChangedAt) ||
		!got.SubmittedAt.Equal(first.ChangedAt) || got.ProcessingAt != nil || !got.DeadlineAt.Equal(got.CreatedAt.Add(deadline)) {
		t.Errorf("after the first change: %+v", got)
	}
	second := apply(db.Change{Status: db.Processing, StatusMessage: "at work", Polls: 1})
	got := task(t, pool, id)
	if got.StatusMessage != "at work" || *got.UpstreamStatus != "queued" || got.ErrorCode != nil || *got.RequestID != "r-1" || string(got.Result) != `{"n": 1}` ||
		got.UnitDeduction.String() != "0.75" || got.Polls != 2 || !got.UpstreamCreatedAt.Equal(created) || got.LastError != nil ||
		!got.LastPolledAt.Equal(first.ChangedAt) || !got.SubmittedAt.Equal(first.ChangedAt) || !got.ProcessingAt.Equal(second.ChangedAt) {
		t.Errorf("nothing but the status was given: %+v", got)
	}
	if third := apply(db.Change{Status: db.Processing}); !task(t, pool, id).ProcessingAt.Equal(second.ChangedAt) {
		t.Errorf("first seen processing at %s, then at %s", second.ChangedAt, third.ChangedAt)
	}
	addEvent(t, pool, id)
	last := apply(db.Change{Status: db.Expired, LateChecks: time.Hour})
	if late := value[time.Time](t, pool, `select late_checks_until from klingwatch.tasks`); last.Sequence != 2 || !last.FinishedAt.Equal(last.ChangedAt) || !late.Equal(last.ChangedAt.Add(time.Hour)) {
		t.Errorf("the last change found %+v, and is checked until %s", last, late)
	}
	apply(db.Change{Status: db.Canceled})
	if until := value[*time.Time](t, pool, `select late_checks_until from klingwatch.tasks`); until != nil {
		t.Errorf("a canceled task is checked until %s", until)
	}
	if _, err := db.ApplyChanges(t.Context(), pool, []db.Change{{Task: id, Version: 99, Status: db.Failed, Result: json.RawMessage(`{`)}}); err == nil {
		t.Error("a result that is not JSON was accepted")
	}
}

// A process was frozen while the task ended and a person had it asked again: the
// status is the one that it decided on, the row is not.
func TestAStaleChangeIsLeftAlone(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	id := track(t, pool, "t")[0]
	move(t, pool, id, db.Submitted)
	frozen := target(t, pool, id)
	move(t, pool, id, db.Failed)
	must(db.ReopenTasks(t.Context(), pool, []int64{id}, deadline))(t)
	move(t, pool, id, db.Submitted)
	before := task(t, pool, id)

	changed := must(db.ApplyChanges(t.Context(), pool, []db.Change{{
		Task: id, Created: frozen.CreatedAt, Version: frozen.Version, From: frozen.Status, Status: db.Submitted, UpstreamStatus: new("old"), Polls: 99, Deadline: deadline, Polled: true,
	}}))(t)
	recorded := must(db.RecordTroubles(t.Context(), pool, []db.Trouble{{Task: id, Created: frozen.CreatedAt, Version: frozen.Version, Error: "old", Polls: 99}}))(t)
	after := task(t, pool, id)
	if len(changed)+len(recorded) != 0 || after.UpstreamStatus != nil || after.LastError != nil || after.Polls != before.Polls || version(t, pool, id) != 4 {
		t.Errorf("changed %v, recorded %v, the task is %+v", changed, recorded, after)
	}
}

// After the promotion of a standby that lagged, ids are given again.
func TestWhatWasFoundOutAboutALostTaskIsNotWrittenToAnotherOfItsID(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	lost := target(t, pool, track(t, pool, "lost")[0])
	run(t, pool, `delete from klingwatch.river_job`)
	run(t, pool, `delete from klingwatch.tasks`)
	run(t, pool, `alter table klingwatch.tasks alter column id restart`)
	id := track(t, pool, "another")[0]
	if id != lost.ID || target(t, pool, id).Version != lost.Version {
		t.Fatalf("task %d in version %d follows %d", id, target(t, pool, id).Version, lost.ID)
	}
	changed := must(db.ApplyChanges(t.Context(), pool, []db.Change{{
		Task: lost.ID, Created: lost.CreatedAt, Version: lost.Version, From: lost.Status, Status: db.Failed, Deadline: deadline, Polled: true,
	}}))(t)
	recorded := must(db.RecordTroubles(t.Context(), pool, []db.Trouble{{Task: lost.ID, Created: lost.CreatedAt, Version: lost.Version, Error: "timeout"}}))(t)
	if got := task(t, pool, id); len(changed)+len(recorded) != 0 || got.Status != db.Pending || got.LastError != nil {
		t.Errorf("changed %v, recorded %v, the other task is %+v", changed, recorded, got)
	}
}

func TestATroubleIsWrittenAndForgotten(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	ids := track(t, pool, "a", "b")
	recorded := must(db.RecordTroubles(t.Context(), pool, []db.Trouble{
		{Task: ids[0], Created: target(t, pool, ids[0]).CreatedAt, Error: "timeout", Polls: 4},
		{Task: ids[1], Created: target(t, pool, ids[1]).CreatedAt, Version: 7, Error: "timeout"},
		{Task: 12345},
	}))(t)
	got := task(t, pool, ids[0])
	if len(recorded) != 1 || recorded[0] != ids[0] || *got.LastError != "timeout" || got.Polls != 4 || got.LastPolledAt == nil || got.Status != db.Pending {
		t.Errorf("recorded %v, the task is %+v", recorded, got)
	}
	if other := task(t, pool, ids[1]); other.LastError != nil {
		t.Errorf("another version was written: %+v", other)
	}
	must(db.RecordTroubles(t.Context(), pool, []db.Trouble{{Task: ids[0], Created: got.CreatedAt, Version: 1, Polls: 3}}))(t)
	if got := task(t, pool, ids[0]); got.LastError != nil || got.Polls != 4 || version(t, pool, ids[0]) != 2 {
		t.Errorf("after an answer: %+v", got)
	}
}

// Two processes decide on the same version of a task at once: one of them wins.
func TestTasksThatOthersHaveLockedAreFound(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	ids := track(t, pool, "a", "b", "c")
	holder := begin(t, pool)
	run(t, holder, `select from klingwatch.tasks where id = $1 for update`, ids[1])
	for _, q := range []db.Querier{pool, pool} { // looking locks nothing
		if locked := must(db.LockedTasks(t.Context(), q, append(ids, 1000)))(t); !slices.Equal(locked, ids[1:2]) {
			t.Errorf("locked are %v, want %v", locked, ids[1:2])
		}
	}
	commit(t, holder)
	if locked := must(db.LockedTasks(t.Context(), pool, ids))(t); len(locked) > 0 {
		t.Errorf("locked are %v", locked)
	}
}

func TestOfTwoChangesAtOnceOneIsMade(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	writes := map[string]func(q db.Querier, id int64) (int, error){
		"change": func(q db.Querier, id int64) (int, error) {
			changed, err := db.ApplyChanges(t.Context(), q, []db.Change{{Task: id, Created: target(t, pool, id).CreatedAt, From: db.Pending, Status: db.Pending, UpstreamStatus: new("queued"), Deadline: deadline}})
			return len(changed), err
		},
		"trouble": func(q db.Querier, id int64) (int, error) {
			recorded, err := db.RecordTroubles(t.Context(), q, []db.Trouble{{Task: id, Created: target(t, pool, id).CreatedAt, Error: "timeout"}})
			return len(recorded), err
		},
		// as an older klingwatch, or a person, writes
		"plain": func(q db.Querier, id int64) (int, error) {
			tag, err := q.Exec(t.Context(), `update klingwatch.tasks set metadata = '{"a": 1}' where id = $1`, id)
			return int(tag.RowsAffected()), err
		},
	}
	for mine, first := range writes {
		for theirs, second := range writes {
			if theirs == "plain" {
				continue
			}
			id := track(t, pool, mine+theirs)[0]
			tx, n := begin(t, pool), 0
			if n := must(first(tx, id))(t); n != 1 {
				t.Errorf("%s: wrote %d rows", mine, n)
			}
			wait := dbtest.Blocked(t, pool, func() (err error) {
				n, err = second(pool, id)
				return err
			})
			commit(t, tx)
			check(t, wait())
			if n != 0 || version(t, pool, id) != 1 {
				t.Errorf("%s after %s: wrote %d rows, the version is %d", theirs, mine, n, version(t, pool, id))
			}
		}
	}
}

func TestANoteOfAPersonsChangeComesAfterTheCommit(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	listener := must(pool.Acquire(t.Context()))(t)
	defer listener.Release()
	check(t, db.ListenForChanges(t.Context(), listener.Conn()))
	undone, done := begin(t, pool), begin(t, pool)
	check(t, db.NotifyChange(t.Context(), undone, 41))
	check(t, undone.Rollback(t.Context()))
	check(t, db.NotifyChange(t.Context(), done, 42))
	commit(t, done)
	note := must(listener.Conn().WaitForNotification(t.Context()))(t)
	if id, err := strconv.ParseInt(note.Payload, 10, 64); err != nil || id != 42 {
		t.Errorf("the note says %q", note.Payload)
	}
}
