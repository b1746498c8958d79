package db_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/lookback"
)

// addEndpoint adds a receiver of the ends of tasks.
func addEndpoint(t testing.TB, q db.Querier, url string, change ...func(*db.NewEndpoint)) int64 {
	t.Helper()
	e := db.NewEndpoint{URL: url, EventTypes: []string{"task.succeeded", "task.failed", "task.expired"}, Secret: "whsec_test"}
	for _, c := range change {
		c(&e)
	}
	return must(db.AddEndpoint(t.Context(), q, e))(t)
}

func endpoint(t testing.TB, q db.Querier, id int64) db.Endpoint {
	t.Helper()
	return must(db.GetEndpoint(t.Context(), q, id))(t)
}

// disable disables a receiver that is enabled.
func disable(t testing.TB, q db.Querier, id int64) error {
	t.Helper()
	done, err := db.DisableEndpoint(t.Context(), q, id, "", "a test wants it")
	if err == nil && !done {
		err = errors.New("it was disabled already")
	}
	return err
}

func TestAReceiverIsAddedWithItsKeyAndEdited(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	id := addEndpoint(t, pool, "https://a.example/hook", func(e *db.NewEndpoint) {
		e.EventTypes, e.Actions, e.Thin, e.Description, e.Secret = []string{"task.failed"}, []string{"videos"}, true, "for the shop", "whsec_own"
	})
	other := addEndpoint(t, pool, "https://b.example/")
	got := endpoint(t, pool, id)
	if got.URL != "https://a.example/hook" || !slices.Equal(got.EventTypes, []string{"task.failed"}) || !slices.Equal(got.Actions, []string{"videos"}) || !got.Thin ||
		got.Description != "for the shop" || got.FailingSince != nil || got.DisabledAt != nil || got.Waiting != 0 || !near(time.Since(got.CreatedAt), 0) {
		t.Errorf("added: %+v", got)
	}
	if secrets := must(db.SigningSecrets(t.Context(), pool, &id))(t); !slices.Equal(secrets, []string{"whsec_own"}) {
		t.Errorf("it signs with %q", secrets)
	}
	if list := must(db.ListEndpoints(t.Context(), pool))(t); len(list) != 2 || list[0].ID != id || list[1].ID != other || len(list[1].Actions) != 0 {
		t.Errorf("all receivers: %+v", list)
	}
	if _, err := db.AddEndpoint(t.Context(), pool, db.NewEndpoint{URL: "https://a.example/hook", EventTypes: []string{"task.failed"}, Secret: "whsec_x"}); !db.RefusedValue(err) {
		t.Errorf("the same URL again: %v", err)
	}
	if _, err := db.AddEndpoint(t.Context(), pool, db.NewEndpoint{URL: "https://c.example/", EventTypes: []string{"task.failed"}, Secret: "plain"}); !db.RefusedValue(err) {
		t.Errorf("a key that is none: %v", err)
	}
	if n := len(must(db.ListEndpoints(t.Context(), pool))(t)); n != 2 {
		t.Errorf("%d receivers, although two were refused", n)
	}

	run(t, pool, `update klingwatch.webhook_endpoints set failing_since = now(), last_error = 'timeout', last_failed_at = now(), failures = 3, warned_at = now() where id = $1`, id)
	check(t, db.ChangeEndpoint(t.Context(), pool, id, db.EndpointChange{EventTypes: []string{"task.succeeded"}, Actions: []string{}, Thin: new(false), Description: new("")}))
	if got := endpoint(t, pool, id); got.URL != "https://a.example/hook" || !slices.Equal(got.EventTypes, []string{"task.succeeded"}) || len(got.Actions) != 0 || got.Thin ||
		got.Description != "" || got.FailingSince == nil || *got.LastError != "timeout" {
		t.Errorf("edited: %+v", got)
	}
	check(t, db.ChangeEndpoint(t.Context(), pool, id, db.EndpointChange{}))
	if got := endpoint(t, pool, id); !slices.Equal(got.EventTypes, []string{"task.succeeded"}) || value[int](t, pool, `select revision from klingwatch.webhook_endpoints where id = $1`, id) != 3 {
		t.Errorf("after an edit of nothing: %+v", got)
	}
	if err := db.ChangeEndpoint(t.Context(), pool, 12345, db.EndpointChange{}); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("an unknown receiver: %v", err)
	}
	if _, err := db.GetEndpoint(t.Context(), pool, 12345); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("an unknown receiver: %v", err)
	}
}

