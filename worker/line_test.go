package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/klingapi/klingsim"
	"github.com/klingwatch/klingwatch/webhook"
)

// The whole line: insert, poll, persist, webhook, for every documented path and
// the usual misbehaviour of relays.
func TestEveryTaskEndsRightAndIsToldOnce(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	_, relayURL := simulator(t, func(c *klingsim.Config) { c.FaultRate = 0.05 })
	consumer := newConsumer(t, deploymentSecret(t, pool))
	startWorker(t, config(t, pool, relayURL))

	want := map[int64]string{}
	expect := func(status string, ids []int64) {
		for _, id := range ids {
			want[id] = status
		}
	}
	for _, path := range klingsim.Paths() {
		expect(db.Succeeded, track(t, pool, path, consumer.URL, "ok-1", "quick-newapi-2", "CjMT7WdSwWcAAAAAALvB3g"))
		expect(db.Failed, track(t, pool, path, consumer.URL, "fail-3"))
	}
	expect(db.Succeeded, track(t, pool, "videos/text2video", consumer.URL, "throttle-4", "error500-5", "garbage-6", "truncated-7", "late-8", "weird-9", "flatlist-10"))
	expect(db.NotFound, track(t, pool, "videos/text2video", consumer.URL, "unknown-11"))

	await(t, "all tasks end", func() bool {
		open := 0
		for status, n := range statuses(t, pool) {
			if !db.Terminal(status) {
				open += n
			}
		}
		return open == 0
	})
	await(t, "all webhooks arrive", func() bool { return len(consumer.received()) == len(want) })
	for id, status := range want {
		if got := statusOf(t, pool, id); got.Status != status {
			t.Errorf("task %d %s: %s (%s), want %s", id, got.TaskID, got.Status, got.StatusMessage, status)
		}
	}
	for id, events := range consumer.received() {
		if len(events) != 1 || events[0].Data.Status != want[events[0].Data.ID] || events[0].Type != "task."+want[events[0].Data.ID] {
			t.Errorf("%s: %d times %+v", id, len(events), events[0])
		}
	}
	if n := number(t, pool, `select count(*) from (select from klingwatch.events where type in ('task.succeeded','task.failed','task.not_found') group by task having count(*) > 1) d`); n > 0 {
		t.Errorf("%d tasks have two terminal events", n)
	}
	if n := number(t, pool, `select count(*) from klingwatch.tasks t where status = 'succeeded' and not exists (select from klingwatch.outputs o where o.task = t.id)`); n > 0 {
		t.Errorf("%d succeeded tasks have no outputs", n)
	}
	if consumer.forged > 0 {
		t.Errorf("%d webhooks with a wrong signature", consumer.forged)
	}
	if n := number(t, pool, `select count(*) from klingwatch.river_job where errors is not null and array_length(errors, 1) > 0`); n > 0 {
		t.Errorf("%d jobs have errors; trouble with the relay is none", n)
	}
	if events := checkEvents(t, pool); len(events[webhook.TaskSucceeded]) < len(klingsim.Paths()) {
		t.Errorf("%d events of success were checked", len(events[webhook.TaskSucceeded]))
	}
}

