package worker

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/klingapi"
	"github.com/klingwatch/klingwatch/klingapi/klingsim"
	"github.com/klingwatch/klingwatch/ledger"
	"github.com/klingwatch/klingwatch/webhook"
)

// A relay goes through everything that relays go through, with 200 tasks on
// their way: all end right, none is marked failed wrongly.
func TestARelayThatGoesThroughOutageRefusalAndThrottlingFailsNoTask(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	relay, relayURL := simulator(t, func(c *klingsim.Config) { c.Lifetime = 2 * time.Second })
	consumer := newConsumer(t, deploymentSecret(t, pool))
	const tasks = 200
	ids := make([]string, tasks)
	for i := range ids {
		ids[i] = fmt.Sprintf("ok-%d", i)
		if i%10 == 0 {
			ids[i] = fmt.Sprintf("fail-%d", i)
		}
	}
	track(t, pool, "videos/text2video", consumer.URL, ids...)
	startWorker(t, config(t, pool, relayURL))
	moreAsked := func() func() bool {
		from := relay.Requests()
		return func() bool { return relay.Requests() >= from+5 }
	}
	await(t, "work is under way", func() bool { return statuses(t, pool)[db.Processing] > 0 })

	for _, status := range []int{http.StatusBadGateway, klingsim.Unreachable} {
		relay.SetOutage(status)
		await(t, fmt.Sprintf("the outage (%d) is met", status), moreAsked())
	}
	relay.SetOutage(0)
	relay.SetKey("sk-rotated")
	await(t, "polling is paused", func() bool {
		return number(t, pool, `select count(*) from klingwatch.polling_pauses where reason like 'refused: HTTP 401%'`) == 1
	})
	relay.SetKey("sk-test")
	await(t, "polling resumes by itself", func() bool { return number(t, pool, `select count(*) from klingwatch.polling_pauses`) == 0 })
	relay.SetThrottle(true, "1")
	await(t, "the throttling is met", moreAsked())
	relay.SetThrottle(false, "")

	await(t, "every callback arrives", func() bool { return len(consumer.received()) == tasks })
	if got := statuses(t, pool); got[db.Succeeded] != tasks*9/10 || got[db.Failed] != tasks/10 {
		t.Errorf("%v", got)
	}
	if n := number(t, pool, `select count(*) from klingwatch.tasks where (status = 'failed') <> (task_id like 'fail%')`); n > 0 {
		t.Errorf("%d tasks have the wrong verdict", n)
	}
	if n := number(t, pool, `select count(*) from klingwatch.river_job where array_length(errors, 1) > 0`); n > 0 {
		t.Errorf("%d jobs have errors; trouble with the relay is none", n)
	}
}

// A relay that is down is not hammered task by task.
func TestAnOutageSlowsAllTasksDownTogether(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	relay, relayURL := simulator(t)
	relay.SetOutage(http.StatusServiceUnavailable)
	ids := make([]string, 100)
	for i := range ids {
		ids[i] = fmt.Sprintf("ok-%d", i)
	}
	begun := time.Now()
	track(t, pool, "images/generations", "", ids...)
	startWorker(t, config(t, pool, relayURL))
	await(t, "the third probe", func() bool { return time.Since(begun) > 4*time.Second })
	// at 50 ms per task and interval it would have been thousands
	if asked := relay.Requests(); asked > len(ids)+10 {
		t.Errorf("%d questions in %s of outage", asked, time.Since(begun))
	}
	relay.SetOutage(0)
	await(t, "all succeed", func() bool { return statuses(t, pool)[db.Succeeded] == len(ids) })
}

func TestTasksThatCannotBeAnsweredDoNotHoldUpTheOthers(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	_, relayURL := simulator(t)
	startWorker(t, config(t, pool, relayURL))
	for i := range 10 {
		track(t, pool, "videos/effects", "", fmt.Sprintf("always-garbage-%d", i))
	}
	track(t, pool, "videos/lip-sync", "", "always-denied-1", "always-denied-2")
	ids := make([]string, 20)
	for i := range ids {
		ids[i] = fmt.Sprintf("ok-%d", i)
	}
	track(t, pool, "images/generations", "", ids...)
	await(t, "the others succeed", func() bool { return statuses(t, pool)[db.Succeeded] == len(ids) })
	if n := number(t, pool, `select count(*) from klingwatch.polling_pauses`); n > 0 {
		t.Error("two forbidden tasks paused the credential")
	}
	if n := number(t, pool, `select count(*) from klingwatch.tasks where status = 'pending' and last_error like 'refused: HTTP 403%'`); n != 2 {
		t.Errorf("%d tasks tell that they are forbidden", n)
	}
}