func TestPendingDeliveriesFollowAReceiverThatMoves(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	ids := deliveries(t, pool, 2)
	deliverAll(t, pool, ids[:1])
	run(t, pool, `update klingwatch.webhook_endpoints set failing_since = now(), last_error = 'timeout', last_failed_at = now(), failures = 3, warned_at = now()`)
	check(t, db.ChangeEndpoint(t.Context(), pool, 1, db.EndpointChange{URL: new("https://new.example/")}))
	if got := endpoint(t, pool, 1); got.URL != "https://new.example/" || got.FailingSince != nil || got.LastError != nil || got.Waiting != 1 ||
		!value[bool](t, pool, `select failures = 0 and warned_at is null and last_failed_at is null from klingwatch.webhook_endpoints`) {
		t.Errorf("moved: %+v", got)
	}
	if old, pending := delivery(t, pool, ids[0]), delivery(t, pool, ids[1]); old.URL != "https://a.example/hook" || pending.URL != "https://new.example/" {
		t.Errorf("delivered to %s, pending to %s", old.URL, pending.URL)
	}
}

// An event is being written while its receiver moves: it must not be sent to the
// old place.
func TestAnEventThatIsWrittenWhileItsReceiverMovesGoesToTheNewPlace(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	addEndpoint(t, pool, "https://a.example/hook")
	for _, first := range []string{"event", "move"} {
		id := track(t, pool, first)[0]
		url := "https://" + first + ".example/"
		tx := begin(t, pool)
		move(t, tx, id, db.Succeeded)
		event := func(q db.Querier) error {
			_, err := db.AddEvents(t.Context(), q, []db.NewEvent{{EventID: first, Task: id, Sequence: 1, Type: "task.succeeded", Payload: []byte(`{}`)}})
			return err
		}
		edit := func(q db.Querier) error { return db.ChangeEndpoint(t.Context(), q, 1, db.EndpointChange{URL: &url}) }
		var wait func() error
		if first == "event" {
			check(t, event(tx))
			wait = dbtest.Blocked(t, pool, func() error { return edit(pool) })
			commit(t, tx)
			check(t, wait())
		} else {
			mover := begin(t, pool)
			check(t, edit(mover))
			wait = dbtest.Blocked(t, pool, func() error { return event(tx) })
			commit(t, mover)
			check(t, wait())
			commit(t, tx)
		}
		d := must(db.DeliveriesOfTask(t.Context(), pool, id))(t)[0]
		if target := deliveryTarget(t, pool, d.ID); target.URL != url {
			t.Errorf("the %s came first: it is sent to %s instead of %s", first, target.URL, url)
		}
	}
}