func TestWhatTheRelaySaidIsPersisted(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	const body = `{"code":0,"message":"SUCCEED","request_id":"r-7","extra":{"kept":true},"data":{"task_id":"t7","task_status":"succeed","task_status_msg":"",
		"task_result":{"videos":[{"id":"v1","url":"https://cdn.example/o.mp4","duration":"5.041"}]},"final_unit_deduction":"2.5","created_at":1774805076166,"updated_at":1774805230012}}`
	relay := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, body) }))
	defer relay.Close()
	consumer := newConsumer(t, deploymentSecret(t, pool))
	var id int64
	if err := pool.QueryRow(t.Context(), `
		insert into klingwatch.tasks (task_id, action, action2, external_id, callback_url, metadata)
		values ('t7', 'videos', 'text2video', 'order-7', $1, '{"user": 42}') returning id`, consumer.URL).Scan(&id); err != nil {
		t.Fatal(err)
	}
	startWorker(t, config(t, pool, relay.URL))
	await(t, "the webhook arrives", func() bool { return len(consumer.received()) == 1 })

	found, err := db.FindTasks(t.Context(), pool, "t7")
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	task := found[0]
	if task.Status != db.Succeeded || *task.UpstreamStatus != "succeed" || *task.RequestID != "r-7" || *task.UnitDeduction != "2.5" ||
		task.ErrorCode != nil || task.LastError != nil || task.Polls != 1 || task.FinishedAt == nil || task.DeadlineAt == nil ||
		task.UpstreamCreatedAt.UnixMilli() != 1774805076166 {
		t.Errorf("%+v", task)
	}
	var result map[string]any
	if err := json.Unmarshal(task.Result, &result); err != nil || result["extra"] == nil {
		t.Errorf("result %s, %v", task.Result, err)
	}
	outputs, err := db.OutputsOfTask(t.Context(), pool, id)
	if err != nil || len(outputs) != 1 || outputs[0].URL != "https://cdn.example/o.mp4" || *outputs[0].DurationSeconds != "5.041" ||
		outputs[0].ExpiresAt.Sub(*task.UpstreamUpdatedAt) != 30*24*time.Hour {
		t.Errorf("outputs %+v, %v", outputs, err)
	}
	for _, events := range consumer.received() {
		data := events[0].Data
		if data.ID != id || *data.ExternalID != "order-7" || string(data.Metadata) != `{"user": 42}` || data.Sequence != 1 ||
			len(data.Outputs) != 1 || data.Outputs[0].DurationSeconds.String() != "5.041" || data.FinishedAt == nil {
			t.Errorf("webhook %+v", data)
		}
	}
}

func TestAPollThatChangesNothingWritesNothingToTheTask(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	relay, relayURL := simulator(t)
	id := track(t, pool, "videos/text2video", "", "never-1")[0]
	startWorker(t, config(t, pool, relayURL))
	await(t, "the task is processing", func() bool { return statusOf(t, pool, id).Status == db.Processing })
	version := func() int {
		return number(t, pool, `select xmin::text::bigint from klingwatch.tasks where id = $1`, id)
	}
	before, asked := version(), relay.Queries("never-1")
	await(t, "ten more polls", func() bool { return relay.Queries("never-1") >= asked+10 })
	if version() != before {
		t.Error("the row was written")
	}
}

func TestEmptyingRiverJobLosesNoTaskAndNoWebhook(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	_, relayURL := simulator(t)
	consumer := newConsumer(t, deploymentSecret(t, pool))
	ids := make([]string, 60)
	for i := range ids {
		ids[i] = fmt.Sprintf("ok-%d", i)
	}
	track(t, pool, "videos/text2video", consumer.URL, ids...)
	startWorker(t, config(t, pool, relayURL))
	await(t, "work is under way", func() bool { return statuses(t, pool)[db.Processing] > 0 })
	if _, err := pool.Exec(t.Context(), `truncate klingwatch.river_job`); err != nil {
		t.Fatal(err)
	}
	await(t, "all succeed", func() bool { return statuses(t, pool)[db.Succeeded] == len(ids) })
	if _, err := pool.Exec(t.Context(), `truncate klingwatch.river_job`); err != nil {
		t.Fatal(err)
	}
	await(t, "all webhooks arrive", func() bool { return len(consumer.received()) == len(ids) })
}

func TestTwoInstancesShareTheWorkAndTellOnce(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	_, relayURL := simulator(t)
	consumer := newConsumer(t, deploymentSecret(t, pool))
	startWorker(t, config(t, pool, relayURL))
	startWorker(t, config(t, pool, relayURL))
	await(t, "both are alive", func() bool { n, err := db.LiveInstances(t.Context(), pool); return err == nil && n == 2 })
	ids := make([]string, 100)
	for i := range ids {
		ids[i] = fmt.Sprintf("ok-%d", i)
	}
	track(t, pool, "images/generations", consumer.URL, ids...)
	await(t, "all webhooks arrive", func() bool { return len(consumer.received()) == len(ids) })
	for id, events := range consumer.received() {
		if len(events) != 1 {
			t.Errorf("%s arrived %d times", id, len(events))
		}
	}
	if n := number(t, pool, `select count(distinct attempted_by[1]) from klingwatch.river_job`); n != 2 {
		t.Errorf("%d instances worked", n)
	}
}

