package operate_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/operate"
)

// A database that does not answer is nobody's refusal; the error says what was
// being done.
func TestTroubleWithTheDatabaseIsNoRefusal(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	ctx, stop := context.WithCancel(t.Context())
	stop()
	for _, test := range []struct {
		doing string
		ask   func() error
	}{
		{"tracking 1 tasks: ", func() error { _, err := operate.Track(ctx, pool, many(1)); return err }},
		{"reading the task: ", func() error { _, err := operate.FindTask(ctx, pool, "t"); return err }},
		{"canceling task 1: ", func() error { return operate.Cancel(ctx, pool, db.Task{ID: 1}, deadline) }},
		{"retrying task 1: ", func() error { return operate.Retry(ctx, pool, db.Task{ID: 1}, deadline) }},
		{"reading the tasks: ", func() error { return operate.Wait(ctx, pool, []int64{1}, func(db.TaskStatus) {}) }},
		{"reading the outputs of task 1: ", func() error {
			_, err := operate.ViewTask(ctx, pool, db.Task{ID: 1}, nil)
			return err
		}},
		{"reading the durations of recent tasks: ", func() error { _, err := operate.LearnSchedules(ctx, pool, time.Second); return err }},
		{"reading delivery 1: ", func() error { _, err := operate.ViewDelivery(ctx, pool, 1, ""); return err }},
		{"redelivering delivery 1: ", func() error { _, err := operate.Redeliver(ctx, pool, 1); return err }},
		{"canceling delivery 1: ", func() error { return operate.CancelDelivery(ctx, pool, 1) }},
		{"beginning to redeliver: ", func() error {
			_, err := operate.BeginBulk(ctx, pool, operate.Bulk{Action: db.BulkRedeliver, Deliveries: db.DeliveryChoice{Since: time.Now()}, PerSecond: 1})
			return err
		}},
		{"reading the progress of bulk action 1: ", func() error { _, err := operate.ViewBulk(ctx, pool, 1); return err }},
		{"stopping bulk action 1: ", func() error { return operate.StopBulk(ctx, pool, 1) }},
		{"reading endpoint 1: ", func() error { _, err := operate.GetEndpoint(ctx, pool, 1); return err }},
		{"changing endpoint 1: ", func() error {
			return operate.EditEndpoint(ctx, pool, 1, operate.EndpointEdit{URL: new("https://app.example/")})
		}},
		{"enabling endpoint 1: ", func() error { _, err := operate.EnableEndpoint(ctx, pool, 1); return err }},
		{"disabling endpoint 1: ", func() error { return operate.DisableEndpoint(ctx, pool, 1) }},
		{"removing endpoint 1: ", func() error { _, err := operate.RemoveEndpoint(ctx, pool, 1); return err }},
		{"reading the signing keys: ", func() error {
			_, err := operate.AddEndpoint(ctx, pool, nil, operate.NewEndpoint{URL: "https://app.example/"})
			return err
		}},
		{"reading the signing keys: ", func() error { _, err := operate.VerificationKeys(ctx, pool, nil); return err }},
		{"reading the signing keys: ", func() error { _, err := operate.RotateKeys(ctx, pool, nil, db.KeyOwner{}, 0); return err }},
		{"reading the signing keys: ", func() error { _, err := operate.Ping(ctx, pool, nil, nil, "https://app.example/"); return err }},
		{"reading the signing keys: ", func() error { _, err := operate.PublicKeys(ctx, pool, nil); return err }},
		{"looking for a working service: ", func() error { _, err := operate.Processes(ctx, pool); return err }},
		{"looking for paths that are not served: ", func() error { _, err := operate.UnservedPaths(ctx, pool); return err }},
		{"reading the relay: ", func() error { _, err := operate.GetRelay(ctx, pool, "a"); return err }},
		{"reading the relay: ", func() error { return operate.RemoveRelay(ctx, pool, "a") }},
		{"reading the relay: ", func() error { return operate.EditRelay(ctx, pool, nil, "a", operate.RelayEdit{BatchSize: new(1)}) }},
		{"reading the relay: ", func() error {
			return operate.AddRelay(ctx, pool, nil, operate.NewRelay{Name: "a", BaseURL: "https://relay.example", Key: operate.RelayKey{File: "/run/key"}})
		}},
		{"reading the pauses: ", func() error { _, err := operate.Pauses(ctx, pool); return err }},
	} {
		err := test.ask()
		_, refused := errors.AsType[*operate.Error](err)
		if err == nil || refused || !strings.HasPrefix(err.Error(), test.doing) || strings.Contains(err.Error(), "\n") || !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", test.doing, err)
		}
	}
}
