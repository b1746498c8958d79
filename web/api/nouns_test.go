package api

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/keyring"
	"github.com/klingwatch/klingwatch/ledger"
	"github.com/klingwatch/klingwatch/operate"
)

// ended tracks a task and has it end, with an output.
func (s *service) ended(taskID, app string) {
	s.Helper()
	created, err := operate.Create(s.Context(), s.pool, []db.NewTask{{TaskID: taskID, Action: "videos", Action2: "text2video", App: app}})
	if err != nil {
		s.Fatal(err)
	}
	id := created[0].ID
	applied, err := ledger.Apply(s.Context(), s.pool, []ledger.Change{{
		Change:  db.Change{Task: id, From: db.Pending, Status: db.Succeeded, EndedBy: new(db.ByProvider), Created: created[0].CreatedAt, Polled: true},
		Outputs: []db.Output{{Task: id, Kind: "video", URL: "https://files.example/" + taskID + ".mp4"}},
	}}, nil)
	if err != nil || !applied[id] {
		s.Fatalf("the end of task %d is not written: %v", id, err)
	}
}

func TestTheFeedIsRead(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.ended("t-1", "studio")
	s.ended("t-2", "shop")
	first := s.try(scenario{name: "a part", request: "GET /v1/events?limit=1", key: "read", status: 200, has: []string{`"task_id":"t-1"`, `"type":"task.succeeded"`, `"event_id":"`}, hasNot: []string{"t-2"}})
	next := first.fields(t)["next"].(string)
	for _, sc := range []scenario{
		{name: "the next part", request: "GET /v1/events?after=" + next, key: "read", status: 200, has: []string{`"task_id":"t-2"`, `"next":null`}, hasNot: []string{"t-1"}},
		{name: "of its app", request: "GET /v1/events", key: "app", status: 200, has: []string{"t-1"}, hasNot: []string{"t-2"}},
		{name: "of a type that is not there", request: "GET /v1/events?types=task.failed", key: "read", status: 200, has: []string{`"data":[]`}},
		{name: "a cursor ahead of all", request: "GET /v1/events?after=99999", key: "read", status: 410, has: []string{"/docs/problems/cursor-expired", `"oldest":`}, hasNot: []string{"99999"}},
		{name: "of a task with a large number", request: "GET /v1/events?task=3000000000", key: "read", status: 200, has: []string{`"data":[]`}},
		{name: "no cursor", request: "GET /v1/events", key: "read", headers: map[string]string{"Last-Event-ID": "x"}, status: 422},
		{name: "with the task", request: "GET /v1/tasks/1?expand=events", key: "read", status: 200, has: []string{`"events":[{"id":`}},
	} {
		s.try(sc)
	}
}

func TestOutputsAndReports(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.ended("t-1", "studio")
	s.ended("t-2", "shop")
	for _, sc := range []scenario{
		{name: "outputs", request: "GET /v1/outputs?kind=video&limit=1", key: "read", status: 200, has: []string{"t-2.mp4", `"next":"`}},
		{name: "outputs of its app", request: "GET /v1/outputs", key: "app", status: 200, has: []string{"t-1.mp4"}, hasNot: []string{"t-2.mp4"}},
		{name: "outputs of an unknown kind", request: "GET /v1/outputs?kind=hologram", key: "read", status: 422, has: []string{"query.kind"}, hasNot: []string{"hologram"}},
		{name: "a report", request: "GET /v1/reports/daily", key: "read", status: 200, has: []string{`{"data":[{"day":"`, `"next":null`}},
		{name: "as CSV", request: "GET /v1/reports/daily?format=csv&since=2020-01-01T00:00:00Z", key: "read", status: 200, has: []string{"day,action,action2,total", "videos,text2video,2", "Content-Type: text/csv"}},
		{name: "of no time", request: "GET /v1/reports/daily?until=2020-01-01T00:00:00Z", key: "read", status: 200, has: []string{`{"data":[],"next":null}`}},
		{name: "an unknown report", request: "GET /v1/reports/secrets", key: "read", status: 422},
		{name: "with the key of an app", request: "GET /v1/reports/daily", key: "app", status: 403, has: []string{"app-restricted"}},
	} {
		s.try(sc)
	}
	for name := range reportNames(t, s) {
		s.try(scenario{name: name, request: "GET /v1/reports/" + name, key: "read", status: 200})
	}
}

