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