func TestAStopGivesTheJobsBack(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	asked := make(chan struct{}, 100)
	release := make(chan struct{})
	relay := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-release
		_, _ = fmt.Fprint(w, `{"code":0,"data":{"task_id":"t","task_status":"succeed","task_result":{"images":[{"url":"https://cdn.example/0.png"}]}}}`)
	}))
	defer relay.Close()
	id := track(t, pool, "images/generations", "", "t")[0]
	stop := startWorker(t, config(t, pool, relay.URL))
	<-asked
	go close(release) // the answer comes while the worker stops
	stop()
	if got := statusOf(t, pool, id); got.Status != db.Succeeded {
		t.Errorf("the answer of the last poll was lost: %s", got.Status)
	}
	if n := number(t, pool, `select count(*) from klingwatch.river_job where state = 'running'`); n != 0 {
		t.Errorf("%d jobs are still running", n)
	}
}

func TestALostDatabaseConnectionIsSurvived(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	_, relayURL := simulator(t)
	w := New(config(t, pool, relayURL))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	await(t, "it works", w.Working)
	admin := dbtest.New(t) // a connection to another database, which stays
	if _, err := admin.Exec(t.Context(), `select pg_terminate_backend(pid) from pg_stat_activity where datname = $1`, pool.Config().ConnConfig.Database); err != nil {
		t.Fatal(err)
	}
	ours := dbtest.Again(t, pool) // the worker's pool still holds sessions that have ended
	id := track(t, ours, "images/generations", "", "ok-1")[0]
	await(t, "the task ends", func() bool { return statusOf(t, ours, id).Status == db.Succeeded })
}

