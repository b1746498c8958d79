package worker

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/webhook"
)

// addEndpoint adds a receiver and returns its number.
func addEndpoint(t *testing.T, pool *pgxpool.Pool, e db.NewEndpoint) int64 {
	t.Helper()
	if e.Secret == "" {
		e.Secret = webhook.NewSecret()
	}
	if e.EventTypes == nil {
		e.EventTypes = webhook.TerminalTypes
	}
	id, err := db.AddEndpoint(t.Context(), pool, e)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// quick names n tasks that end at once.
func quick(n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("quick-%d", i)
	}
	return ids
}

// log is what a receiver got.
type deliveryLog struct {
	*httptest.Server
	mu    sync.Mutex
	posts []post
}

type post struct {
	header http.Header
	body   []byte
}

// newDeliveryLog notes every request and then answers with answer.
func newDeliveryLog(t *testing.T, answer http.HandlerFunc) *deliveryLog {
	t.Helper()
	l := &deliveryLog{}
	l.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		l.mu.Lock()
		l.posts = append(l.posts, post{r.Header.Clone(), body})
		l.mu.Unlock()
		if answer != nil {
			answer(w, r)
		}
	}))
	t.Cleanup(l.Close)
	return l
}

func (l *deliveryLog) all() []post {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]post(nil), l.posts...)
}

// letADayPass lets a day go by for the deliveries that are not due yet, and
// wakes all jobs.
func letADayPass(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	for _, sql := range []string{
		`update klingwatch.deliveries set next_attempt_at = now(), held_since = held_since - interval '1 day'
		 where state = 'pending' and next_attempt_at > now() + interval '1 s'`,
		`select klingwatch.give_jobs('deliver', array_agg(id)) from klingwatch.deliveries where state = 'pending' and next_attempt_at is not null`,
	} {
		if _, err := pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
}

// Whatever receivers do, every event ends in a stated state (or waits at an
// endpoint that is disabled), and no receiver gets what it did not ask for.
func TestWhateverReceiversDoEveryDeliveryEnds(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	_, relayURL := simulator(t)
	stuck := make(chan struct{})
	t.Cleanup(func() { close(stuck) })
	var refused sync.Map
	behaviours := map[string]http.HandlerFunc{
		"good":      nil,
		"failing":   func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
		"gone":      func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(410) },
		"disabling": func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("webhook-delivery", "disable") },
		"aborting": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("webhook-delivery", "abort-message")
			w.WriteHeader(422)
		},
		"silent":   func(_ http.ResponseWriter, r *http.Request) { <-either(stuck, r) },
		"breaking": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"moving":   func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Location", "/there"); w.WriteHeader(302) },
		"throttled": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "3600")
			w.WriteHeader(429)
		},
		"changing": func(w http.ResponseWriter, r *http.Request) { // refuses each webhook once
			if _, seen := refused.LoadOrStore(r.Header.Get("webhook-id")+r.URL.Path, true); !seen {
				w.WriteHeader(503)
			}
		},
	}
	wanted := map[string]db.NewEndpoint{
		"good":    {EventTypes: []string{webhook.TaskSucceeded}, Actions: []string{"images"}},
		"failing": {EventTypes: []string{webhook.TaskFailed}},
		"silent":  {Actions: []string{"videos/text2video"}},
	}
	logs := map[string]*deliveryLog{}
	for name, answer := range behaviours {
		logs[name] = newDeliveryLog(t, answer)
		logs[name].Config.ErrorLog = nil
		endpoint := wanted[name]
		endpoint.URL = logs[name].URL + "/endpoint"
		addEndpoint(t, pool, endpoint)
	}
	cfg := config(t, pool, relayURL)
	cfg.Webhooks = webhook.NewClient(webhook.Config{Timeout: 400 * time.Millisecond, AllowNetworks: loopback})
	startWorker(t, cfg)
	for name, l := range logs {
		track(t, pool, "images/generations", l.URL+"/callback", "quick-"+name, "fail-"+name)
		track(t, pool, "videos/text2video", l.URL+"/callback", "quick-v-"+name)
	}
	await(t, "every delivery ends or waits at a disabled endpoint", func() bool {
		letADayPass(t, pool)
		return number(t, pool, `select count(*) from klingwatch.tasks where finished_at is null`) == 0 &&
			number(t, pool, `select count(*) from klingwatch.deliveries where state = 'pending' and next_attempt_at is not null`) == 0
	})
	if n := number(t, pool, `
		select count(*) from klingwatch.deliveries d join klingwatch.webhook_endpoints w on w.id = d.endpoint
		where d.state = 'pending' and w.disabled_at is null`); n > 0 {
		t.Errorf("%d deliveries wait at enabled endpoints", n)
	}
	if n := number(t, pool, `select count(*) from klingwatch.deliveries d where d.attempts <> (select count(*) from klingwatch.delivery_attempts a where a.delivery = d.id)`); n > 0 {
		t.Errorf("%d deliveries have other attempts than rows", n)
	}
	if n := number(t, pool, `select count(*) from klingwatch.deliveries where state in ('exhausted', 'canceled') and last_error is null`); n > 0 {
		t.Errorf("%d deliveries failed for no reason", n)
	}
	for url, state := range map[string]string{logs["good"].URL: "delivered", logs["changing"].URL: "delivered", logs["failing"].URL: "exhausted", logs["aborting"].URL: "canceled", logs["silent"].URL: "exhausted"} {
		if n := number(t, pool, `select count(*) from klingwatch.deliveries where url = $1 || '/callback' and state <> $2`, url, state); n > 0 {
			t.Errorf("%d callbacks to %s are not %s", n, url, state)
		}
	}
	for name, l := range logs {
		for _, p := range l.all() {
			checkAskedFor(t, name, wanted[name], p)
		}
	}
}