func TestADisabledReceiverWaitsUntilItIsEnabled(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	ids := deliveries(t, pool, 2)
	disableAt := func(url string) bool {
		return must(db.DisableEndpoint(t.Context(), pool, 1, url, "it answered 410"))(t)
	}
	if disableAt("https://old.example/") || endpoint(t, pool, 1).DisabledAt != nil {
		t.Error("it was disabled although another place was meant")
	}
	if !disableAt("https://a.example/hook") || disableAt("https://a.example/hook") || disableAt("") {
		t.Error("it was not disabled, or twice")
	}
	if got := endpoint(t, pool, 1); got.DisabledAt == nil || *got.DisabledReason != "it answered 410" || got.Waiting != 2 {
		t.Errorf("disabled: %+v", got)
	}
	run(t, pool, `update klingwatch.deliveries set next_attempt_at = null, attempts = 4, last_error = 'parked', held_since = now(), tries_since = now() - interval '1 h' where id = $1`, ids[0])
	run(t, pool, `update klingwatch.deliveries set next_attempt_at = now() + interval '1 h', attempts = 2 where id = $1`, ids[1])
	finishJobs(t, pool)
	if n := must(db.ReleaseDeliveries(t.Context(), pool, 1))(t) + must(db.ReleaseParked(t.Context(), pool))(t); n != 0 {
		t.Errorf("%d deliveries of a disabled receiver were released", n)
	}
	run(t, pool, `update klingwatch.webhook_endpoints set failing_since = now(), last_error = 'timeout', last_failed_at = now(), failures = 3, warned_at = now()`)
	check(t, db.EnableEndpoint(t.Context(), pool, 1))
	if got := endpoint(t, pool, 1); got.DisabledAt != nil || got.DisabledReason != nil || got.FailingSince != nil || got.LastError != nil ||
		!value[bool](t, pool, `select failures = 0 and warned_at is null and last_failed_at is null and revision = 2 from klingwatch.webhook_endpoints`) {
		t.Errorf("enabled: %+v", got)
	}
	if n := must(db.ReleaseParked(t.Context(), pool))(t); n != 1 || len(jobsOf(t, pool, "deliver", ids[0])) != 1 {
		t.Errorf("%d parked deliveries were released", n)
	}
	if target := deliveryTarget(t, pool, ids[0]); *target.Wait > 0 || target.Tries != 0 || target.Attempts != 4 || target.Held != 0 || !near(time.Since(target.Since), 0) || delivery(t, pool, ids[0]).LastError != nil {
		t.Errorf("released: %+v", target)
	}
	if n := must(db.ReleaseDeliveries(t.Context(), pool, 1))(t); n != 2 || *deliveryTarget(t, pool, ids[1]).Wait > 0 || len(jobsOf(t, pool, "deliver", ids[1])) != 1 {
		t.Errorf("%d deliveries were released", n)
	}
	if err := db.EnableEndpoint(t.Context(), pool, 12345); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("an unknown receiver: %v", err)
	}
}

func TestTheHealthOfReceiversIsNotedOnceAPeriod(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	a, b := addEndpoint(t, pool, "https://a.example/hook"), addEndpoint(t, pool, "https://b.example/")
	health := func(every time.Duration, list ...db.EndpointHealth) {
		t.Helper()
		check(t, db.RecordHealth(t.Context(), pool, list, every))
	}
	failing := func(atLeast time.Duration) []db.FailingEndpoint {
		t.Helper()
		return must(db.FailingEndpoints(t.Context(), pool, atLeast))(t)
	}
	timeout := db.EndpointHealth{Endpoint: a, URL: "https://a.example/hook", Error: new("timeout")}
	health(time.Minute, db.EndpointHealth{Endpoint: b, URL: "https://b.example/"}, timeout)
	health(time.Minute, timeout)
	health(time.Minute, db.EndpointHealth{Endpoint: b, URL: "https://old.example/", Error: new("timeout")})
	got := failing(0)
	if len(got) != 1 || got[0].ID != a || got[0].URL != timeout.URL || got[0].Failures != 1 || got[0].LastError != "timeout" || got[0].Warned || got[0].FailingFor <= 0 || got[0].Quiet <= 0 {
		t.Errorf("failing: %+v", got)
	}
	since := endpoint(t, pool, a).FailingSince
	run(t, pool, `update klingwatch.webhook_endpoints set failing_since = failing_since - interval '1 h' where id = $1`, a)
	check(t, db.MarkWarned(t.Context(), pool, a))
	health(0, db.EndpointHealth{Endpoint: a, URL: timeout.URL, Error: new("http_status: HTTP 500")})
	if got := failing(30 * time.Minute); len(got) != 1 || got[0].Failures != 2 || got[0].LastError != "http_status: HTTP 500" || !got[0].Warned || !near(got[0].FailingFor, time.Hour) || !near(got[0].Quiet, 0) {
		t.Errorf("failing again, since %s: %+v", since, got)
	}
	if got := failing(2 * time.Hour); len(got) != 0 {
		t.Errorf("failing for two hours: %+v", got)
	}
	check(t, disable(t, pool, a))
	if got := failing(0); len(got) != 0 {
		t.Errorf("failing, although disabled: %+v", got)
	}
	health(time.Hour, db.EndpointHealth{Endpoint: a, URL: timeout.URL})
	if got := endpoint(t, pool, a); got.FailingSince != nil || got.LastError != nil || !value[bool](t, pool, `select failures = 0 and warned_at is null and last_failed_at is null from klingwatch.webhook_endpoints where id = $1`, a) {
		t.Errorf("working again: %+v", got)
	}
}

