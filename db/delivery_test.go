package db_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/lookback"
)

// deliveries makes tasks that succeeded and returns the deliveries of their
// events to one endpoint.
func deliveries(t testing.TB, q db.Querier, n int) (ids []int64) {
	t.Helper()
	if len(must(db.ListEndpoints(t.Context(), q))(t)) == 0 {
		addEndpoint(t, q, "https://a.example/hook")
	}
	before := value[int](t, q, `select count(*) from klingwatch.tasks`)
	for i := range n {
		id := track(t, q, fmt.Sprintf("d%d", before+i))[0]
		move(t, q, id, db.Succeeded)
		ids = append(ids, addEvent(t, q, id)...)
	}
	return ids
}

// delivery reads a delivery.
func delivery(t testing.TB, q db.Querier, id int64) db.Delivery {
	t.Helper()
	return must(db.GetDelivery(t.Context(), q, id))(t)
}

// deliveryTarget reads what must be known to send a delivery.
func deliveryTarget(t testing.TB, q db.Querier, id int64) db.DeliveryTarget {
	t.Helper()
	targets := must(db.DeliveryTargets(t.Context(), q, []int64{id}))(t)
	if len(targets) != 1 {
		t.Fatalf("%d deliveries have the id %d", len(targets), id)
	}
	return targets[0]
}

// answered is the outcome of a request that was made for a delivery as it was read.
func answered(target db.DeliveryTarget, status int) db.DeliveryOutcome {
	o := db.DeliveryOutcome{
		Delivery: target.ID, Created: target.Created, Seen: target.Attempts, Since: target.Since, State: db.DeliveryDelivered, Sent: true,
		StartedAgo: 3, FinishedAgo: 1, StatusCode: &status, ResponseBody: new("hello"), RemoteAddr: new("127.0.0.1:443"), FirstByteSeconds: new(0.25),
	}
	if status >= 300 {
		o.State, o.Wait, o.Error = db.DeliveryPending, new(60.0), new("http_status")
	}
	return o
}

func record(t testing.TB, q db.Querier, outcomes ...db.DeliveryOutcome) {
	t.Helper()
	check(t, db.RecordDeliveries(t.Context(), q, outcomes))
}

// After the promotion of a standby that lagged, ids are given again.
func TestWhatBecameOfALostDeliveryIsNotWrittenToAnotherOfItsID(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	lost := deliveryTarget(t, pool, deliveries(t, pool, 1)[0])
	run(t, pool, `delete from klingwatch.deliveries`)
	run(t, pool, `delete from klingwatch.river_job`)
	run(t, pool, `alter table klingwatch.deliveries alter column id restart`)
	another := deliveries(t, pool, 1)
	if another[0] != lost.ID {
		t.Fatalf("delivery %d follows %d", another[0], lost.ID)
	}
	record(t, pool, answered(lost, 200))
	if got := delivery(t, pool, lost.ID); got.State != db.DeliveryPending || got.Attempts != 0 {
		t.Errorf("the other delivery is %+v", got)
	}
}

func TestDeliveriesAreListedAndFound(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	ids := deliveries(t, pool, 3)
	other := addEndpoint(t, pool, "https://b.example/")
	both := deliveries(t, pool, 1)
	record(t, pool, answered(deliveryTarget(t, pool, ids[0]), 200))
	run(t, pool, `update klingwatch.deliveries set created_at = now() - interval '1 h' where id = $1`, ids[1])
	for name, list := range map[string]struct {
		choice db.DeliveryChoice
		limit  int
		want   []int64
	}{
		"all, newest first": {db.DeliveryChoice{}, 9, []int64{both[1], both[0], ids[2], ids[1], ids[0]}},
		"the newest":        {db.DeliveryChoice{}, 1, []int64{both[1]}},
		"by state":          {db.DeliveryChoice{States: []string{db.DeliveryDelivered}}, 9, []int64{ids[0]}},
		"by endpoint":       {db.DeliveryChoice{Endpoint: &other}, 9, []int64{both[1]}},
		"by time":           {db.DeliveryChoice{States: []string{db.DeliveryPending}, Since: time.Now().Add(-time.Minute)}, 9, []int64{both[1], both[0], ids[2]}},
	} {
		var got []int64
		for _, d := range must(db.ListDeliveries(t.Context(), pool, list.choice, lookback.Search{Limit: list.limit}))(t).Items {
			got = append(got, d.ID)
		}
		if !slices.Equal(got, list.want) {
			t.Errorf("%s: %v, want %v", name, got, list.want)
		}
	}
	if n := must(db.PendingDeliveries(t.Context(), pool, nil))(t); n != 4 {
		t.Errorf("%d are pending", n)
	}
	if _, err := db.GetDelivery(t.Context(), pool, 12345); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("an unknown delivery: %v", err)
	}
}

