package db_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/lookback"
)

// addEvent writes the event of a task's present status and returns its
// deliveries, callbacks first, then by endpoint.
func addEvent(t testing.TB, q db.Querier, id int64) (deliveries []int64) {
	t.Helper()
	status := must(db.StatusesOf(t.Context(), q, []int64{id}))(t)[0].Status
	event := db.NewEvent{Task: id, Sequence: len(must(db.EventsOfTask(t.Context(), q, id))(t)) + 1, Type: "task." + status}
	event.EventID, event.Payload = fmt.Sprintf("msg_%d_%d", id, event.Sequence), json.RawMessage(fmt.Sprintf(`{"sequence": %d}`, event.Sequence))
	must(db.AddEvents(t.Context(), q, []db.NewEvent{event}))(t)
	for _, d := range must(db.DeliveriesOfTask(t.Context(), q, id))(t) {
		if d.EventID == event.EventID {
			deliveries = append(deliveries, d.ID)
		}
	}
	return deliveries
}

func TestAnEventIsDeliveredToThoseWhoWantIt(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	wanting := func(types, actions []string) func(*db.NewEndpoint) {
		return func(e *db.NewEndpoint) { e.EventTypes, e.Actions = types, actions }
	}
	ended, every := []string{"task.succeeded", "task.failed"}, []string{"task.processing", "task.failed"}
	all := addEndpoint(t, pool, "https://all.example/", wanting(every, nil))
	videos := addEndpoint(t, pool, "https://videos.example/", wanting(ended, []string{"videos"}))
	path := addEndpoint(t, pool, "https://path.example/", wanting(ended, []string{"images/generations", "videos/text2video"}))
	addEndpoint(t, pool, "https://images.example/", wanting(ended, []string{"images", "text2video"}))
	addEndpoint(t, pool, "https://succeeded.example/", wanting([]string{"task.succeeded"}, nil))
	off := addEndpoint(t, pool, "https://off.example/")
	check(t, disable(t, pool, off))
	id := must(db.InsertTasks(t.Context(), pool, []db.NewTask{{TaskID: "t", Action: "videos", Action2: "text2video", CallbackURL: new("https://app.example/hook")}}))(t)[0].ID

	move(t, pool, id, db.Processing)
	if got := must(db.GetDelivery(t.Context(), pool, addEvent(t, pool, id)[0]))(t); *got.Endpoint != all || got.Type != "task.processing" || got.Task == nil || *got.Task != id {
		t.Errorf("processing is delivered as %+v", got)
	}
	move(t, pool, id, db.Failed)
	trace := "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	must(db.AddEvents(t.Context(), pool, []db.NewEvent{{EventID: "msg_x", Task: id, Sequence: 2, Type: "task.failed", Payload: json.RawMessage(`{"x": 1}`), Traceparent: &trace}}))(t)
	must(db.AddEvents(t.Context(), pool, nil))(t)
	var to []int64
	for _, d := range must(db.DeliveriesOfTask(t.Context(), pool, id))(t)[1:] {
		jobs := jobsOf(t, pool, "deliver", d.ID)
		switch {
		case d.Endpoint == nil:
			to = append(to, 0)
			if d.URL != "https://app.example/hook" {
				t.Errorf("the callback goes to %s", d.URL)
			}
		default:
			to = append(to, *d.Endpoint)
			if parked := *d.Endpoint == off; parked != (d.NextAttemptAt == nil) || parked != (len(jobs) == 0) {
				t.Errorf("%s has its next attempt at %v and the jobs %v", d.URL, d.NextAttemptAt, jobs)
			}
		}
		if d.State != db.DeliveryPending || d.Attempts != 0 || d.EventID != "msg_x" {
			t.Errorf("%+v", d)
		}
	}
	if slices.Sort(to); !slices.Equal(to, []int64{0, all, videos, path, off}) {
		t.Errorf("failed is delivered to %v", to)
	}
	events := must(db.EventsOfTask(t.Context(), pool, id))(t)
	if len(events) != 2 || events[1].EventID != "msg_x" || events[1].Sequence != 2 || events[1].Type != "task.failed" || string(events[1].Payload) != `{"x": 1}` {
		t.Errorf("events %+v", events)
	}
	if got := must(db.DeliveryTargets(t.Context(), pool, []int64{2}))(t)[0].Traceparent; got != trace {
		t.Errorf("traceparent %q", got)
	}
	if _, err := db.AddEvents(t.Context(), pool, []db.NewEvent{{EventID: "msg_y", Task: id, Sequence: 2, Type: "task.failed", Payload: json.RawMessage(`{}`)}}); !db.RefusedValue(err) {
		t.Errorf("a second event with the number 2: %v", err)
	}
	if _, err := db.AddEvents(t.Context(), pool, []db.NewEvent{{Payload: json.RawMessage(`{`)}}); err == nil {
		t.Error("a payload that is not JSON was accepted")
	}
}

// Of a batch, the others are written.
func TestAnEventWhoseIDIsTakenIsHandedBack(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	ids := track(t, pool, "a", "b")
	event := func(id string, task int64, sequence int) db.NewEvent {
		return db.NewEvent{EventID: id, Task: task, Sequence: sequence, Type: "task.processing", Payload: json.RawMessage(`{}`)}
	}
	if taken := must(db.AddEvents(t.Context(), pool, []db.NewEvent{event("msg_1", ids[0], 1)}))(t).Taken; len(taken) != 0 {
		t.Errorf("taken are the ids of tasks %v", taken)
	}
	if taken := must(db.AddEvents(t.Context(), pool, []db.NewEvent{event("msg_1", ids[0], 2), event("msg_2", ids[1], 1)}))(t).Taken; !slices.Equal(taken, ids[:1]) {
		t.Errorf("taken are the ids of tasks %v, want %v", taken, ids[:1])
	}
	for i, id := range ids {
		if events := must(db.EventsOfTask(t.Context(), pool, id))(t); len(events) != 1 || events[0].EventID != fmt.Sprintf("msg_%d", i+1) {
			t.Errorf("events %+v", events)
		}
	}
}

