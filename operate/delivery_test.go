package operate_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/operate"
)

// The deliveries of sent, in a state that it chooses.
const callback, toEndpoint = 1, 2

// sent returns a database with a task that has ended and its two deliveries: the
// callback, and one to endpoint 1.
func sent(t *testing.T, state string) *pgxpool.Pool {
	t.Helper()
	pool := dbtest.New(t)
	addEndpoint(t, pool, "https://app.example/hook")
	tracked, err := operate.Track(t.Context(), pool, []db.NewTask{{
		TaskID: "t", Action: "videos", Action2: "text2video", CallbackURL: new("https://app.example/callback"),
	}})
	if err != nil {
		t.Fatal(err)
	}
	cancel(t, pool, tracked[0].ID)
	if state != db.DeliveryPending {
		exec(t, pool, fmt.Sprintf(`update klingwatch.deliveries set state = '%s', next_attempt_at = null, attempts = 3`, state))
	}
	return pool
}

// delivery returns a delivery as it is now.
func delivery(t *testing.T, pool *pgxpool.Pool, id int64) db.Delivery {
	t.Helper()
	view, err := operate.ViewDelivery(t.Context(), pool, id, "")
	if err != nil {
		t.Fatal(err)
	}
	return view.Delivery
}

func TestAnyDeliveryCanBeSentAgain(t *testing.T) {
	t.Parallel()
	for _, state := range db.DeliveryStates {
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			pool := sent(t, state)
			again, err := operate.Redeliver(t.Context(), pool, callback)
			if err != nil || again != (operate.Redelivered{URL: "https://app.example/callback"}) {
				t.Errorf("the callback: %+v, %v", again, err)
			}
			if d := delivery(t, pool, callback); d.State != db.DeliveryPending || d.NextAttemptAt == nil || time.Until(*d.NextAttemptAt) > 0 {
				t.Errorf("%+v", d)
			}
			again, err = operate.Redeliver(t.Context(), pool, toEndpoint)
			if err != nil || again.Waits || *again.Endpoint != 1 || again.URL != "https://app.example/hook" {
				t.Errorf("to the endpoint: %+v, %v", again, err)
			}
			if err := operate.DisableEndpoint(t.Context(), pool, 1); err != nil {
				t.Fatal(err)
			}
			if again, err = operate.Redeliver(t.Context(), pool, toEndpoint); err != nil || !again.Waits || delivery(t, pool, toEndpoint).NextAttemptAt != nil {
				t.Errorf("to the disabled endpoint: %+v, %v", again, err)
			}
		})
	}
}

func TestOnlyWhatHasNotArrivedCanBeCanceled(t *testing.T) {
	t.Parallel()
	pool := sent(t, db.DeliveryPending)
	if err := operate.CancelDelivery(t.Context(), pool, callback); err != nil {
		t.Fatal(err)
	}
	if d := delivery(t, pool, callback); d.State != db.DeliveryCanceled || d.NextAttemptAt != nil || *d.LastError != "canceled by a person" {
		t.Errorf("%+v", d)
	}
	wantRefusal(t, "again", operate.CancelDelivery(t.Context(), pool, callback), operate.Conflict, "", "delivery 1 has ended already: canceled")
	exec(t, pool, `update klingwatch.deliveries set state = 'delivered' where id = 2`)
	wantRefusal(t, "delivered", operate.CancelDelivery(t.Context(), pool, toEndpoint), operate.Conflict, "", "delivery 2 has ended already: delivered")
}

func TestADeliveryThatIsNotThere(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	for name, ask := range map[string]func() error{
		"view":      func() error { _, err := operate.ViewDelivery(t.Context(), pool, 99, ""); return err },
		"redeliver": func() error { _, err := operate.Redeliver(t.Context(), pool, 99); return err },
		"cancel":    func() error { return operate.CancelDelivery(t.Context(), pool, 99) },
	} {
		wantRefusal(t, name, ask(), operate.NotFound, "", "there is no delivery 99; see klingwatch deliveries list")
	}
}