// An app's callbacks are signed with its own key, and for the grace with what they were
// signed with before: the deployment's, then its older ones.
func TestCallbacksOfAnAppAreSignedWithItsKey(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	check(t, db.EnsureDeploymentKeys(t.Context(), pool, "whsec_deployment", "whsk_deployment"))
	deliveries := map[string]int64{}
	for _, app := range []string{"shop", "blog", ""} {
		task := must(db.InsertTasks(t.Context(), pool, []db.NewTask{{TaskID: "of-" + app, Action: "videos", Action2: "text2video", CallbackURL: new("https://app.example/hook")}}))(t)[0].ID
		run(t, pool, `update klingwatch.tasks set app = $2 where id = $1`, task, app)
		move(t, pool, task, db.Succeeded)
		deliveries[app] = addEvent(t, pool, task)[0]
	}
	signing := func(app string, want ...string) {
		t.Helper()
		if got := deliveryTarget(t, pool, deliveries[app]).Secrets; !slices.Equal(got, append(want, "whsk_deployment")) {
			t.Errorf("%q is signed for with %q, want %q", app, got, want)
		}
	}
	rotate := func(secret string, grace time.Duration) {
		t.Helper()
		check(t, db.RetireKeys(t.Context(), pool, db.KeyOwner{App: "shop"}, db.KeyV1, grace))
		check(t, db.AddKey(t.Context(), pool, db.KeyOwner{App: "shop"}, db.KeyV1, secret))
	}
	signing("shop", "whsec_deployment")
	rotate("whsec_1", time.Hour)
	signing("shop", "whsec_1", "whsec_deployment")
	rotate("whsec_2", 30*time.Minute)
	signing("shop", "whsec_2", "whsec_1", "whsec_deployment")
	rotate("whsec_3", 0)
	signing("shop", "whsec_3")
	signing("blog", "whsec_deployment")
	signing("", "whsec_deployment")

	check(t, db.RetireKeys(t.Context(), pool, db.KeyOwner{}, db.KeyV1, 0))
	check(t, db.AddKey(t.Context(), pool, db.KeyOwner{}, db.KeyV1, "whsec_next"))
	signing("shop", "whsec_3")
	signing("blog", "whsec_next")
}