func TestWebhooksAreRetriedAndEveryRequestLeavesARow(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	_, relayURL := simulator(t)
	consumer := newConsumer(t, deploymentSecret(t, pool))
	var posts atomic.Int32
	consumer.answer = func(w http.ResponseWriter, _ *http.Request) {
		if posts.Add(1) == 1 {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}
	track(t, pool, "images/generations", consumer.URL, "quick-1")
	startWorker(t, config(t, pool, relayURL))
	await(t, "the first attempt fails", func() bool {
		return number(t, pool, `select count(*) from klingwatch.delivery_attempts where status_code = 500 and error like 'http_status: HTTP 500%' and finished_at is not null`) == 1
	})
	if n := number(t, pool, `select count(*) from klingwatch.deliveries where state = 'pending' and attempts = 1 and next_attempt_at between now() + interval '2 s' and now() + interval '6 s'`); n != 1 {
		t.Error("the second attempt is not planned in about 5 s")
	}
	await(t, "the second is accepted", func() bool {
		return number(t, pool, `select count(*) from klingwatch.deliveries where state = 'delivered' and attempts = 2 and delivered_at is not null and next_attempt_at is null`) == 1
	})
	events := consumer.received()
	if len(events) != 1 {
		t.Errorf("%d webhook-ids for one event", len(events))
	}
}

func TestAReceiverOnAPrivateAddressIsRefused(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	_, relayURL := simulator(t)
	consumer := newConsumer(t, deploymentSecret(t, pool))
	cfg := config(t, pool, relayURL)
	cfg.Webhooks = webhook.NewClient(webhook.Config{Timeout: time.Second})
	track(t, pool, "images/generations", consumer.URL, "quick-1")
	startWorker(t, cfg)
	await(t, "the attempt is refused", func() bool {
		return number(t, pool, `select count(*) from klingwatch.delivery_attempts where error like 'blocked_address: %' and status_code is null`) == 1
	})
	if len(consumer.received())+consumer.forged > 0 {
		t.Error("the receiver was reached")
	}
}

func TestADisabledEndpointsEventsWaitAndGoOutLater(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	_, relayURL := simulator(t)
	secret := webhook.NewSecret()
	consumer := newConsumer(t, secret)
	consumer.answer = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusGone) }
	endpoint, err := db.AddEndpoint(t.Context(), pool, db.NewEndpoint{URL: consumer.URL, EventTypes: webhook.TerminalTypes, Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	startWorker(t, config(t, pool, relayURL))
	track(t, pool, "images/generations", "", "quick-1")
	await(t, "410 Gone disables it", func() bool {
		return number(t, pool, `select count(*) from klingwatch.webhook_endpoints where disabled_reason like '%410%'`) == 1
	})
	track(t, pool, "images/generations", "", "quick-2")
	await(t, "both events wait", func() bool {
		return number(t, pool, `select count(*) from klingwatch.deliveries where state = 'pending' and next_attempt_at is null`) == 2
	})
	consumer.mu.Lock()
	consumer.answer = nil
	consumer.mu.Unlock()
	if err := db.EnableEndpoint(t.Context(), pool, endpoint); err != nil {
		t.Fatal(err)
	}
	if n, err := db.ReleaseDeliveries(t.Context(), pool, endpoint); n != 2 || err != nil {
		t.Fatalf("released %d, %v", n, err)
	}
	await(t, "both arrive", func() bool {
		return number(t, pool, `select count(*) from klingwatch.deliveries where state = 'delivered'`) == 2
	})
}

func TestAnEndpointGetsTheEventsItAskedFor(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	_, relayURL := simulator(t, func(c *klingsim.Config) { c.Lifetime = 3 * time.Second }) // so that it is seen running
	secret := webhook.NewSecret()
	consumer := newConsumer(t, secret)
	if _, err := db.AddEndpoint(t.Context(), pool, db.NewEndpoint{URL: consumer.URL, EventTypes: []string{webhook.TaskProcessing, webhook.TaskFailed}, Secret: secret}); err != nil {
		t.Fatal(err)
	}
	startWorker(t, config(t, pool, relayURL))
	track(t, pool, "images/generations", "", "fail-1", "quick-2")
	await(t, "two events arrive", func() bool { return len(consumer.received()) == 2 })
	await(t, "nothing is left to do", func() bool {
		return number(t, pool, `select count(*) from klingwatch.river_job`) == 0
	})
	types := map[string]int{}
	for _, events := range consumer.received() {
		types[events[0].Type]++
	}
	if len(types) != 2 || types[webhook.TaskProcessing] != 1 || types[webhook.TaskFailed] != 1 {
		t.Errorf("%v", types)
	}
}

// When a process dies between the request and its record, the receiver gets the
// webhook again, with the same id.
func TestAnInterruptedAttemptIsMadeAgain(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	_, relayURL := simulator(t)
	consumer := newConsumer(t, deploymentSecret(t, pool))
	track(t, pool, "images/generations", consumer.URL, "quick-1")
	cfg := config(t, pool, relayURL)
	stop := startWorker(t, cfg)
	await(t, "it is delivered", func() bool { return len(consumer.received()) == 1 })
	stop()
	// as kill -9 between request and record leaves it: nothing is written, the job runs under an instance that is gone
	for _, sql := range []string{
		`delete from klingwatch.delivery_attempts`,
		`update klingwatch.deliveries set state = 'pending', attempts = 0, delivered_at = null, next_attempt_at = now()`,
		`update klingwatch.river_job set state = 'running', finalized_at = null, attempted_by = array['kw999'] where kind = 'deliver'`,
	} {
		if _, err := pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	startWorker(t, cfg)
	await(t, "it is delivered again", func() bool {
		return number(t, pool, `select count(*) from klingwatch.deliveries where state = 'delivered' and attempts = 1`) == 1
	})
	events := consumer.received()
	if len(events) != 1 {
		t.Errorf("%d webhook-ids", len(events))
	}
}

// A standby that lagged behind is promoted after 30 receivers were told of the end of
// their tasks: it knows of none, asks again and tells again. That repeats what they know.
func TestAPromotedStandbyTellsUnderTheSameIDs(t *testing.T) {
	t.Parallel()
	const tasks = 30
	primary := dbtest.NewURL(t)
	_, relayURL := simulator(t)
	pool := connect(t, primary)
	consumer := newConsumer(t, deploymentSecret(t, pool))
	for i := range tasks {
		kind := []string{"ok", "quick", "fail"}[i%3]
		track(t, pool, "videos/text2video", fmt.Sprintf("%s/receiver-%d", consumer.URL, i), fmt.Sprintf("%s-%d", kind, i))
	}
	pool.Close()
	standby := dbtest.CopyURL(t, primary)

	for round, url := range []string{primary, standby} {
		pool := connect(t, url)
		stop := startWorker(t, config(t, pool, relayURL))
		await(t, "all ends are told", func() bool {
			return number(t, pool, `select count(*) from klingwatch.deliveries where state = 'delivered'`) == tasks
		})
		stop()
		received := consumer.received()
		if len(received) != tasks {
			t.Errorf("after round %d, %d webhook-ids are known to %d receivers", round+1, len(received), tasks)
		}
		for id, events := range received {
			if len(events) != round+1 || events[0].Data.TaskID != events[round].Data.TaskID || events[0].Type != events[round].Type {
				t.Errorf("%s after round %d: %+v", id, round+1, events)
			}
		}
	}
}
