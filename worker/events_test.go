package worker

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/ledger"
	"github.com/klingwatch/klingwatch/webhook"
	"github.com/klingwatch/klingwatch/webhook/webhooktest"
)

// checkEvents validates all that was written for receivers, in whole and thin
// form, and returns the events by type.
func checkEvents(t *testing.T, pool *pgxpool.Pool) map[string][]json.RawMessage {
	t.Helper()
	rows, err := pool.Query(t.Context(), `select type, payload from klingwatch.events order by id`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	byType := map[string][]json.RawMessage{}
	for rows.Next() {
		var eventType string
		var payload json.RawMessage
		if err := rows.Scan(&eventType, &payload); err != nil {
			t.Fatal(err)
		}
		byType[eventType] = append(byType[eventType], payload)
		form, thinForm := webhooktest.Task, webhooktest.ThinTask
		if eventType == webhook.EndpointFailing || eventType == webhook.EndpointDisabled {
			form, thinForm = webhooktest.Endpoint, webhooktest.Endpoint
		}
		thin, err := webhook.Thin(payload)
		if err != nil {
			t.Fatal(err)
		}
		for _, err := range []error{webhooktest.Check(form, payload), webhooktest.Check(thinForm, thin)} {
			if err != nil {
				t.Errorf("%s: %v", eventType, err)
			}
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return byType
}

// answers are a relay's replies by the id that is asked for.
var answers = map[string]string{
	"queued":  `{"code":0,"data":{"task_id":"queued","task_status":"submitted"}}`,
	"running": `{"code":0,"data":{"task_id":"running","task_status":"processing"}}`,
	"failed":  `{"code":0,"data":{"task_id":"failed","task_status":"failed","task_status_msg":"the prompt was refused"}}`,
	"video": `{"code":0,"data":{"task_id":"video","task_status":"succeed","task_result":{"videos":[
		{"id":"v1","url":"https://cdn.example/1.mp4","watermark_url":"https://cdn.example/w.mp4","duration":"5.041"}]}}}`,
	"inline":  `{"code":0,"data":{"task_id":"inline","task_status":"succeed","task_result":{"images":[{"url":"data:image/png;base64,iVBORw0KGgo="}]}}}`,
	"element": `{"code":0,"data":{"task_id":"element","task_status":"succeed","task_result":{"elements":[{"element_id":829836802793406551}]}}}`,
	"voice":   `{"code":0,"data":{"task_id":"voice","task_status":"succeed","task_result":"voice-829"}}`,
	"bare":    `{"code":0,"data":{"task_id":"bare","task_status":"succeed"}}`,
}

// keepFiles has the file of one task be stored, and that of another be lost.
func keepFiles(t *testing.T, pool *pgxpool.Pool, stored, lost int64) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), `update klingwatch.outputs set archive_id = task, archive_state = 'pending' where task in ($1, $2)`, stored, lost); err != nil {
		t.Fatal(err)
	}
	file := db.StoredFile{ID: stored, Key: "default/1.mp4", Bytes: 7, SHA256: strings.Repeat("a", 64), ContentType: "video/mp4", Width: new(640), Height: new(360), ThumbnailKey: new("default/1.thumb.jpg")}
	if err := db.ClaimFile(t.Context(), pool, file.Key, time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := ledger.RecordStored(t.Context(), pool, stored, file, "https://kw.example"); err != nil {
		t.Fatal(err)
	}
	if err := ledger.GiveFileUp(t.Context(), pool, lost, lost, db.ArchiveLost, "the host does not answer", ""); err != nil {
		t.Fatal(err)
	}
}

// Every event that a receiver can get, from tasks and endpoints that went all ways.
func TestEveryEventFitsTheSchema(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	relay := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if body, known := answers[path.Base(r.URL.Path)]; known {
			_, _ = fmt.Fprint(w, body)
			return
		}
		w.WriteHeader(http.StatusBadRequest)
		_, _ = fmt.Fprint(w, `{"code":1201,"message":"Task not found by id/external id"}`)
	}))
	defer relay.Close()
	ids := slices.Sorted(maps.Keys(answers))
	ours := map[string]int64{}
	for i, id := range track(t, pool, "videos/text2video", "", ids...) {
		ours[ids[i]] = id
	}
	track(t, pool, "videos/text2video", "", "unknown")
	if _, err := pool.Exec(t.Context(), `
		insert into klingwatch.tasks (task_id, action, action2, external_id, metadata, deadline_at)
		values ('late', 'videos', 'text2video', 'order-7', '{"user": 42, "outputs": null}', now() + interval '100 ms')`); err != nil {
		t.Fatal(err)
	}
	disableAndWarn(t, pool)
	startWorker(t, config(t, pool, relay.URL))
	await(t, "one task is running", func() bool { return statusOf(t, pool, ours["running"]).Status == db.Processing })
	if err := ledger.Cancel(t.Context(), pool, ours["running"], time.Hour); err != nil {
		t.Fatal(err)
	}
	await(t, "all but one end", func() bool {
		return number(t, pool, `select count(*) from klingwatch.tasks where finished_at is null`) == 1
	})
	keepFiles(t, pool, ours["video"], ours["inline"])

	events := checkEvents(t, pool)
	if diff := cmp.Diff(slices.Sorted(slices.Values(webhook.Types)), slices.Sorted(maps.Keys(events))); diff != "" {
		t.Errorf("types of events: %s", diff)
	}
	results := map[string]string{}
	for _, payload := range events[webhook.TaskSucceeded] {
		var event webhook.Event
		if err := json.Unmarshal(payload, &event); err != nil {
			t.Fatal(err)
		}
		results[event.Data.TaskID] = string(event.Data.Result)
	}
	want := map[string]string{
		"video": "null", "inline": "null", "bare": "null",
		"element": `{"elements": [{"element_id": 829836802793406551}]}`, "voice": `"voice-829"`,
	}
	if diff := cmp.Diff(want, results); diff != "" {
		t.Errorf("results: %s", diff)
	}
}

// disableAndWarn has the events of endpoints written.
func disableAndWarn(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	endpoint, err := db.AddEndpoint(t.Context(), pool, db.NewEndpoint{URL: "https://app.example/hook?token=1", EventTypes: webhook.TerminalTypes, Secret: webhook.NewSecret()})
	if err != nil {
		t.Fatal(err)
	}
	if err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		if _, err := ledger.TendEndpoints(t.Context(), tx, nil, []ledger.Warning{{Endpoint: endpoint, Reason: "http_status: HTTP 500"}}); err != nil {
			return err
		}
		_, err := ledger.DisableEndpoints(t.Context(), tx, []ledger.Disabling{{Endpoint: endpoint, Reason: "the receiver answered 410 Gone"}})
		return err
	}); err != nil {
		t.Fatal(err)
	}
}