// A process that is stopped in the middle of a transaction holds its rows only
// until the server ends its session.
func TestAnAbandonedTransactionDoesNotHoldATaskUp(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	_, relayURL := simulator(t)
	id := track(t, pool, "images/generations", "", "quick-1")[0]
	abandoned, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = abandoned.Rollback(context.Background()) }()
	if _, err := abandoned.Exec(t.Context(), `update klingwatch.tasks set external_id = 'held' where id = $1`, id); err != nil {
		t.Fatal(err)
	}
	startWorker(t, config(t, pool, relayURL))
	await(t, "the task succeeds", func() bool { return statusOf(t, pool, id).Status == db.Succeeded })
}

func TestARefusedCredentialIsProbedAndNoTaskChanges(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	relay, relayURL := simulator(t)
	relay.SetKey("sk-other")
	ids := track(t, pool, "images/generations", "", "ok-1", "ok-2", "ok-3", "ok-4", "ok-5", "ok-6", "ok-7", "ok-8")
	cfg := config(t, pool, relayURL)
	cfg.ProbeDistance = time.Hour
	startWorker(t, cfg)
	await(t, "polling is paused", func() bool { return number(t, pool, `select count(*) from klingwatch.polling_pauses`) == 1 })
	id := track(t, pool, "images/generations", "", "ok-9")[0]
	await(t, "the new task is held", func() bool {
		return number(t, pool, `select count(*) from klingwatch.river_job where (args->>'id')::bigint = $1 and state = 'running'`, id) == 1
	})
	if asked := relay.Requests(); asked > len(ids) {
		t.Errorf("%d questions with a refused key", asked)
	}
	if got := statuses(t, pool); got[db.Pending] != len(ids)+1 {
		t.Errorf("%v", got)
	}
}

func TestARotatedKeyFileWorksWithoutARestart(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	relay, relayURL := simulator(t)
	path := filepath.Join(t.TempDir(), "key")
	writeKey(t, path, "sk-old", time.Unix(1, 0))
	relay.SetKey("sk-new")
	file, err := klingapi.NewKeyFile(path)
	if err != nil {
		t.Fatal(err)
	}
	cfg := config(t, pool, relayURL)
	cfg.ProbeDistance = time.Hour
	if cfg.Relay, err = klingapi.New(klingapi.Config{BaseURL: relayURL, Credential: file}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cfg.Relay.Close)
	id := track(t, pool, "images/generations", "", "ok-1")[0]
	startWorker(t, cfg)
	await(t, "polling is paused", func() bool { return number(t, pool, `select count(*) from klingwatch.polling_pauses`) == 1 })
	writeKey(t, path, "sk-new", time.Unix(2, 0))
	await(t, "the task succeeds", func() bool { return statusOf(t, pool, id).Status == db.Succeeded })
	if n := number(t, pool, `select count(*) from klingwatch.polling_pauses`); n != 0 {
		t.Error("the pause of the old key is still there")
	}
}

func writeKey(t *testing.T, path, key string, at time.Time) {
	t.Helper()
	if err := os.WriteFile(path, []byte(key), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, at, at); err != nil {
		t.Fatal(err)
	}
}

// expire inserts a task whose deadline is near and waits until it expired.
func expire(t *testing.T, pool *pgxpool.Pool, taskID, callback string) (id int64) {
	t.Helper()
	if err := pool.QueryRow(t.Context(), `
		insert into klingwatch.tasks (task_id, action, action2, callback_url, deadline_at)
		values ($1, 'videos', 'text2video', nullif($2, ''), now() + interval '300 ms') returning id`, taskID, callback).Scan(&id); err != nil {
		t.Fatal(err)
	}
	await(t, "the task expires", func() bool { return statusOf(t, pool, id).Status == db.Expired })
	return id
}