// reportNames are the reports that the specification lists; each view must be one.
func reportNames(t *testing.T, s *service) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	for _, value := range s.api.huma.OpenAPI().Paths["/v1/reports/{name}"].Get.Parameters[0].Schema.Enum {
		names[value.(string)] = true
	}
	rows, err := s.pool.Query(t.Context(), `select substr(relname, 8) from pg_class where relnamespace = 'klingwatch'::regnamespace and relkind = 'v' and relname like 'report\_%'`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil || !names[name] {
			t.Errorf("report_%s is in the database, and not in the API: %v", name, err)
		}
	}
	return names
}

func TestEndpointsAndDeliveries(t *testing.T) {
	t.Parallel()
	s := newService(t)
	receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(receiver.Close)
	for _, sc := range []scenario{
		{name: "add", request: "POST /v1/endpoints", key: "admin", body: `{"url": "` + receiver.URL + `/hook", "description": "ours"}`, status: 201, has: []string{`"secret":"whsec_`, `"task.succeeded"`}},
		{name: "add it again", request: "POST /v1/endpoints", key: "admin", body: `{"url": "` + receiver.URL + `/hook"}`, status: 409, hasNot: []string{"/hook"}},
		{name: "add one with a key that only writes", request: "POST /v1/endpoints", key: "write", body: `{"url": "https://x.example"}`, status: 403},
		{name: "add no URL", request: "POST /v1/endpoints", key: "admin", body: `{"url": "hidden"}`, status: 422, hasNot: []string{"hidden"}},
		{name: "add for an unknown event", request: "POST /v1/endpoints", key: "admin", body: `{"url": "https://x.example", "event_types": ["task.hidden"]}`, status: 422, has: []string{`"location":"body.event_types"`, "must be some of task.submitted"}, hasNot: []string{"hidden"}},
		{name: "list", request: "GET /v1/endpoints", key: "read", status: 200, has: []string{`"waiting":0`}, hasNot: []string{"whsec_"}},
		{name: "get", request: "GET /v1/endpoints/1", key: "read", status: 200, has: []string{`"description":"ours"`}, hasNot: []string{"whsec_"}},
		{name: "get another", request: "GET /v1/endpoints/9", key: "read", status: 404},
		{name: "edit", request: "PATCH /v1/endpoints/1", key: "admin", body: `{"thin": true}`, status: 200, has: []string{`"thin":true`, `"description":"ours"`}},
		{name: "edit nothing", request: "PATCH /v1/endpoints/1", key: "admin", body: `{}`, status: 422},
		{name: "ping", request: "POST /v1/endpoints/1/ping", key: "write", status: 200, has: []string{`"delivered":true`, `"status_code":200`}},
		{name: "rotate", request: "POST /v1/endpoints/1/rotate-secret", key: "admin", status: 200, has: []string{`"secret":"whsec_`}},
		{name: "disable", request: "POST /v1/endpoints/1/disable", key: "write", status: 200, has: []string{`"disabled_reason":"disabled by a person"`}},
	} {
		s.try(sc)
	}
	s.ended("t-1", "studio")
	for _, sc := range []scenario{
		{name: "deliveries", request: "GET /v1/deliveries?state=pending&endpoint=1", key: "read", status: 200, has: []string{`"type":"task.succeeded"`, `"next":null`}},
		{name: "of a task with a large number", request: "GET /v1/deliveries?task=3000000000", key: "read", status: 200, has: []string{`"data":[]`}},
		{name: "of a task", request: "GET /v1/deliveries?task=1", key: "read", status: 200, has: []string{`"endpoint":1`}},
		{name: "one", request: "GET /v1/deliveries/1", key: "read", status: 200, has: []string{`"attempt_log":[]`}},
		{name: "another", request: "GET /v1/deliveries/9", key: "read", status: 404},
		{name: "with the key of an app", request: "GET /v1/deliveries", key: "app", status: 403},
		{name: "redeliver", request: "POST /v1/deliveries/1/redeliver", key: "write", status: 200, has: []string{`"state":"pending"`}},
		{name: "remove while one waits", request: "DELETE /v1/endpoints/1", key: "admin", status: 409, has: []string{"discard_waiting"}},
		{name: "enable", request: "POST /v1/endpoints/1/enable", key: "write", status: 200, has: []string{`"disabled_at":null`}},
		{name: "remove", request: "DELETE /v1/endpoints/1?discard_waiting=true", key: "admin", status: 204},
		{name: "remove it again", request: "DELETE /v1/endpoints/1", key: "admin", status: 404},
		{name: "ping one that is gone", request: "POST /v1/endpoints/1/ping", key: "write", status: 404},
		{name: "rotate one that is gone", request: "POST /v1/endpoints/1/rotate-secret", key: "admin", status: 404},
		{name: "disable one that is gone", request: "POST /v1/endpoints/1/disable", key: "write", status: 404},
		{name: "enable one that is gone", request: "POST /v1/endpoints/1/enable", key: "write", status: 404},
		{name: "redeliver what is gone", request: "POST /v1/deliveries/1/redeliver", key: "write", status: 404},
	} {
		s.try(sc)
	}
}

