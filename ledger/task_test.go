package ledger_test

import (
	"encoding/json"
	"errors"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/ledger"
	"github.com/klingwatch/klingwatch/webhook"
)

func TestAVerdictComesWithAllThatFollowsFromIt(t *testing.T) {
	t.Parallel()
	pool := open(t, "&timezone=Asia/Tokyo")
	endpoint := addEndpoint(t, pool, "https://a.example/hook")
	tokyo := time.FixedZone("JST", 9*60*60)
	expires := time.Date(2030, 1, 2, 3, 4, 5, 0, tokyo)
	full := newTask("t")
	full.ExternalID, full.Metadata = new("order-7"), json.RawMessage(`{"a": 1}`)
	id := must(ledger.Track(t.Context(), pool, []db.NewTask{full}, nil))(t)[0].ID

	change := changeTo(t, pool, id, db.Succeeded)
	change.StatusMessage, change.Traceparent = "done", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	change.Outputs = []db.Output{
		{Task: id, Kind: "video", URL: "https://a.example/1.mp4", DurationSeconds: new(json.Number("5.041")), WatermarkURL: new("https://a.example/1w.mp4"), ExpiresAt: &expires},
		{Task: id, Kind: "image", URL: "https://a.example/1.png"},
	}
	if applied := must(ledger.Apply(t.Context(), pool, []ledger.Change{change}, nil))(t); !applied[id] || len(applied) != 1 {
		t.Fatalf("applied %v", applied)
	}
	task := must(db.FindTasks(t.Context(), pool, "t"))(t)[0]
	if task.Status != db.Succeeded || task.FinishedAt == nil || task.Polls != 1 {
		t.Errorf("task %+v", task)
	}
	if outputs := must(db.OutputsOfTask(t.Context(), pool, id))(t); len(outputs) != 2 || outputs[0].Kind != "image" || !outputs[1].ExpiresAt.Equal(expires) {
		t.Errorf("outputs %+v", outputs)
	}
	events := must(db.EventsOfTask(t.Context(), pool, id))(t)
	if len(events) != 1 || events[0].Sequence != 1 || events[0].Type != webhook.TaskSucceeded {
		t.Fatalf("events %+v", events)
	}
	// as a consumer sees it
	var event webhook.Event
	check(t, json.Unmarshal(events[0].Payload, &event))
	if got := event.Data; event.Type != webhook.TaskSucceeded || got.ID != id || got.TaskID != "t" || got.Action != "videos" || got.Action2 != "text2video" || got.Status != db.Succeeded ||
		got.StatusMessage != "done" || *got.ExternalID != "order-7" || got.Sequence != 1 || !got.CreatedAt.Equal(task.CreatedAt) || !got.FinishedAt.Equal(*task.FinishedAt) ||
		!event.Timestamp.Equal(*task.FinishedAt) {
		t.Errorf("event %+v", event)
	}
	var metadata struct{ A int }
	check(t, json.Unmarshal(event.Data.Metadata, &metadata))
	if got := event.Data.Outputs; metadata.A != 1 || len(got) != 2 || got[0].Kind != "video" || got[0].URL != "https://a.example/1.mp4" || got[0].DurationSeconds.String() != "5.041" ||
		*got[0].WatermarkURL != "https://a.example/1w.mp4" || !got[0].ExpiresAt.Equal(expires) || got[1].ExpiresAt != nil {
		t.Errorf("metadata %+v, outputs %+v", metadata, got)
	}
	times := regexp.MustCompile(`"\d{4}-\d\d-\d\dT[^"]*"`).FindAllString(string(events[0].Payload), -1)
	if len(times) != 4 || slices.ContainsFunc(times, func(at string) bool { return at[len(at)-2:] != `Z"` }) {
		t.Errorf("the times of the event are %q", times)
	}
	deliveries := must(db.DeliveriesOfTask(t.Context(), pool, id))(t)
	if len(deliveries) != 2 || deliveries[0].Endpoint != nil || *deliveries[1].Endpoint != endpoint {
		t.Errorf("deliveries %+v", deliveries)
	}
	for _, d := range deliveries {
		if jobs := count(t, pool, `select count(*) from klingwatch.live_jobs where key = klingwatch.job_key('deliver', $1)`, d.ID); jobs != 1 {
			t.Errorf("delivery %d has %d jobs", d.ID, jobs)
		}
	}
	if target := must(db.DeliveryTargets(t.Context(), pool, []int64{deliveries[0].ID}))(t)[0]; target.Traceparent != change.Traceparent {
		t.Errorf("traceparent %q", target.Traceparent)
	}
}

