package db_test

import (
	"os"
	"os/exec"
	"reflect"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // a bare machine has no zones

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
)

// childURL hands the database to the process that TestTimesAreUTC starts.
const childURL = "KLINGWATCH_TEST_TIMES_URL"

// A process in Shanghai with sessions in Tokyo gets UTC.
func TestTimesAreUTC(t *testing.T) {
	t.Parallel()
	if url := os.Getenv(childURL); url != "" {
		readTimes(t, url)
		return
	}
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestTimesAreUTC$", "-test.v")
	child.Env = append(os.Environ(), "TZ=Asia/Shanghai", childURL+"="+dbtest.NewURL(t)+"&timezone=Asia/Tokyo")
	out, err := child.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestTimesAreUTC") {
		t.Errorf("in Shanghai: %v\n%s", err, out)
	}
}

// readTimes reads rows in which every time is set.
func readTimes(t *testing.T, url string) {
	if _, offset := time.Now().Zone(); offset != 8*60*60 {
		t.Fatalf("the process is %d s east of Greenwich, which is not Shanghai", offset)
	}
	ctx, pool := t.Context(), must(db.Open(t.Context(), url, 4))(t)
	defer pool.Close()
	if zone := value[string](t, pool, `select current_setting('timezone')`); zone != "UTC" { // whatever the URL says
		t.Fatalf("the session is in %s", zone)
	}
	endpoint, task := addEndpoint(t, pool, "https://a.example/"), track(t, pool, "t")[0]
	changed := move(t, pool, task, db.Expired)
	delivery := addEvent(t, pool, task)[0]
	check(t, db.AddOutputs(ctx, pool, []db.Output{{Task: task, Kind: "image", URL: "https://a.example/1.png", ExpiresAt: new(time.Now().Add(time.Hour))}}, false))
	check(t, db.RetireKeys(ctx, pool, db.KeyOwner{Endpoint: &endpoint}, db.KeyV1, time.Hour))
	relaysAskedWith(t, pool, "c")
	must(db.PausePolling(ctx, pool, "c", "refused", time.Minute, time.Hour, true))(t)
	bulk := must(db.AddRedelivery(ctx, pool, db.DeliveryChoice{States: []string{db.DeliveryDelivered}, Since: time.Now().Add(-time.Hour)}, 0, 1))(t)
	step := must(db.LockBulk(ctx, pool, bulk.ID))(t)
	check(t, db.StopBulk(ctx, pool, bulk.ID))
	run(t, pool, `update klingwatch.tasks set last_polled_at = now(), submitted_at = now(), processing_at = now(),
		upstream_created_at = now(), upstream_updated_at = now(), deadline_at = now()`)
	run(t, pool, `update klingwatch.deliveries set delivered_at = now()`)
	run(t, pool, `update klingwatch.webhook_endpoints set failing_since = now(), disabled_at = now()`)
	run(t, pool, `insert into klingwatch.delivery_attempts (delivery, attempt, finished_at) values ($1, 1, now())`, delivery)
	run(t, pool, `update klingwatch.river_job set state = 'scheduled', scheduled_at = now() + interval '1 h'`)

	for _, read := range []struct {
		name  string
		times int
		rows  any
	}{
		{"Changed", 3, changed},
		{"Task", 9, must(db.FindTasks(ctx, pool, "t"))(t)},
		{"Output", 1, must(db.OutputsOfTask(ctx, pool, task))(t)},
		{"Expiring", 1, must(db.ExpiringOutputs(ctx, pool, 2*time.Hour))(t)},
		{"Event", 1, must(db.EventsOfTask(ctx, pool, task))(t)},
		{"Delivery", 3, must(db.GetDelivery(ctx, pool, delivery))(t)},
		{"PollTarget", 1, target(t, pool, task)},
		{"DeliveryTarget", 3, must(db.DeliveryTargets(ctx, pool, []int64{delivery}))(t)},
		{"Attempt", 2, must(db.AttemptsOf(ctx, pool, []int64{delivery}))(t)},
		{"Bulk", 4, must(db.ListBulks(ctx, pool, bulk.ID, 0, 1))(t)},
		{"Bulk under way", 3, step},
		{"Endpoint", 3, must(db.GetEndpoint(ctx, pool, endpoint))(t)},
		{"SigningKey", 2, must(db.SigningKeys(ctx, pool))(t)},
		{"Pause", 2, must(db.Pauses(ctx, pool, time.Hour))(t)},
		{"Clock", 1, must(db.Clock(ctx, pool))(t)},
	} {
		times := timesIn(reflect.ValueOf(read.rows))
		if len(times) != read.times {
			t.Errorf("%s: %d times are set, want %d: %+v", read.name, len(times), read.times, read.rows)
		}
		for _, at := range times {
			if at.Location() != time.UTC {
				t.Errorf("%s: %s is not UTC", read.name, at)
			}
		}
	}
}

// timesIn returns the times in a value, however deep, that are not nil.
func timesIn(v reflect.Value) (times []time.Time) {
	if at, ok := v.Interface().(time.Time); ok {
		return []time.Time{at}
	}
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			return timesIn(v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			times = append(times, timesIn(v.Index(i))...)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			times = append(times, timesIn(v.Field(i))...)
		}
	}
	return times
}