func TestADeliveryTargetHasAllThatSendingNeeds(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	check(t, db.EnsureDeploymentKeys(t.Context(), pool, "whsec_deployment", "whsk_deployment"))
	endpoint := addEndpoint(t, pool, "https://a.example/hook", func(e *db.NewEndpoint) { e.Thin, e.Secret = true, "whsec_own" })
	check(t, db.RetireKeys(t.Context(), pool, db.KeyOwner{Endpoint: &endpoint}, db.KeyV1, time.Hour))
	check(t, db.AddKey(t.Context(), pool, db.KeyOwner{Endpoint: &endpoint}, db.KeyV1, "whsec_newer"))
	task := must(db.InsertTasks(t.Context(), pool, []db.NewTask{{TaskID: "t", Action: "videos", Action2: "text2video", CallbackURL: new("https://app.example/hook")}}))(t)[0].ID
	move(t, pool, task, db.Succeeded)
	ids := addEvent(t, pool, task)
	run(t, pool, `update klingwatch.events set created_at = now() - interval '1 h'`)
	run(t, pool, `update klingwatch.deliveries set attempts = 5, tries_before = 3, next_attempt_at = now() + interval '10 min', held_since = now() - interval '2 min' where id = $1`, ids[1])

	callback := deliveryTarget(t, pool, ids[0])
	if callback.Endpoint != nil || callback.URL != "https://app.example/hook" || callback.EventID != "msg_1_1" || callback.Type != "task.succeeded" || *callback.Task != task ||
		callback.Body != `{"sequence": 1}` || callback.Thin || callback.Disabled || callback.Revision != 0 || callback.Held != 0 || callback.Tries != 0 ||
		callback.State != db.DeliveryPending || !near(*callback.Wait, 0) || *callback.Wait > 0 || !near(callback.EventAge, time.Hour) || callback.Traceparent != "" ||
		!slices.Equal(callback.Secrets, []string{"whsec_deployment", "whsk_deployment"}) {
		t.Errorf("callback %+v", callback)
	}
	own := deliveryTarget(t, pool, ids[1])
	if *own.Endpoint != endpoint || !own.Thin || own.Revision != 1 || own.Attempts != 5 || own.Tries != 2 || !near(*own.Wait, 10*time.Minute) || !near(own.Held, 2*time.Minute) ||
		!slices.Equal(own.Secrets, []string{"whsec_newer", "whsec_own", "whsk_deployment"}) {
		t.Errorf("endpoint %+v", own)
	}
	for _, owner := range []*int64{nil, &endpoint} {
		want := map[bool][]string{true: callback.Secrets, false: own.Secrets}[owner == nil]
		if got := must(db.SigningSecrets(t.Context(), pool, owner))(t); !slices.Equal(got, want) {
			t.Errorf("%q sign, but %q are shown", want, got)
		}
	}
	check(t, disable(t, pool, endpoint))
	run(t, pool, `update klingwatch.deliveries set next_attempt_at = null`)
	if own := deliveryTarget(t, pool, ids[1]); !own.Disabled || own.Wait != nil {
		t.Errorf("of a disabled endpoint: %+v", own)
	}
	if got := must(db.DeliveryTargets(t.Context(), pool, []int64{12345}))(t); len(got) != 0 {
		t.Errorf("an unknown delivery: %+v", got)
	}
}