func TestRelays(t *testing.T) {
	t.Parallel()
	ring, err := keyring.Parse("MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=")
	if err != nil {
		t.Fatal(err)
	}
	s := newService(t, func(cfg *Config) { cfg.Keyring = ring })
	for _, sc := range []scenario{
		{name: "add", request: "POST /v1/relays", key: "admin", body: `{"name": "second", "base_url": "https://relay.example", "key": "sk-hidden", "archive": true}`, status: 201, has: []string{`"archive":true`, `"key_source":"stored"`, `"poll_rate":50`}, hasNot: []string{"hidden"}},
		{name: "add it again", request: "POST /v1/relays", key: "admin", body: `{"name": "second", "base_url": "https://relay.example", "key": "sk-hidden"}`, status: 409, hasNot: []string{"hidden"}},
		{name: "add with a file's name", request: "POST /v1/relays", key: "admin", body: `{"name": "third", "base_url": "https://relay.example", "key_file": "/etc/passwd"}`, status: 422, hasNot: []string{"passwd"}},
		{name: "add with a password in its address", request: "POST /v1/relays", key: "admin", body: `{"name": "third", "base_url": "https://user:hidden@relay.example", "key": "k"}`, status: 422, hasNot: []string{"hidden"}},
		{name: "list", request: "GET /v1/relays", key: "read", status: 200, has: []string{`"name":"second"`}, hasNot: []string{"sk-"}},
		{name: "list with a parameter that does nothing", request: "GET /v1/relays?limit=1", key: "read", status: 422},
		{name: "get", request: "GET /v1/relays/second", key: "read", status: 200},
		{name: "get another", request: "GET /v1/relays/nowhere", key: "read", status: 404, hasNot: []string{"nowhere"}},
		{name: "edit", request: "PATCH /v1/relays/second", key: "admin", body: `{"poll_rate": 5, "output_lifetime_seconds": 86400}`, status: 200, has: []string{`"poll_rate":5`, `"output_lifetime_seconds":86400`}},
		{name: "keep no files", request: "PATCH /v1/relays/second", key: "admin", body: `{"archive": false}`, status: 200, has: []string{`"archive":false`, `"poll_rate":5`}},
		{name: "leave that", request: "PATCH /v1/relays/second", key: "admin", body: `{"poll_rate": 6}`, status: 200, has: []string{`"archive":false`, `"poll_rate":6`}},
		{name: "let the services say", request: "PATCH /v1/relays/second", key: "admin", body: `{"archive": null}`, status: 200, has: []string{`"archive":null`, `"poll_rate":6`}},
		{name: "with a word", request: "PATCH /v1/relays/second", key: "admin", body: `{"archive": "off"}`, status: 422},
		{name: "edit with a key that only writes", request: "PATCH /v1/relays/second", key: "write", body: `{"poll_rate": 5}`, status: 403},
		{name: "remove", request: "DELETE /v1/relays/second", key: "admin", status: 204},
		{name: "remove it again", request: "DELETE /v1/relays/second", key: "admin", status: 404},
	} {
		s.try(sc)
	}
}