// What klingwatch or the relay ended, the provider may still finish: the late verdict
// replaces it, with a second event.
func TestALateVerdictReplacesAnEndThatWasNotTheProviders(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, answer string // until the provider has finished
		httpStatus   int
		status, by   string // of the first end
		deadline     time.Duration
	}{
		{"expired", `{"code":0,"data":{"task_id":"t","task_status":"processing"}}`, 200, db.Expired, db.ByKlingwatch, 200 * time.Millisecond},
		{"not found", `{"code":1201,"message":"Task not found by id/external id: t"}`, 400, db.NotFound, db.ByKlingwatch, time.Hour},
		{"stopped by the relay", `{"code":"success","data":{"task_id":"t","status":"timeout","progress":50}}`, 200, db.Expired, db.ByRelay, time.Hour},
		{"failed by the relay", `{"code":"success","data":{"task_id":"t","status":"FAILURE","fail_reason":"timed out","data":{"code":0,"data":{"task_status":"processing"}}}}`, 200, db.Failed, db.ByRelay, time.Hour},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			pool := dbtest.New(t)
			var done atomic.Bool
			relay := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if done.Load() {
					_, _ = fmt.Fprint(w, `{"code":0,"data":{"task_id":"t","task_status":"succeed","task_result":{"videos":[{"id":"v1","url":"https://cdn.example/o.mp4"}]}}}`)
					return
				}
				w.WriteHeader(c.httpStatus)
				_, _ = fmt.Fprint(w, c.answer)
			}))
			defer relay.Close()
			consumer := newConsumer(t, deploymentSecret(t, pool))
			startWorker(t, config(t, pool, relay.URL))
			tracked, err := ledger.Track(t.Context(), pool, []db.NewTask{{TaskID: "t", Action: "videos", Action2: "text2video", CallbackURL: &consumer.URL, DeadlineIn: &c.deadline}}, nil)
			if err != nil {
				t.Fatal(err)
			}
			id := tracked[0].ID
			await(t, "it ends", func() bool { return statusOf(t, pool, id).Status == c.status })
			if n := number(t, pool, `select count(*) from klingwatch.tasks where ended_by = $1 and late_checks_until > now() + interval '2 days'`, c.by); n != 1 {
				t.Error("wrong ended_by, or no late checks")
			}
			await(t, "a late check is planned in about 5 minutes", func() bool {
				return number(t, pool, `select count(*) from klingwatch.river_job where kind = 'poll' and state = 'scheduled' and scheduled_at between now() + interval '4 min' and now() + interval '6 min'`) == 1
			})
			done.Store(true)
			if _, err := pool.Exec(t.Context(), `select klingwatch.give_jobs('poll', array[$1]::bigint[])`, id); err != nil { // the time has come
				t.Fatal(err)
			}
			await(t, "both events arrive", func() bool { return len(consumer.received()) == 2 })
			ends := map[string]webhook.Task{}
			for _, events := range consumer.received() {
				ends[events[0].Data.Status] = events[0].Data
			}
			first, last := ends[c.status], ends[db.Succeeded]
			if last.Sequence <= first.Sequence || *first.EndedBy != c.by || *last.EndedBy != db.ByProvider || *last.Outputs[0].UpstreamID != "v1" {
				t.Errorf("first %+v, last %+v", first, last)
			}
			if n := number(t, pool, `select count(*) from klingwatch.tasks where status = 'succeeded' and ended_by = 'provider' and late_checks_until is null`); n != 1 {
				t.Error("the row does not say so")
			}
		})
	}
}

func TestATaskExpiresOnTimeEvenWhenTheRelayMustNotBeAsked(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	relay, relayURL := simulator(t)
	relay.SetKey("sk-other")
	cfg := config(t, pool, relayURL)
	cfg.ProbeDistance = time.Hour
	startWorker(t, cfg)
	expire(t, pool, "ok-1", "")
}

func TestDeadlinesAreKeptWhereTheRateIsShort(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	_, url := simulator(t)
	const tasks = 60
	deadline := time.Second
	list := make([]db.NewTask, tasks)
	for i := range list {
		list[i] = db.NewTask{TaskID: fmt.Sprintf("never-%d", i), Action: "videos", Action2: "text2video", DeadlineIn: &deadline}
	}
	if _, err := ledger.Track(t.Context(), pool, list, nil); err != nil {
		t.Fatal(err)
	}
	cfg := config(t, pool, url)
	cfg.PollRate = 2 // half a minute for one round
	startWorker(t, cfg)
	await(t, "all expire", func() bool { return statuses(t, pool)[db.Expired] == tasks })
	var late float64
	if err := pool.QueryRow(t.Context(), `select extract(epoch from max(finished_at - deadline_at))::float8 from klingwatch.tasks`).Scan(&late); err != nil {
		t.Fatal(err)
	}
	if late > 3 {
		t.Errorf("the last one expired %.1f s after its deadline", late)
	}
	if n := number(t, pool, `select count(*) from klingwatch.tasks where (polls = 0) <> (last_polled_at is null)`); n > 0 {
		t.Errorf("%d tasks that were never asked about have a last poll, or the other way round", n)
	}
}

