package operate_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/operate"
	"github.com/klingwatch/klingwatch/webhook"
)

// everything returns a database of which every column of task 1, its two outputs,
// its event, its deliveries and their attempts has a value.
func everything(t *testing.T) *pgxpool.Pool {
	t.Helper()
	pool := sent(t, db.DeliveryPending)
	exec(t, pool,
		`update klingwatch.tasks set external_id = 'order-7', metadata = '{"user": 42}', upstream_status = 'succeed', status_message = 'done', error_code = '1', request_id = 'r',
		 result = '{"code": 0}', unit_deduction = 1.5, polls = 3, last_error = 'unreachable', last_polled_at = now(), submitted_at = now(), processing_at = now(),
		 upstream_created_at = now(), upstream_updated_at = now(), deadline_at = now(), archive = true, callback_events = '{task.archived}'`,
		`insert into klingwatch.outputs (task, kind, position, url, upstream_id, duration_seconds, watermark_url, expires_at,
		     archive_id, archive_state, archive_key, bytes, sha256, content_type, width, height, thumbnail_key, archived_at, archive_attempts, archive_error)
		 select 1, 'video', i, 'https://cdn.example/' || i, 'u', 5.041, 'https://cdn.example/w', now(),
		     i, 'stored', 'default/1/video.mp4', 7, repeat('a', 64), 'video/mp4', 640, 360, 'default/1/video.thumb.jpg', now(), 2, 'once' from generate_series(1, 2) i`,
		`update klingwatch.deliveries set last_error = 'http_status: 500', delivered_at = now(), attempts = 2`,
		`insert into klingwatch.delivery_attempts (delivery, attempt, started_at, finished_at, status_code, error, response_body, remote_addr, dns_seconds, connect_seconds, tls_seconds, first_byte_seconds)
		 select d, a, timestamptz '2026-11-23 08:00:00Z' + a * interval '1 s', now(), 500, 'http_status', 'no', '192.0.2.1:443', 0.1, 0.2, 0.3, 0.4 from generate_series(1, 2) d, generate_series(1, 2) a`)
	return pool
}

// empties returns the names of the fields that have no value, for what is below a
// struct or a list.
func empties(value reflect.Value, name string) (list []string) {
	switch value.Kind() {
	case reflect.Struct:
		if value.Type() == reflect.TypeFor[time.Time]() {
			break
		}
		for i := range value.NumField() {
			list = append(list, empties(value.Field(i), name+"."+value.Type().Field(i).Name)...)
		}
		return list
	case reflect.Slice:
		if value.Type().Elem().Kind() == reflect.Uint8 || value.Len() == 0 { // raw JSON, or nothing
			break
		}
		for i := range value.Len() {
			list = append(list, empties(value.Index(i), fmt.Sprintf("%s[%d]", name, i))...)
		}
		return list
	}
	if value.IsZero() {
		list = append(list, name)
	}
	return list
}

func TestAViewOfATaskLeavesNothingOut(t *testing.T) {
	t.Parallel()
	pool := everything(t)
	view, err := operate.ViewTask(t.Context(), pool, find(t, pool, "t"), nil)
	if err != nil {
		t.Fatal(err)
	}
	missing := empties(reflect.ValueOf(view), "view")
	want := []string{
		"view.Task.NextPollAt",           // it has ended
		"view.Task.PolledBy", "view.Now", // so no process polls it
		"view.Expected",            // as well
		"view.Outputs[0].NeedsKey", // the URL is the file's own
		"view.Outputs[1].NeedsKey",
		"view.Deliveries[0].Delivery.Endpoint", // a callback
	}
	if !slices.Equal(missing, want) {
		t.Errorf("without a value: %q, want %q", missing, want)
	}
	if len(view.Outputs) != 2 || len(view.Events) != 1 || len(view.Deliveries) != 2 {
		t.Errorf("%d outputs, %d events, %d deliveries", len(view.Outputs), len(view.Events), len(view.Deliveries))
	}
	for i, d := range view.Deliveries {
		if d.ID != int64(i+1) || len(d.AttemptLog) != 2 || d.AttemptLog[0].Attempt != 1 || d.AttemptLog[1].Attempt != 2 || d.AttemptLog[0].Delivery != d.ID {
			t.Errorf("delivery %d: %+v", d.ID, d.AttemptLog)
		}
	}
}