func TestAnEventAboutAReceiverGoesToTheOthers(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	asking := func(e *db.NewEndpoint) { e.EventTypes = []string{"endpoint.disabled"} }
	about := addEndpoint(t, pool, "https://a.example/", asking)
	other := addEndpoint(t, pool, "https://b.example/", asking)
	off := addEndpoint(t, pool, "https://c.example/", asking)
	addEndpoint(t, pool, "https://d.example/")
	check(t, disable(t, pool, off))
	if !must(db.AddEndpointEvent(t.Context(), pool, about, "msg_1", "endpoint.disabled", json.RawMessage(`{"n": 1}`)))(t).Added {
		t.Error("the event was not written")
	}
	if must(db.AddEndpointEvent(t.Context(), pool, about, "msg_1", "endpoint.disabled", json.RawMessage(`{"n": 2}`)))(t).Added {
		t.Error("an event with an id that is taken was written")
	}
	got := must(db.ListDeliveries(t.Context(), pool, db.DeliveryChoice{}, lookback.Search{Limit: 9}))(t).Items
	slices.SortFunc(got, func(a, b db.Delivery) int { return int(*a.Endpoint - *b.Endpoint) })
	if len(got) != 2 || *got[0].Endpoint != other || got[0].NextAttemptAt == nil || *got[1].Endpoint != off || got[1].NextAttemptAt != nil || got[0].Task != nil {
		t.Fatalf("deliveries %+v", got)
	}
	payload, thin, err := db.EventPayload(t.Context(), pool, got[0].ID)
	if err != nil || thin || string(payload) != `{"n": 1}` {
		t.Errorf("payload %s, thin %v, %v", payload, thin, err)
	}
	check(t, db.ChangeEndpoint(t.Context(), pool, other, db.EndpointChange{Thin: new(true)}))
	if _, thin, err := db.EventPayload(t.Context(), pool, got[0].ID); err != nil || !thin {
		t.Errorf("thin %v, %v", thin, err)
	}
	if _, _, err := db.EventPayload(t.Context(), pool, 12345); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("an unknown delivery: %v", err)
	}
}

func TestOldEventsAboutReceiversArePruned(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	receiver := addEndpoint(t, pool, "https://a.example/", func(e *db.NewEndpoint) { e.EventTypes = []string{"endpoint.failing", "task.succeeded"} })
	id := track(t, pool, "t")[0]
	move(t, pool, id, db.Succeeded)
	addEvent(t, pool, id)
	for _, name := range []string{"delivered", "under way", "parked", "locked", "young"} {
		must(db.AddEndpointEvent(t.Context(), pool, 0, name, "endpoint.failing", json.RawMessage(`{}`)))(t)
	}
	run(t, pool, `update klingwatch.deliveries d set state = 'delivered' from klingwatch.events e where e.id = d.event and e.event_id in ('delivered', 'locked', 'young')`)
	run(t, pool, `update klingwatch.deliveries d set next_attempt_at = null from klingwatch.events e where e.id = d.event and e.event_id = 'parked'`)
	run(t, pool, `update klingwatch.events set created_at = now() - interval '2 d' where event_id <> 'young'`)
	holder := begin(t, pool)
	run(t, holder, `select from klingwatch.events where event_id = 'locked' for update`)
	prune := func(limit int) int { return must(db.PruneEndpointEvents(t.Context(), pool, 24*time.Hour, limit))(t) }
	if first, rest := prune(1), prune(9); first != 1 || rest != 1 {
		t.Errorf("pruned %d, then %d", first, rest)
	}
	check(t, holder.Rollback(t.Context()))
	if n := prune(9); n != 1 {
		t.Errorf("pruned %d after the lock", n)
	}
	rows, _ := pool.Query(t.Context(), `select event_id from klingwatch.events where task is null order by id`)
	if left := must(pgx.CollectRows(rows, pgx.RowTo[string]))(t); !slices.Equal(left, []string{"under way", "young"}) {
		t.Errorf("%q are left", left)
	}
	if n := value[int](t, pool, `select count(*) from klingwatch.deliveries where endpoint = $1`, receiver); n != 3 {
		t.Errorf("%d deliveries are left", n)
	}
}

// Apps that listen learn of an end with the transaction that makes it.
func TestTheEndOfATaskIsTold(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	ids := track(t, pool, "ends", "goes-on")
	conn := must(pool.Acquire(t.Context()))(t)
	defer conn.Release()
	run(t, conn, `listen klingwatch_task`)
	for i, status := range []string{db.Succeeded, db.Processing} {
		move(t, pool, ids[i], status)
		must(db.AddEvents(t.Context(), pool, []db.NewEvent{{EventID: fmt.Sprint("msg_", i), Task: ids[i], Sequence: 1, Type: "task." + status, Payload: json.RawMessage(`{}`)}}))(t)
	}
	run(t, pool, `notify klingwatch_task, 'the last'`)
	for _, want := range []string{"default/videos/text2video/ends succeeded", "the last"} {
		if note := must(conn.Conn().WaitForNotification(t.Context()))(t); note.Payload != want {
			t.Errorf("told %q, want %q", note.Payload, want)
		}
	}
}