func TestNothingFollowsFromAChangeThatCameTooLate(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	ids := track(t, pool, "stale", "fresh", "trouble", "stale-trouble")
	stale := changeTo(t, pool, ids[0], db.Succeeded)
	stale.Outputs = []db.Output{{Task: ids[0], Kind: "image", URL: "https://a.example/1.png"}}
	move(t, pool, ids[0], db.Processing)
	run(t, pool, `update klingwatch.tasks set metadata = '{"by": "a person"}' where id = $1`, ids[3])
	applied := must(ledger.Apply(t.Context(), pool, []ledger.Change{stale, changeTo(t, pool, ids[1], db.Failed)},
		[]db.Trouble{{Task: ids[2], Created: createdAt(t, pool, ids[2]), Error: "timeout", Polls: 1}, {Task: ids[3], Created: createdAt(t, pool, ids[3]), Error: "timeout", Polls: 1}}))(t)
	if len(applied) != 2 || !applied[ids[1]] || !applied[ids[2]] {
		t.Errorf("applied %v of %v", applied, ids)
	}
	if status, events := statusOf(t, pool, ids[0]), eventsOf(t, pool, ids[0]); status != db.Processing || events != "1 task.processing" {
		t.Errorf("the task is %s, its events are %s", status, events)
	}
	if outputs, others := must(db.OutputsOfTask(t.Context(), pool, ids[0]))(t), eventsOf(t, pool, ids[1]); len(outputs) != 0 || others != "1 task.failed" {
		t.Errorf("outputs %+v; the other's events are %s", outputs, others)
	}
	if applied := must(ledger.Apply(t.Context(), pool, nil, nil))(t); len(applied) != 0 {
		t.Errorf("of nothing %v was applied", applied)
	}
}

func TestAChangeThatKeepsTheStatusMakesNoEvent(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	id := track(t, pool, "t")[0]
	move(t, pool, id, db.Processing)
	move(t, pool, id, db.Processing)
	if events := eventsOf(t, pool, id); events != "1 task.processing" {
		t.Errorf("events %s", events)
	}
}

// One task of a batch is refused: nothing of the batch is there.
func TestABatchIsWrittenAsAWhole(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	ids := track(t, pool, "fine", "odd", "trouble")
	odd := changeTo(t, pool, ids[1], db.Succeeded)
	odd.Outputs = []db.Output{{Task: ids[1], Kind: "hologram", URL: "https://a.example/1"}}
	_, err := ledger.Apply(t.Context(), pool, []ledger.Change{changeTo(t, pool, ids[0], db.Failed), odd}, []db.Trouble{{Task: ids[2], Created: createdAt(t, pool, ids[2]), Error: "timeout"}})
	if !db.RefusedValue(err) {
		t.Errorf("a batch with an output that is refused: %v", err)
	}
	for _, id := range ids {
		if target := must(db.GetPollTarget(t.Context(), pool, id, deadline))(t); target.Version != 0 || target.LastError != "" || eventsOf(t, pool, id) != "" {
			t.Errorf("%+v with the events %s", target, eventsOf(t, pool, id))
		}
	}
	odd.Outputs, odd.Result = nil, json.RawMessage(`{`)
	if _, err := ledger.Apply(t.Context(), pool, []ledger.Change{odd}, nil); err == nil {
		t.Error("a result that is not JSON was accepted")
	}
}

