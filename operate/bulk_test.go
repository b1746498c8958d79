package operate_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/operate"
)

func TestABulkRedeliveryTakesWhatItChooses(t *testing.T) {
	t.Parallel()
	pool := sent(t, db.DeliveryExhausted)
	hour := time.Now().Add(-time.Hour)
	for name, test := range map[string]struct {
		choice  db.DeliveryChoice
		matched int64
	}{
		"all receivers":  {db.DeliveryChoice{Since: hour}, 2},
		"one endpoint":   {db.DeliveryChoice{Endpoint: new(int64(1))}, 1},
		"another state":  {db.DeliveryChoice{Since: hour, States: []string{db.DeliveryDelivered, db.DeliveryCanceled}}, 0},
		"until before":   {db.DeliveryChoice{Since: hour, Until: hour.Add(time.Minute)}, 0},
		"until later":    {db.DeliveryChoice{Since: hour, Until: time.Now().Add(time.Hour)}, 2},
		"since later":    {db.DeliveryChoice{Since: time.Now().Add(time.Hour)}, 0},
		"several states": {db.DeliveryChoice{Since: hour, States: []string{db.DeliveryDelivered, db.DeliveryExhausted}}, 2},
	} {
		bulk := operate.Bulk{Action: db.BulkRedeliver, Deliveries: test.choice, PerSecond: operate.MaxPerSecond}
		if n, err := operate.CountBulk(t.Context(), pool, bulk); err != nil || n != test.matched {
			t.Errorf("%s: %d are counted, %v", name, n, err)
		}
		begun, err := operate.BeginBulk(t.Context(), pool, bulk)
		if err != nil || begun.Matched != test.matched || begun.PerSecond != operate.MaxPerSecond || begun.FinishedAt != nil {
			t.Errorf("%s: %+v, %v", name, begun, err)
		}
		if now, err := operate.ViewBulk(t.Context(), pool, begun.ID); err != nil || now.ID != begun.ID || now.Matched != test.matched {
			t.Errorf("%s: seen again: %+v, %v", name, now, err)
		}
	}
}

func TestABulkActionThatMakesNoSense(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	now := time.Now()
	since := db.TaskChoice{Since: now}
	for name, test := range map[string]struct {
		bulk  operate.Bulk
		field string
		part  string
	}{
		"no deliveries": {operate.Bulk{Action: db.BulkRedeliver, PerSecond: 1}, "", "choose what to redeliver, at least by a time: since"},
		"no tasks":      {operate.Bulk{Action: db.BulkCancel, PerSecond: 1}, "", "choose what to cancel, at least by a time: since"},
		"until since":   {operate.Bulk{Action: db.BulkRetry, Tasks: db.TaskChoice{Since: now, Until: now}, PerSecond: 1}, "until", "must be later than since"},
		"no rate":       {operate.Bulk{Action: db.BulkRedeliver, Deliveries: db.DeliveryChoice{Since: now}}, "per_second", "must be from 1 to 500, not 0"},
		"negative rate": {operate.Bulk{Action: db.BulkRetry, Tasks: since, PerSecond: -1}, "per_second", "must be from 0 to 500, not -1"},
		"high rate":     {operate.Bulk{Action: db.BulkRetry, Tasks: since, PerSecond: 501}, "per_second", "must be from 0 to 500, not 501"},
		"pending":       {operate.Bulk{Action: db.BulkRedeliver, Deliveries: db.DeliveryChoice{Since: now, States: []string{db.DeliveryPending}}, PerSecond: 1}, "state", `must be exhausted, delivered or canceled, not "pending"`},
		"retry open":    {operate.Bulk{Action: db.BulkRetry, Tasks: db.TaskChoice{Statuses: []string{db.Expired, db.Pending}}, PerSecond: 1}, "status", `must be failed, expired, not_found, succeeded or canceled, not "pending"`},
		"keep failed":   {operate.Bulk{Action: db.BulkArchive, Tasks: db.TaskChoice{Statuses: []string{db.Failed}}}, "status", `must be succeeded, not "failed"`},
		"keep all":      {operate.Bulk{Action: db.BulkArchive}, "", "choose what to archive, at least by a time: since"},
		"cancel ended":  {operate.Bulk{Action: db.BulkCancel, Tasks: db.TaskChoice{Statuses: []string{"lost"}}, PerSecond: 1}, "status", `must be pending, submitted or processing, not "lost"`},
	} {
		wantRefusal(t, "checking: "+name, test.bulk.Check(), operate.Invalid, test.field, test.part)
		_, err := operate.BeginBulk(t.Context(), pool, test.bulk)
		wantRefusal(t, name, err, operate.Invalid, test.field, test.part)
	}
	_, err := operate.CountBulk(t.Context(), pool, operate.Bulk{Action: db.BulkCancel, Tasks: db.TaskChoice{Relay: "typo"}, PerSecond: 1})
	wantRefusal(t, "relay", err, operate.NotFound, "", "there is no relay typo")
	if n := read[int](t, pool, `select count(*) from klingwatch.bulk_actions`); n != 0 {
		t.Errorf("%d are under way", n)
	}
}