func TestOutcomesOfDeliveriesAreWritten(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	ids := deliveries(t, pool, 5)
	arrived, failed, held, skipped, gone := ids[0], ids[1], ids[2], ids[3], ids[4]
	without := func(id int64, o db.DeliveryOutcome) db.DeliveryOutcome {
		target := deliveryTarget(t, pool, id)
		o.Delivery, o.Created, o.Seen, o.Since = id, target.Created, target.Attempts, target.Since
		return o
	}
	record(t, pool, // in no order
		without(gone, db.DeliveryOutcome{State: db.DeliveryCanceled, Error: new("invalid_url")}),
		answered(deliveryTarget(t, pool, arrived), 204),
		without(skipped, db.DeliveryOutcome{State: db.DeliveryPending, Wait: new(30.0), Error: new("circuit open"), Held: true, Skipped: true}),
		answered(deliveryTarget(t, pool, failed), 500),
		without(held, db.DeliveryOutcome{State: db.DeliveryPending, Wait: new(30.0), Error: new("circuit open"), Held: true}),
	)
	now := must(db.Clock(t.Context(), pool))(t)
	if d := delivery(t, pool, arrived); d.State != db.DeliveryDelivered || d.Attempts != 1 || d.LastError != nil || d.NextAttemptAt != nil || !near(now.Sub(*d.DeliveredAt), time.Second) {
		t.Errorf("arrived: %+v", d)
	}
	if d := delivery(t, pool, failed); d.State != db.DeliveryPending || d.Attempts != 1 || *d.LastError != "http_status" || !near(d.NextAttemptAt.Sub(now), time.Minute) || d.DeliveredAt != nil {
		t.Errorf("failed: %+v", d)
	}
	if d, target := delivery(t, pool, held), deliveryTarget(t, pool, held); d.Attempts != 0 || *d.LastError != "circuit open" || target.Tries != 0 || target.Held == 0 {
		t.Errorf("held: %+v, %+v", d, target)
	}
	if target := deliveryTarget(t, pool, skipped); target.Attempts != 0 || target.Tries != 1 || target.Held == 0 {
		t.Errorf("skipped: %+v", target)
	}
	if d := delivery(t, pool, gone); d.State != db.DeliveryCanceled || d.NextAttemptAt != nil {
		t.Errorf("gone: %+v", d)
	}
	attempts := must(db.AttemptsOf(t.Context(), pool, ids))(t)
	if len(attempts) != 2 || attempts[0].Delivery != arrived || *attempts[0].StatusCode != 204 || attempts[0].Error != nil || attempts[1].Delivery != failed || *attempts[1].Error != "http_status" {
		t.Errorf("attempts %+v", attempts)
	}
	// held on, then sent
	since := value[time.Time](t, pool, `select held_since from klingwatch.deliveries where id = $1`, held)
	record(t, pool, without(held, db.DeliveryOutcome{State: db.DeliveryPending, Wait: new(0.0), Error: new("circuit open"), Held: true}))
	if again := value[time.Time](t, pool, `select held_since from klingwatch.deliveries where id = $1`, held); !again.Equal(since) {
		t.Errorf("held since %s, then since %s", since, again)
	}
	record(t, pool, answered(deliveryTarget(t, pool, held), 500))
	if target := deliveryTarget(t, pool, held); target.Held != 0 || target.Tries != 1 {
		t.Errorf("sent at last: %+v", target)
	}
	if err := db.RecordDeliveries(t.Context(), pool, []db.DeliveryOutcome{without(held, db.DeliveryOutcome{State: db.DeliveryPending, Wait: new(1 / zero)})}); err == nil {
		t.Error("an endless wait was accepted")
	}
}

// zero keeps the compiler from dividing.
var zero float64

// Somebody changes a delivery while its request is on its way.
func TestAnOutcomeLeavesWhatSomebodyDidMeanwhile(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	type doing func(q db.Querier, id int64) error
	cancel := doing(func(q db.Querier, id int64) error { _, err := db.CancelDelivery(t.Context(), q, id); return err })
	redeliver := doing(func(q db.Querier, id int64) error { _, err := db.Redeliver(t.Context(), q, id); return err })
	exhaust := doing(func(q db.Querier, id int64) error {
		_, err := q.Exec(t.Context(), `update klingwatch.deliveries set state = 'exhausted', next_attempt_at = null where id = $1`, id)
		return err
	})
	for _, c := range []struct {
		name   string
		did    doing
		status int
		want   string
	}{
		{"canceled, and it failed", cancel, 500, db.DeliveryCanceled},
		{"canceled, and it arrived", cancel, 200, db.DeliveryCanceled},
		{"sent again, and it failed", redeliver, 500, db.DeliveryPending},
		{"sent again, and it arrived", redeliver, 200, db.DeliveryDelivered},
		{"given up, and it failed", exhaust, 500, db.DeliveryExhausted},
		{"given up, and it arrived", exhaust, 200, db.DeliveryDelivered},
	} {
		for _, when := range []string{"before", "at once"} {
			id := deliveries(t, pool, 1)[0]
			run(t, pool, `update klingwatch.deliveries set attempts = 4, tries_since = now() - interval '1 h' where id = $1`, id)
			outcome := answered(deliveryTarget(t, pool, id), c.status)
			tx := begin(t, pool)
			check(t, c.did(tx, id))
			if when == "before" {
				commit(t, tx)
				record(t, pool, outcome)
			} else {
				wait := dbtest.Blocked(t, pool, func() error { return db.RecordDeliveries(t.Context(), pool, []db.DeliveryOutcome{outcome}) })
				commit(t, tx)
				check(t, wait())
			}
			d, target := delivery(t, pool, id), deliveryTarget(t, pool, id)
			attempts := must(db.AttemptsOf(t.Context(), pool, []int64{id}))(t)
			if d.State != c.want || d.Attempts != 5 || len(attempts) != 1 || attempts[0].Attempt != 5 {
				t.Errorf("%s %s: %+v, attempts %+v", c.name, when, d, attempts)
			}
			if c.want == db.DeliveryPending && (target.Tries != 0 || *target.Wait > 0 || d.LastError != nil) {
				t.Errorf("%s %s: the schedule did not begin anew: %+v", c.name, when, target)
			}
		}
	}
}