func TestALateVerdictReplacesTheOutputs(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	id := track(t, pool, "t")[0]
	for i, status := range []string{db.Succeeded, db.Succeeded, db.Failed} {
		if i > 0 {
			check(t, ledger.Reopen(t.Context(), pool, id, deadline))
		}
		change := changeTo(t, pool, id, status)
		if status == db.Succeeded {
			change.Outputs = []db.Output{{Task: id, Kind: "image", URL: "https://a.example/" + strconv.Itoa(i)}}
		}
		must(ledger.Apply(t.Context(), pool, []ledger.Change{change}, nil))(t)
		outputs := must(db.OutputsOfTask(t.Context(), pool, id))(t)
		if len(outputs) != len(change.Outputs) || len(outputs) > 0 && outputs[0].URL != change.Outputs[0].URL {
			t.Errorf("verdict %d: outputs %+v", i, outputs)
		}
	}
	if events := eventsOf(t, pool, id); events != "1 task.succeeded, 2 task.succeeded, 3 task.failed" {
		t.Errorf("events %s", events)
	}
}

func TestATaskIsCanceledUntilItHasEnded(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	listener := must(pool.Acquire(t.Context()))(t)
	defer listener.Release()
	check(t, db.ListenForChanges(t.Context(), listener.Conn()))
	for status, want := range map[string]error{
		db.Pending: nil, db.Submitted: nil, db.Processing: nil, db.Expired: nil, db.NotFound: nil, // the last two are still asked about
		db.Succeeded: ledger.ErrEnded, db.Failed: ledger.ErrEnded, db.Canceled: ledger.ErrEnded,
	} {
		id := track(t, pool, status)[0]
		events := ""
		if status != db.Pending {
			move(t, pool, id, status)
			events = "1 task." + status
		}
		if status == db.Expired || status == db.NotFound {
			run(t, pool, `update klingwatch.tasks set late_checks_until = now() + interval '1 h' where id = $1`, id)
		}
		err := ledger.Cancel(t.Context(), pool, id, deadline)
		if want != nil {
			if !errors.Is(err, want) || statusOf(t, pool, id) != status || eventsOf(t, pool, id) != events {
				t.Errorf("canceling a task that is %s: %v, it is %s with the events %s", status, err, statusOf(t, pool, id), eventsOf(t, pool, id))
			}
			continue
		}
		note := must(listener.Conn().WaitForNotification(t.Context()))(t)
		got := must(db.FindTasks(t.Context(), pool, status))(t)[0]
		if err != nil || got.Status != db.Canceled || got.StatusMessage != "tracking was stopped by a person" || note.Payload != strconv.FormatInt(id, 10) {
			t.Errorf("canceling a task that is %s: %v, it is %+v, the note says %s", status, err, got, note.Payload)
		}
		if n := count(t, pool, `select count(*) from klingwatch.tasks where id = $1 and late_checks_until is not null`, id); n != 0 {
			t.Errorf("the task that was %s is still checked", status)
		}
		last := must(db.EventsOfTask(t.Context(), pool, id))(t)
		if last[len(last)-1].Type != webhook.TaskCanceled {
			t.Errorf("the task that was %s has the events %s", status, eventsOf(t, pool, id))
		}
	}
	if err := ledger.Cancel(t.Context(), pool, 12345, deadline); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("canceling a task that is not there: %v", err)
	}
}