// What succeeded, or was canceled by a person, is not asked about again by accident.
func TestABulkActionTakesWhatIsUsual(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	for _, id := range track(t, pool, db.Pending, db.Canceled, db.Succeeded, db.Failed, db.Expired, db.NotFound) {
		task := find(t, pool, fmt.Sprint(id))
		switch task.TaskID {
		case db.Pending:
		case db.Canceled:
			cancel(t, pool, id)
		default:
			exec(t, pool, end(t, task.TaskID, id))
		}
	}
	exec(t, pool, `insert into klingwatch.outputs (task, kind, position, url) select id, 'video', 0, 'https://a.example/' from klingwatch.tasks where status = 'succeeded'`)
	for action, want := range map[string][]string{
		db.BulkArchive: {db.Succeeded}, db.BulkRetry: {db.Failed, db.Expired, db.NotFound}, db.BulkCancel: {db.Pending, db.Submitted, db.Processing},
	} {
		begun, err := operate.BeginBulk(t.Context(), pool, operate.Bulk{Action: action, Tasks: db.TaskChoice{Path: "videos/text2video"}, PerSecond: 1})
		if matched := map[string]int64{db.BulkArchive: 1, db.BulkRetry: 3, db.BulkCancel: 1}[action]; err != nil || begun.Matched != matched || !slices.Equal(begun.States, want) {
			t.Errorf("%s: %+v, %v", action, begun, err)
		}
	}
}

func TestABulkRedeliveryCanBeStoppedOnce(t *testing.T) {
	t.Parallel()
	pool := sent(t, db.DeliveryExhausted)
	begun, err := operate.BeginBulk(t.Context(), pool, operate.Bulk{Action: db.BulkRedeliver, Deliveries: db.DeliveryChoice{Endpoint: new(int64(1))}, PerSecond: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := operate.StopBulk(t.Context(), pool, begun.ID); err != nil {
		t.Fatal(err)
	}
	if now, err := operate.ViewBulk(t.Context(), pool, begun.ID); err != nil || now.FinishedAt == nil {
		t.Errorf("stopped: %+v, %v", now, err)
	}
	for id, part := range map[int64]string{begun.ID: "no bulk action 1 is under way; see klingwatch bulk list", 99: "no bulk action 99 is under way"} {
		wantRefusal(t, "stopping", operate.StopBulk(t.Context(), pool, id), operate.NotFound, "", part)
	}
	if _, err := operate.RemoveEndpoint(t.Context(), pool, 1); err != nil {
		t.Fatal(err)
	}
	_, err = operate.ViewBulk(t.Context(), pool, begun.ID)
	wantRefusal(t, "without its endpoint", err, operate.NotFound, "", "there is no bulk action 1; a redelivery goes with its endpoint")
}