func TestADeliveryIsCanceledWhileItIsPending(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	ids := deliveries(t, pool, 2)
	if !must(db.CancelDelivery(t.Context(), pool, ids[0]))(t) {
		t.Error("a pending delivery was not canceled")
	}
	if d := delivery(t, pool, ids[0]); d.State != db.DeliveryCanceled || d.NextAttemptAt != nil || *d.LastError != "canceled by a person" {
		t.Errorf("%+v", d)
	}
	if must(db.CancelDelivery(t.Context(), pool, ids[0]))(t) || must(db.CancelDelivery(t.Context(), pool, 12345))(t) {
		t.Error("a delivery was canceled a second time, or one that is not there")
	}
	// it arrives while somebody cancels it
	writer, canceled := begin(t, pool), true
	record(t, writer, answered(deliveryTarget(t, pool, ids[1]), 200))
	wait := dbtest.Blocked(t, pool, func() (err error) {
		canceled, err = db.CancelDelivery(t.Context(), pool, ids[1])
		return err
	})
	commit(t, writer)
	check(t, wait())
	if d := delivery(t, pool, ids[1]); canceled || d.State != db.DeliveryDelivered {
		t.Errorf("canceled %v, %+v", canceled, d)
	}
}

func TestOldDeliveriesArePruned(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	ids := deliveries(t, pool, 6)
	for _, id := range ids[:5] {
		record(t, pool, answered(deliveryTarget(t, pool, id), 200))
	}
	run(t, pool, `update klingwatch.deliveries set created_at = now() - interval '2 d', tries_since = now() - interval '2 d', delivered_at = delivered_at - interval '2 d'`)
	run(t, pool, `update klingwatch.deliveries set tries_since = now() where id = $1`, ids[1])  // sent again lately
	run(t, pool, `update klingwatch.deliveries set delivered_at = now() where id = $1`, ids[2]) // arrived lately
	holder := begin(t, pool)
	run(t, holder, `select from klingwatch.deliveries where id = $1 for update`, ids[3])
	prune := func(limit int) int { return must(db.PruneDeliveries(t.Context(), pool, 24*time.Hour, limit))(t) }
	if first, rest := prune(1), prune(9); first != 1 || rest != 1 {
		t.Errorf("pruned %d, then %d", first, rest)
	}
	check(t, holder.Rollback(t.Context()))
	if n := prune(9); n != 1 {
		t.Errorf("pruned %d after the lock", n)
	}
	var left []int64
	for _, d := range must(db.ListDeliveries(t.Context(), pool, db.DeliveryChoice{}, lookback.Search{Limit: 9}))(t).Items {
		left = append(left, d.ID)
	}
	if !slices.Equal(left, []int64{ids[5], ids[2], ids[1]}) {
		t.Errorf("%v of %v are left", left, ids)
	}
	if attempts := must(db.AttemptsOf(t.Context(), pool, ids))(t); len(attempts) != 2 {
		t.Errorf("%d attempts are left", len(attempts))
	}
}