func TestBulkActions(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.exec(`insert into klingwatch.tasks (task_id, action, action2, app) select 't-' || n, 'videos', 'text2video', case when n = 1 then 'studio' else 'shop' end from generate_series(1, 3) n`)
	for _, sc := range []scenario{
		{name: "a dry run", request: "POST /v1/actions", key: "write", body: `{"action": "cancel", "filter": {"action": "videos"}, "dry_run": true}`, status: 200, has: []string{`"matched":3`, `"id":null`}},
		{name: "without the number", request: "POST /v1/actions", key: "write", body: `{"action": "cancel", "filter": {"action": "videos"}}`, status: 422, has: []string{"body.expected"}},
		{name: "with another number", request: "POST /v1/actions", key: "write", body: `{"action": "cancel", "filter": {"action": "videos"}, "expected": 2}`, status: 409, has: []string{"count-changed"}},
		{name: "of everything", request: "POST /v1/actions", key: "write", body: `{"action": "cancel", "filter": {}, "dry_run": true}`, status: 422, has: []string{"must choose something"}},
		{name: "of its app", request: "POST /v1/actions", key: "app", body: `{"action": "cancel", "filter": {"action": "videos"}, "expected": 1}`, status: 202, has: []string{`"matched":1`}},
		{name: "of another app", request: "POST /v1/actions", key: "app", body: `{"action": "cancel", "filter": {"app": "shop"}, "expected": 2}`, status: 403},
		{name: "of all apps", request: "POST /v1/actions", key: "write", body: `{"action": "cancel", "filter": {"action": "videos"}, "expected": 3}`, status: 202},
		{name: "keep files that nobody asked for", request: "POST /v1/actions", key: "write", body: `{"action": "archive", "filter": {"action": "videos"}, "dry_run": true}`, status: 200, has: []string{`"matched":0`}},
		{name: "keep files of what failed", request: "POST /v1/actions", key: "write", body: `{"action": "archive", "filter": {"status": ["failed"]}, "dry_run": true}`, status: 422, has: []string{"succeeded"}},
		{name: "list", request: "GET /v1/actions?limit=1", key: "read", status: 200, has: []string{`"id":2`, `"next":"`}},
		{name: "progress", request: "GET /v1/actions/1", key: "app", status: 200, has: []string{`"done":0`}},
		{name: "progress of what is not its own", request: "GET /v1/actions/2", key: "app", status: 404},
		{name: "stop", request: "DELETE /v1/actions/2", key: "write", status: 200, has: []string{`"finished_at":"`, `"state":"stopped"`}},
		{name: "one with a large number", request: "GET /v1/actions/3000000000", key: "read", status: 404},
		{name: "list with a cursor of tasks", request: "GET /v1/actions?cursor=AAAA", key: "read", status: 422, has: []string{"cursor-mismatch"}, hasNot: []string{"AAAA"}},
		{name: "stop it again", request: "DELETE /v1/actions/2", key: "write", status: 404},
	} {
		s.try(sc)
	}
}

func TestARequestWithAnIdempotencyKeyIsDoneOnce(t *testing.T) {
	t.Parallel()
	s := newService(t)
	once := map[string]string{"Idempotency-Key": "one"}
	body := `{"url": "https://receiver.example/hook"}`
	first := s.try(scenario{name: "the first", request: "POST /v1/endpoints", key: "admin", headers: once, body: body, status: 201})
	again := s.try(scenario{name: "the same", request: "POST /v1/endpoints", key: "admin", headers: once, body: body, status: 201, has: []string{"Idempotent-Replayed: true", "Content-Type: application/json"}})
	if first.body != again.body {
		t.Errorf("%s, then %s", first.body, again.body)
	}
	s.try(scenario{name: "another request", request: "POST /v1/endpoints", key: "admin", headers: once, body: `{"url": "https://other.example"}`, status: 422, has: []string{"idempotency-key-reused"}})
	s.exec(`update klingwatch.idempotency_keys set status = null, answer = null`)
	s.try(scenario{name: "while the first is under way", request: "POST /v1/endpoints", key: "admin", headers: once, body: body, status: 409, has: []string{"idempotency-key-in-use", "Retry-After: 1"}})
	s.exec(`update klingwatch.idempotency_keys set begun_at = now() - interval '3 min'`)
	s.try(scenario{name: "after the first has died", request: "POST /v1/endpoints", key: "admin", headers: once, body: body, status: 409, has: []string{"/docs/problems/conflict"}}) // it had been done
}

func TestKeys(t *testing.T) {
	t.Parallel()
	s := newService(t)
	revoked := s.newKey(operate.NewAPIKey{Name: "gone", Scope: db.ScopeAdmin})
	if err := operate.RevokeAPIKey(t.Context(), s.pool, revoked[3:11]); err != nil {
		t.Fatal(err)
	}
	expired := s.newKey(operate.NewAPIKey{Name: "old", Scope: db.ScopeAdmin, Life: time.Hour})
	s.exec(`update klingwatch.api_keys set expires_at = now() where name = 'old'`)
	for name, key := range map[string]string{
		"none": "", "revoked": revoked, "expired": expired, "another text": "nothing", "another end": s.keys["read"][:len(s.keys["read"])-1] + "!",
	} {
		s.try(scenario{name: name, request: "GET /v1/tasks", key: key, status: 401, has: []string{`Www-Authenticate: Bearer realm="klingwatch"`, "/docs/problems/unauthorized"}, hasNot: []string{"nothing"}})
	}
	s.try(scenario{name: "one that is used", request: "GET /v1/tasks", key: "read", status: 200})
	var used int
	if err := s.pool.QueryRow(t.Context(), `select count(*) from klingwatch.api_keys where last_used_at is not null`).Scan(&used); err != nil || used != 1 {
		t.Errorf("%d keys were used, %v", used, err)
	}
	s.exec(`delete from klingwatch.api_keys`)
	s.try(scenario{name: "where there is none", request: "GET /v1/tasks", status: 401, has: []string{"klingwatch api-keys add"}})
}