// checkAskedFor fails where an endpoint with a choice got something else; its
// callbacks look alike and are of three kinds.
func checkAskedFor(t *testing.T, name string, e db.NewEndpoint, p post) {
	t.Helper()
	var event webhook.Event
	if err := json.Unmarshal(p.body, &event); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	callback := strings.HasSuffix(event.Data.TaskID, "-"+name)
	if !callback && e.EventTypes != nil && event.Type != e.EventTypes[0] {
		t.Errorf("%s got %s", name, event.Type)
	}
	path := event.Data.Action + "/" + event.Data.Action2
	if !callback && e.Actions != nil && path != e.Actions[0] && event.Data.Action != e.Actions[0] {
		t.Errorf("%s got an event of %s", name, path)
	}
}

// either ends when the test or the request does.
func either(stop chan struct{}, r *http.Request) <-chan struct{} {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-stop:
		case <-r.Context().Done():
		}
	}()
	return ended
}

func TestAnEndpointChoosesTasksAndAThinPayload(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	_, relayURL := simulator(t)
	receiver := newDeliveryLog(t, nil)
	addEndpoint(t, pool, db.NewEndpoint{URL: receiver.URL, Actions: []string{"images", "videos/avatar/image2video"}, Thin: true})
	startWorker(t, config(t, pool, relayURL))
	track(t, pool, "videos/text2video", "", "quick-1")
	track(t, pool, "videos/avatar/image2video", "", "quick-2")
	track(t, pool, "images/generations", "", "quick-3")
	await(t, "all tasks end", func() bool { return statuses(t, pool)[db.Succeeded] == 3 })
	await(t, "two webhooks arrive", func() bool {
		return number(t, pool, `select count(*) from klingwatch.deliveries where state = 'delivered'`) == 2
	})
	for _, p := range receiver.all() {
		var event struct{ Data map[string]any }
		if err := json.Unmarshal(p.body, &event); err != nil || event.Data["task_id"] == "quick-1" || event.Data["outputs"] != nil || event.Data["status"] != db.Succeeded {
			t.Errorf("%s, %v", p.body, err)
		}
	}
}

func TestAFailingEndpointIsToldOfAndDisabled(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	_, relayURL := simulator(t)
	operator := newDeliveryLog(t, nil)
	addEndpoint(t, pool, db.NewEndpoint{URL: operator.URL, EventTypes: []string{webhook.EndpointFailing, webhook.EndpointDisabled}})
	failing := newDeliveryLog(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	id := addEndpoint(t, pool, db.NewEndpoint{URL: failing.URL + "/hook?token=1", EventTypes: webhook.Types})
	startWorker(t, config(t, pool, relayURL))
	track(t, pool, "images/generations", "", "quick-1")
	await(t, "it is known to fail", func() bool {
		return number(t, pool, `select count(*) from klingwatch.webhook_endpoints where failing_since is not null and last_error like 'http_status: HTTP 500%'`) == 1
	})
	types := func() (types []string) {
		for _, p := range operator.all() {
			var event webhook.EndpointEvent
			if err := json.Unmarshal(p.body, &event); err != nil || event.Data.ID != id || event.Data.URL != failing.URL || strings.Contains(event.Data.URL, "hook") {
				t.Errorf("%s: %v", p.body, err)
			}
			types = append(types, event.Type)
		}
		return types
	}
	age := func(by time.Duration) {
		if _, err := pool.Exec(t.Context(), `update klingwatch.webhook_endpoints set failing_since = now() - $1::interval, failures = 99 where id = $2`, by, id); err != nil {
			t.Fatal(err)
		}
	}
	age(24 * time.Hour)
	await(t, "the operator is warned", func() bool { return fmt.Sprint(types()) == "[endpoint.failing]" })
	age(5 * 24 * time.Hour)
	await(t, "it is disabled, and the operator told", func() bool { return fmt.Sprint(types()) == "[endpoint.failing endpoint.disabled]" })
	if n := number(t, pool, `select count(*) from klingwatch.webhook_endpoints where id = $1 and disabled_reason like 'it failed for 120h%HTTP 500%'`, id); n != 1 {
		t.Error("the endpoint is not disabled with a reason")
	}
}

func TestADatabaseThatIsLostInMidDeliveryLosesNoWebhook(t *testing.T) {
	t.Parallel()
	const tasks = 40
	pool := dbtest.New(t)
	admin := dbtest.New(t) // a connection to another database, which stays
	_, relayURL := simulator(t)
	consumer := newConsumer(t, deploymentSecret(t, pool))
	cut := sync.OnceFunc(func() {
		if _, err := admin.Exec(t.Context(), `select pg_terminate_backend(pid) from pg_stat_activity where datname = $1`, pool.Config().ConnConfig.Database); err != nil {
			t.Error(err)
		}
	})
	consumer.answer = func(http.ResponseWriter, *http.Request) { cut() } // the answer comes when the database is gone
	track(t, pool, "images/generations", consumer.URL, quick(tasks)...)
	startWorker(t, config(t, pool, relayURL))
	await(t, "all are delivered", func() bool {
		var n int
		err := pool.QueryRow(t.Context(), `select count(*) from klingwatch.deliveries where state = 'delivered'`).Scan(&n)
		return err == nil && n == tasks
	})
	if got := consumer.received(); len(got) != tasks {
		t.Errorf("%d webhook-ids for %d events", len(got), tasks)
	}
}