// Two processes look after the receivers at once: each gets those that the other
// does not have.
func TestAFailingReceiverIsHandedToOneProcess(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	a, b := addEndpoint(t, pool, "https://a.example/hook"), addEndpoint(t, pool, "https://b.example/")
	run(t, pool, `update klingwatch.webhook_endpoints set failing_since = now() - interval '1 h', last_failed_at = now()`)
	first := begin(t, pool)
	run(t, first, `select from klingwatch.webhook_endpoints where id = $1 for update`, b)
	if got := must(db.FailingEndpoints(t.Context(), pool, time.Minute))(t); len(got) != 1 || got[0].ID != a {
		t.Errorf("the second gets %+v", got)
	}
	check(t, first.Rollback(t.Context()))
	second := begin(t, pool)
	if got := must(db.FailingEndpoints(t.Context(), second, time.Minute))(t); len(got) != 2 || got[0].ID != a || got[1].ID != b {
		t.Errorf("alone it gets %+v", got)
	}
	if got := must(db.FailingEndpoints(t.Context(), pool, time.Minute))(t); len(got) != 0 {
		t.Errorf("while they are taken another gets %+v", got)
	}
}

func TestAReceiverIsRemovedInSteps(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	deliveries(t, pool, 3)
	other := addEndpoint(t, pool, "https://b.example/")
	bulk := must(db.AddRedelivery(t.Context(), pool, db.DeliveryChoice{Endpoint: new(int64(1)), States: []string{db.DeliveryDelivered}}, 0, 1))(t)
	for i, want := range []bool{false, true} {
		if done := must(db.RemoveEndpoint(t.Context(), pool, 1, 2))(t); done != want {
			t.Errorf("step %d: done %v", i, done)
		}
	}
	left := must(db.ListEndpoints(t.Context(), pool))(t)
	if len(left) != 1 || left[0].ID != other || len(must(db.ListDeliveries(t.Context(), pool, db.DeliveryChoice{}, lookback.Search{Limit: 9}))(t).Items) != 0 ||
		len(must(db.ListBulks(t.Context(), pool, bulk.ID, 0, 1))(t)) != 0 || len(must(db.SigningKeys(t.Context(), pool))(t)) != 1 {
		t.Errorf("left are %+v", left)
	}
	if done, err := db.RemoveEndpoint(t.Context(), pool, 1, 2); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("a second time: %v, %v", done, err)
	}
	// an event is being written for a receiver that goes away
	id := track(t, pool, "late")[0]
	writer := begin(t, pool)
	move(t, writer, id, db.Failed)
	addEvent(t, writer, id)
	var done bool
	wait := dbtest.Blocked(t, pool, func() (err error) {
		done, err = db.RemoveEndpoint(t.Context(), pool, other, 2)
		return err
	})
	commit(t, writer)
	check(t, wait())
	if !done || len(must(db.DeliveriesOfTask(t.Context(), pool, id))(t)) != 0 || len(must(db.EventsOfTask(t.Context(), pool, id))(t)) != 1 {
		t.Errorf("done %v, deliveries %+v", done, must(db.DeliveriesOfTask(t.Context(), pool, id))(t))
	}
}