// A poll writes the task at the moment when a person cancels it.
func TestACancellationGetsThroughAgainstAWrite(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	ids := track(t, pool, "polled", "ended", "deleted")
	for id, c := range map[int64]struct {
		poll func(q db.Querier) error
		want error
	}{
		ids[0]: {func(q db.Querier) error {
			_, err := db.RecordTroubles(t.Context(), q, []db.Trouble{{Task: ids[0], Created: createdAt(t, q, ids[0]), Error: "timeout", Polls: 7}})
			return err
		}, nil},
		ids[1]: {func(q db.Querier) error {
			_, err := db.ApplyChanges(t.Context(), q, []db.Change{{Task: ids[1], Created: createdAt(t, q, ids[1]), From: db.Pending, Status: db.Succeeded, Deadline: deadline}})
			return err
		}, ledger.ErrEnded},
		ids[2]: {func(q db.Querier) error {
			_, err := q.Exec(t.Context(), `delete from klingwatch.tasks where id = $1`, ids[2])
			return err
		}, db.ErrNotFound},
	} {
		poll := begin(t, pool)
		check(t, c.poll(poll))
		wait := dbtest.Blocked(t, pool, func() error { return ledger.Cancel(t.Context(), pool, id, deadline) })
		check(t, poll.Commit(t.Context()))
		if err := wait(); !errors.Is(err, c.want) {
			t.Errorf("task %d: %v, want %v", id, err, c.want)
		}
	}
	if got := must(db.FindTasks(t.Context(), pool, "polled"))(t)[0]; got.Status != db.Canceled || got.Polls != 7 || eventsOf(t, pool, ids[0]) != "1 task.canceled" {
		t.Errorf("%+v with the events %s", got, eventsOf(t, pool, ids[0]))
	}
	if status := statusOf(t, pool, ids[1]); status != db.Succeeded || eventsOf(t, pool, ids[1]) != "" {
		t.Errorf("it is %s with the events %s", status, eventsOf(t, pool, ids[1]))
	}
}

// Somebody is faster each time.
func TestACancellationGivesUpInTheEnd(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	id := track(t, pool, "t")[0]
	run(t, pool, `create function klingwatch.skip() returns trigger language plpgsql as 'begin return null; end'`)
	run(t, pool, `create trigger skip before update on klingwatch.tasks for each row execute function klingwatch.skip()`)
	if err := ledger.Cancel(t.Context(), pool, id, deadline); err == nil || err.Error() != "canceling task 1: it keeps changing; try again" {
		t.Errorf("canceling: %v", err)
	}
}

func TestAnEndedTaskIsReopened(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	listener := must(pool.Acquire(t.Context()))(t)
	defer listener.Release()
	check(t, db.ListenForChanges(t.Context(), listener.Conn()))
	id := track(t, pool, "t")[0]
	if err := ledger.Reopen(t.Context(), pool, id, deadline); !errors.Is(err, ledger.ErrOpen) {
		t.Errorf("reopening an open task: %v", err)
	}
	move(t, pool, id, db.NotFound)
	check(t, ledger.Reopen(t.Context(), pool, id, deadline))
	if note := must(listener.Conn().WaitForNotification(t.Context()))(t); note.Payload != strconv.FormatInt(id, 10) {
		t.Errorf("the note says %s", note.Payload)
	}
	move(t, pool, id, db.Succeeded)
	if events := eventsOf(t, pool, id); events != "1 task.not_found, 2 task.succeeded" {
		t.Errorf("events %s", events)
	}
	if err := ledger.Reopen(t.Context(), pool, 12345, deadline); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("reopening a task that is not there: %v", err)
	}
}

// A person cancels an expired task at the moment when another has it asked again: that
// one came later.
func TestATaskThatIsCanceledMeanwhileIsReopened(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	id := track(t, pool, "t")[0]
	move(t, pool, id, db.Expired)
	canceling := begin(t, pool)
	must(db.ApplyChanges(t.Context(), canceling, []db.Change{{Task: id, Created: createdAt(t, pool, id), Version: 1, From: db.Expired, Status: db.Canceled, Deadline: deadline}}))(t)
	wait := dbtest.Blocked(t, pool, func() error { return ledger.Reopen(t.Context(), pool, id, deadline) })
	check(t, canceling.Commit(t.Context()))
	if err := wait(); err != nil || statusOf(t, pool, id) != db.Pending {
		t.Errorf("%v, it is %s", err, statusOf(t, pool, id))
	}
}