// Lists are empty, not null, where there is nothing.
func TestAViewOfANewTaskHasEmptyLists(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	track(t, pool, "t")
	view, err := operate.ViewTask(t.Context(), pool, find(t, pool, "t"), nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(view)
	if err != nil || !strings.Contains(string(text), `"expected":null,"outputs":[],"events":[],"deliveries":[]`) {
		t.Errorf("%s, %v", text, err)
	}
	exec(t, pool, `insert into klingwatch.webhook_endpoints (url, event_types) values ('https://app.example/', '{task.canceled}')`)
	cancel(t, pool, 1)
	if view, err = operate.ViewTask(t.Context(), pool, find(t, pool, "t"), nil); err != nil || len(view.Deliveries) != 1 || view.Deliveries[0].AttemptLog == nil {
		t.Errorf("%+v, %v", view.Deliveries, err)
	}
}

func TestTheExpectedEndOfATask(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	exec(t, pool, `
		insert into klingwatch.tasks (task_id, action, action2, status, created_at, finished_at)
		select 'old' || i, 'videos', 'text2video', 'succeeded', now() - interval '1 hour', now() - interval '1 hour' + i * interval '1 s'
		from generate_series(61, 160) i`)
	track(t, pool, "runs")
	schedules, err := operate.LearnSchedules(t.Context(), pool, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	expected := func(id string, schedules operate.Schedules) *operate.Expected {
		t.Helper()
		view, err := operate.ViewTask(t.Context(), pool, find(t, pool, id), schedules)
		if err != nil {
			t.Fatal(err)
		}
		return view.Expected
	}
	e := expected("runs", schedules)
	if e == nil {
		t.Fatal("nothing is expected")
	}
	p50, p90 := time.Until(e.P50), time.Until(e.P90) // they ran 61 to 160 s
	if p50 < 95*time.Second || p50 > 125*time.Second || p90 < 135*time.Second || p90 > 165*time.Second {
		t.Errorf("half end in %s, nine tenths in %s", p50, p90)
	}
	if _, err := operate.Track(t.Context(), pool, []db.NewTask{{TaskID: "other", Action: "images", Action2: "generations"}}); err != nil {
		t.Fatal(err)
	}
	for id, known := range map[string]operate.Schedules{"other": schedules, "old61": schedules, "runs": nil} {
		if e := expected(id, known); e != nil {
			t.Errorf("%s: %+v", id, e)
		}
	}
}

func TestAViewOfADeliveryLeavesNothingOut(t *testing.T) {
	t.Parallel()
	pool := everything(t)
	view, err := operate.ViewDelivery(t.Context(), pool, toEndpoint, "klingwatch/test")
	if err != nil {
		t.Fatal(err)
	}
	if missing := empties(reflect.ValueOf(view), "view"); len(missing) > 0 {
		t.Errorf("without a value: %q", missing)
	}
	want := [][2]string{
		{"content-type", "application/json"}, {"user-agent", "klingwatch/test"}, {"webhook-id", view.EventID},
		{"webhook-timestamp", "1795420802"}, {"webhook-signature", "v1,(hidden) v1a,(hidden)"}, // of the last attempt
	}
	if !slices.Equal(view.Headers, want) || len(view.AttemptLog) != 2 {
		t.Errorf("headers %q, want %q", view.Headers, want)
	}
	var event webhook.Event
	if err := json.Unmarshal(view.RawBody, &event); err != nil || event.Type != webhook.TaskCanceled || event.Data.TaskID != "t" || event.Data.Status != db.Canceled || event.Data.Sequence != 1 {
		t.Errorf("%s, %v", view.RawBody, err)
	}
	text, err := json.Marshal(view)
	if err != nil || !strings.Contains(string(text), `"body":{`) || strings.Contains(string(text), "RawBody") {
		t.Errorf("%s, %v", text, err)
	}
}

// The body is the one that the receiver gets.
func TestAViewOfAThinDeliveryIsThin(t *testing.T) {
	t.Parallel()
	pool := sent(t, db.DeliveryPending)
	if err := operate.EditEndpoint(t.Context(), pool, 1, operate.EndpointEdit{Thin: new(true)}); err != nil {
		t.Fatal(err)
	}
	for id, thin := range map[int64]bool{callback: false, toEndpoint: true} {
		view, err := operate.ViewDelivery(t.Context(), pool, id, "")
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(view)
		if err != nil || strings.Contains(string(view.RawBody), `"outputs"`) == thin || strings.Contains(string(text), `"outputs"`) == thin {
			t.Errorf("delivery %d: %s, %v", id, view.RawBody, err)
		}
		if view.Headers[3][1] != "(unix seconds of the attempt)" || view.AttemptLog == nil {
			t.Errorf("before the first attempt: %q, %v", view.Headers, view.AttemptLog)
		}
	}
}