func TestRetryAsksAgainAtOnce(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	relay, relayURL := simulator(t)
	consumer := newConsumer(t, deploymentSecret(t, pool))
	startWorker(t, config(t, pool, relayURL))
	failed := track(t, pool, "videos/text2video", consumer.URL, "quick-fail-1")[0]
	expired := expire(t, pool, "never-2", "")
	await(t, "the task fails", func() bool { return statusOf(t, pool, failed).Status == db.Failed })
	asked := relay.Queries("quick-fail-1")
	if err := ledger.Reopen(t.Context(), pool, failed, time.Hour); err != nil {
		t.Fatal(err)
	}
	await(t, "a second verdict arrives", func() bool { return len(consumer.received()) == 2 })
	if got := relay.Queries("quick-fail-1"); got != asked+1 {
		t.Errorf("asked %d times more", got-asked)
	}
	// an expired task has a job that sleeps until its late check
	asked = relay.Queries("never-2")
	if err := ledger.Reopen(t.Context(), pool, expired, time.Hour); err != nil {
		t.Fatal(err)
	}
	await(t, "the expired task is asked at once", func() bool {
		return relay.Queries("never-2") > asked && statusOf(t, pool, expired).Status == db.Processing
	})
	if err := ledger.Reopen(t.Context(), pool, expired, time.Hour); !errors.Is(err, ledger.ErrOpen) {
		t.Errorf("an open task: %v", err)
	}
	if err := ledger.Reopen(t.Context(), pool, 4711, time.Hour); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("no task: %v", err)
	}
}

func TestCancelStopsTracking(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	relay, relayURL := simulator(t)
	consumer := newConsumer(t, deploymentSecret(t, pool))
	startWorker(t, config(t, pool, relayURL))
	id := track(t, pool, "videos/text2video", consumer.URL, "never-1")[0]
	await(t, "it is processing", func() bool { return statusOf(t, pool, id).Status == db.Processing })
	if err := ledger.Cancel(t.Context(), pool, id, time.Hour); err != nil {
		t.Fatal(err)
	}
	await(t, "the event arrives", func() bool { return len(consumer.received()) == 1 })
	await(t, "the job ends", func() bool {
		return number(t, pool, `select count(*) from klingwatch.river_job where kind = 'poll'`) == 0
	})
	asked := relay.Queries("never-1")
	if err := ledger.Cancel(t.Context(), pool, id, time.Hour); !errors.Is(err, ledger.ErrEnded) {
		t.Errorf("a second time: %v", err)
	}
	if got := relay.Queries("never-1"); got != asked {
		t.Errorf("asked %d times after the end", got-asked)
	}
	for _, events := range consumer.received() {
		if events[0].Data.Status != db.Canceled {
			t.Errorf("%+v", events[0])
		}
	}
	if err := ledger.Reopen(t.Context(), pool, id, time.Hour); err != nil {
		t.Fatal(err)
	}
	await(t, "it is asked about again", func() bool { return statusOf(t, pool, id).Status == db.Processing })
}

// The answer to a poll that was under way when somebody canceled changes
// nothing.
func TestCancelWinsAgainstAPollUnderWay(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	asked, release := make(chan struct{}, 10), make(chan struct{})
	relay := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked <- struct{}{}
		<-release
		_, _ = fmt.Fprint(w, `{"code":0,"data":{"task_id":"t","task_status":"failed"}}`)
	}))
	defer relay.Close()
	id := track(t, pool, "images/generations", "", "t")[0]
	startWorker(t, config(t, pool, relay.URL))
	<-asked
	if err := ledger.Cancel(t.Context(), pool, id, time.Hour); err != nil {
		t.Fatal(err)
	}
	close(release)
	await(t, "the job ends", func() bool {
		return number(t, pool, `select count(*) from klingwatch.river_job where kind = 'poll'`) == 0
	})
	if n := number(t, pool, `select count(*) from klingwatch.events`); n != 1 || statusOf(t, pool, id).Status != db.Canceled {
		t.Errorf("%d events, status %s", n, statusOf(t, pool, id).Status)
	}
}