func TestAKeyHasARate(t *testing.T) {
	t.Parallel()
	s := newService(t, func(cfg *Config) { cfg.RequestRate = 0.01 }) // the next in a hundred seconds
	s.try(scenario{name: "within it", request: "GET /v1/endpoints", key: "read", status: 200})
	s.try(scenario{name: "beyond it", request: "GET /v1/endpoints", key: "read", status: 429, has: []string{"Retry-After: ", "too-many-requests"}})
	s.try(scenario{name: "another key", request: "GET /v1/endpoints", key: "write", status: 200})
}

func TestAWaitEndsWithTheTask(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.exec(`insert into klingwatch.tasks (task_id, action, action2) values ('t-1', 'videos', 'text2video')`)
	s.try(scenario{name: "no end in time", request: "GET /v1/tasks/1?wait=1", key: "read", status: 200, has: []string{`"status":"pending"`}})
	answered := make(chan answer)
	go func() {
		answered <- s.send(scenario{request: "GET /v1/tasks/by-task-id/t-1", key: "read", headers: map[string]string{"Prefer": "respond-async, wait=60"}})
	}()
	await(t, "it waits", func() bool { return len(s.api.callers.Holding()) == 1 })
	if err := operate.Cancel(t.Context(), s.pool, db.Task{ID: 1}, time.Hour); err != nil {
		t.Fatal(err)
	}
	got := <-answered
	if got.StatusCode != 200 || !strings.Contains(got.body, `"status":"canceled"`) || got.Header.Get("Preference-Applied") != "wait=60" {
		t.Errorf("%d %s %v", got.StatusCode, got.body, got.Header)
	}
}

// await fails unless something becomes true soon.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it takes too long until %s", what)
		}
	}
}

func TestTheFeedIsFollowed(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.ended("t-1", "studio")
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/v1/events?after=0", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+s.keys["read"])
	r.Header.Set("Accept", "text/event-stream")
	got, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	if got.StatusCode != 200 || got.Header.Get("Content-Type") != "text/event-stream" || got.Header.Get("X-Accel-Buffering") != "no" {
		t.Fatalf("%d %v", got.StatusCode, got.Header)
	}
	messages := readMessages(got.Body)
	if m := <-messages; !strings.Contains(m, "retry: 2000") {
		t.Errorf("it begins with %q", m)
	}
	for i, want := range []string{"t-1", "t-2"} {
		if i == 1 {
			s.ended("t-2", "studio")
		}
		m := <-messages
		if id, data, ok := strings.Cut(m, "\ndata: "); !ok || !strings.HasPrefix(id, "id: ") || !strings.Contains(data, `"task_id": "`+want+`"`) {
			t.Errorf("message %q, want the event of %s", m, want)
		}
	}
	if err := operate.RevokeAPIKey(t.Context(), s.pool, s.keys["read"][3:11]); err != nil {
		t.Fatal(err)
	}
	if m, open := <-messages; open {
		t.Errorf("a stream of a revoked key goes on: %q", m)
	}
}

// readMessages reads a stream of server-sent events until it ends.
func readMessages(body interface{ Read([]byte) (int, error) }) <-chan string {
	messages := make(chan string)
	go func() {
		defer close(messages)
		var text strings.Builder
		buffer := make([]byte, 4096)
		for {
			n, err := body.Read(buffer)
			text.Write(buffer[:n])
			for {
				message, rest, found := strings.Cut(text.String(), "\n\n")
				if !found {
					break
				}
				text.Reset()
				text.WriteString(rest)
				messages <- message
			}
			if err != nil {
				return
			}
		}
	}()
	return messages
}

func TestTheReferenceAndThePagesOfProblems(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.try(scenario{name: "the reference", request: "GET /docs", status: 200, has: []string{"Track a task", "curl -H", "Content-Security-Policy: default-src &#39;none&#39;"[:25]}, hasNot: []string{`="http`, "url(http", "@import"}})
	s.try(scenario{name: "its style", request: "GET /docs/style.css", status: 200})
	s.try(scenario{name: "the specification", request: "GET /v1/openapi.json", status: 200, has: []string{`"openapi": "3.1.0"`}})
	for _, k := range Kinds {
		s.try(scenario{name: k.Name, request: "GET " + problemsAt + k.Name, status: 200, has: []string{strconv.Itoa(k.Status)}})
	}
	s.try(scenario{name: "another page", request: "GET /docs/problems/none", status: 404})
}
