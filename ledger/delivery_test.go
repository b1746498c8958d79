package ledger_test

import (
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/ledger"
)

// sent makes a task fail and returns what one request to an endpoint came to.
func sent(t testing.TB, pool *pgxpool.Pool, taskID string, status int) db.DeliveryOutcome {
	t.Helper()
	id := must(ledger.Track(t.Context(), pool, []db.NewTask{{TaskID: taskID, Action: "videos", Action2: "text2video"}}, nil))(t)[0].ID
	move(t, pool, id, db.Failed)
	delivery := must(db.DeliveriesOfTask(t.Context(), pool, id))(t)[0]
	target := must(db.DeliveryTargets(t.Context(), pool, []int64{delivery.ID}))(t)[0]
	o := db.DeliveryOutcome{Delivery: target.ID, Created: target.Created, Seen: target.Attempts, Since: target.Since, State: db.DeliveryDelivered, Sent: true, StatusCode: &status}
	if status >= 300 {
		o.State, o.Wait, o.Error = db.DeliveryPending, new(60.0), new("http_status")
	}
	return o
}

func TestOutcomesHealthAndDisablingAreWrittenTogether(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	id := addEndpoint(t, pool, "https://a.example/")
	batch := ledger.Deliveries{
		Outcomes: []db.DeliveryOutcome{sent(t, pool, "a", 200), sent(t, pool, "b", 410)},
		Health:   []db.EndpointHealth{{Endpoint: id, URL: "https://a.example/", Error: new("http_status: HTTP 410")}},
		Disable:  []ledger.Disabling{{Endpoint: id, URL: "https://a.example/", Reason: "it answered 410 Gone"}},
	}
	disabled := must(ledger.RecordDeliveries(t.Context(), pool, batch))(t)
	endpoint := must(db.GetEndpoint(t.Context(), pool, id))(t)
	if len(disabled) != 1 || disabled[0] != batch.Disable[0] || endpoint.DisabledAt == nil || *endpoint.LastError != "http_status: HTTP 410" || endpoint.Waiting != 1 {
		t.Errorf("disabled %+v, the endpoint is %+v", disabled, endpoint)
	}
	if attempts := must(db.AttemptsOf(t.Context(), pool, []int64{batch.Outcomes[0].Delivery, batch.Outcomes[1].Delivery}))(t); len(attempts) != 2 {
		t.Errorf("attempts %+v", attempts)
	}
	// within the minute its health is not noted again
	batch.Outcomes, batch.Disable = []db.DeliveryOutcome{sent(t, pool, "c", 500)}, nil
	batch.Health[0].Error = new("http_status: HTTP 500")
	must(ledger.RecordDeliveries(t.Context(), pool, batch))(t)
	if endpoint := must(db.GetEndpoint(t.Context(), pool, id))(t); *endpoint.LastError != "http_status: HTTP 410" {
		t.Errorf("the endpoint is %+v", endpoint)
	}
}

func TestABatchWithALockedDeliveryIsNotWritten(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	id := addEndpoint(t, pool, "https://a.example/")
	batch := ledger.Deliveries{
		Outcomes: []db.DeliveryOutcome{sent(t, pool, "free", 200), sent(t, pool, "locked", 200)},
		Disable:  []ledger.Disabling{{Endpoint: id, Reason: "it asked for it"}},
	}
	holder := begin(t, pool)
	run(t, holder, `select from klingwatch.deliveries where id = $1 for update`, batch.Outcomes[1].Delivery)
	began := time.Now()
	disabled, err := ledger.RecordDeliveries(t.Context(), pool, batch)
	if !db.RowLocked(err) || !strings.HasPrefix(err.Error(), "writing what 2 deliveries came to: ") || len(disabled) != 0 {
		t.Errorf("disabled %+v, %v", disabled, err)
	}
	if took := time.Since(began); took < 400*time.Millisecond {
		t.Errorf("it gave up after %s", took)
	}
	if n := must(db.PendingDeliveries(t.Context(), pool, nil))(t); n != 2 || must(db.GetEndpoint(t.Context(), pool, id))(t).DisabledAt != nil {
		t.Errorf("a part was written: %d are pending", n)
	}
	check(t, holder.Rollback(t.Context()))
	must(ledger.RecordDeliveries(t.Context(), pool, batch))(t)
	if n := must(db.PendingDeliveries(t.Context(), pool, nil))(t); n != 0 {
		t.Errorf("%d are pending", n)
	}
}

// Its endpoint cannot be noted: then its request is not, either.
func TestOutcomesAreNotWrittenWithoutTheHealth(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	id := addEndpoint(t, pool, "https://a.example/")
	outcome := sent(t, pool, "a", 500)
	run(t, pool, `alter table klingwatch.webhook_endpoints add constraint never check (failing_since is null)`)
	_, err := ledger.RecordDeliveries(t.Context(), pool, ledger.Deliveries{
		Outcomes: []db.DeliveryOutcome{outcome}, Health: []db.EndpointHealth{{Endpoint: id, URL: "https://a.example/", Error: new("http_status")}},
	})
	if !db.RefusedValue(err) || len(must(db.AttemptsOf(t.Context(), pool, []int64{outcome.Delivery}))(t)) != 0 {
		t.Errorf("%v, attempts %+v", err, must(db.AttemptsOf(t.Context(), pool, []int64{outcome.Delivery}))(t))
	}
}