func TestABulkRedeliveryTakesWhatItChooses(t *testing.T) {
	t.Parallel()
	pool := sent(t, db.DeliveryExhausted)
	hour := time.Now().Add(-time.Hour)
	for name, test := range map[string]struct {
		bulk    operate.Bulk
		matched int64
	}{
		"all receivers":  {operate.Bulk{Since: hour}, 2},
		"one endpoint":   {operate.Bulk{Endpoint: new(int64(1))}, 1},
		"another state":  {operate.Bulk{Since: hour, States: []string{db.DeliveryDelivered, db.DeliveryCanceled}}, 0},
		"until before":   {operate.Bulk{Since: hour, Until: hour.Add(time.Minute)}, 0},
		"until later":    {operate.Bulk{Since: hour, Until: time.Now().Add(time.Hour)}, 2},
		"since later":    {operate.Bulk{Since: time.Now().Add(time.Hour)}, 0},
		"several states": {operate.Bulk{Since: hour, States: []string{db.DeliveryDelivered, db.DeliveryExhausted}}, 2},
	} {
		if test.bulk.States == nil {
			test.bulk.States = []string{db.DeliveryExhausted}
		}
		test.bulk.PerSecond = operate.MaxPerSecond
		begun, err := operate.RedeliverMany(t.Context(), pool, test.bulk)
		if err != nil || begun.Matched != test.matched || begun.PerSecond != operate.MaxPerSecond || begun.FinishedAt != nil {
			t.Errorf("%s: %+v, %v", name, begun, err)
		}
		if now, err := operate.ViewRedelivery(t.Context(), pool, begun.ID); err != nil || now.ID != begun.ID || now.Matched != test.matched {
			t.Errorf("%s: seen again: %+v, %v", name, now, err)
		}
	}
}

func TestABulkRedeliveryThatMakesNoSense(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	now := time.Now()
	good := operate.Bulk{Since: now, States: []string{db.DeliveryExhausted}, PerSecond: 1}
	for name, test := range map[string]struct {
		change func(*operate.Bulk)
		field  string
		part   string
	}{
		"no choice":     {func(b *operate.Bulk) { b.Since = time.Time{} }, "", "choose what to send again: an endpoint or a time"},
		"until since":   {func(b *operate.Bulk) { b.Until = now }, "until", "must be later than since"},
		"no rate":       {func(b *operate.Bulk) { b.PerSecond = 0 }, "per_second", "must be from 1 to 500, not 0"},
		"high rate":     {func(b *operate.Bulk) { b.PerSecond = 501 }, "per_second", "must be from 1 to 500, not 501"},
		"pending":       {func(b *operate.Bulk) { b.States = []string{db.DeliveryPending} }, "state", `must be exhausted, delivered or canceled, not "pending"`},
		"unknown state": {func(b *operate.Bulk) { b.States = []string{db.DeliveryExhausted, "lost"} }, "state", `not "lost"`},
		"no state":      {func(b *operate.Bulk) { b.States = nil }, "state", "must be exhausted, delivered or canceled"},
	} {
		bulk := good
		test.change(&bulk)
		wantRefusal(t, "checking: "+name, bulk.Check(), operate.Invalid, test.field, test.part)
		_, err := operate.RedeliverMany(t.Context(), pool, bulk)
		wantRefusal(t, name, err, operate.Invalid, test.field, test.part)
	}
	if n := read[int](t, pool, `select count(*) from klingwatch.redeliveries`); n != 0 {
		t.Errorf("%d are under way", n)
	}
}

func TestABulkRedeliveryCanBeStoppedOnce(t *testing.T) {
	t.Parallel()
	pool := sent(t, db.DeliveryExhausted)
	begun, err := operate.RedeliverMany(t.Context(), pool, operate.Bulk{Endpoint: new(int64(1)), States: []string{db.DeliveryExhausted}, PerSecond: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := operate.StopRedelivery(t.Context(), pool, begun.ID); err != nil {
		t.Fatal(err)
	}
	if now, err := operate.ViewRedelivery(t.Context(), pool, begun.ID); err != nil || now.FinishedAt == nil {
		t.Errorf("stopped: %+v, %v", now, err)
	}
	for id, part := range map[int64]string{begun.ID: "no redelivery 1 is under way; see klingwatch deliveries progress", 99: "no redelivery 99 is under way"} {
		wantRefusal(t, "stopping", operate.StopRedelivery(t.Context(), pool, id), operate.NotFound, "", part)
	}
	if _, err := operate.RemoveEndpoint(t.Context(), pool, 1); err != nil {
		t.Fatal(err)
	}
	_, err = operate.ViewRedelivery(t.Context(), pool, begun.ID)
	wantRefusal(t, "without its endpoint", err, operate.NotFound, "", "redelivery 1 is gone: its endpoint was deleted")
}
