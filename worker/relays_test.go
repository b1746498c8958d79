package worker

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/klingapi"
	"github.com/klingwatch/klingwatch/klingapi/klingsim"
)

// keyFile holds a bearer key.
func keyFile(t *testing.T, key string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte(key), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// addRelay adds a relay whose key is in a file.
func addRelay(t *testing.T, pool *pgxpool.Pool, name, url, path, key string) {
	t.Helper()
	if path == "" {
		path = klingapi.DefaultTaskPath
	}
	err := db.AddRelay(t.Context(), pool, db.Relay{
		Name: name, BaseURL: url, TaskPath: path, BatchSize: 20, PollRate: 200, OutputLifetime: 24 * time.Hour, KeySource: db.KeyInFile, KeyFile: new(keyFile(t, key)),
	})
	if err != nil {
		t.Fatal(err)
	}
}

// insert tracks tasks of a relay.
func insert(t *testing.T, pool *pgxpool.Pool, relay, action, action2 string, ids ...string) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), `insert into klingwatch.tasks (relay, action, action2, task_id) select $1, $2, $3, unnest($4::text[])`, relay, action, action2, ids); err != nil {
		t.Fatal(err)
	}
}

// numbered are n ids that begin with a word.
func numbered(word string, n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("%s-%d", word, i)
	}
	return ids
}

// A task goes from the insert to the webhook through each form of path, at relays that
// were added while the worker ran.
func TestEachFormOfPathIsAskedFromInsertToWebhook(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	_, relayURL := simulator(t)
	_, v1 := simulator(t, func(c *klingsim.Config) { c.PathPrefix = "/v1" })
	_, v3 := simulator(t, func(c *klingsim.Config) { c.Dialect = klingsim.V3 })
	startWorker(t, config(t, pool, relayURL))
	consumer := newConsumer(t, deploymentSecret(t, pool))
	for _, relay := range []struct{ name, url, path, action, action2 string }{
		{"official", v1, "/v1/{action}/{action2}/{task_id}", "videos", "text2video"},
		{"single", v3, "/kling/tasks/{task_id}", "text-to-video", "kling-3.0-turbo"},
		{"batching", v3, "/tasks?task_ids={task_ids}", "text-to-video", "kling_v3.omni"},
		{"model", v3, "/kling/{action}/{action2}/{task_id}", "text-to-video", "kling-3.0-turbo"},
	} {
		addRelay(t, pool, relay.name, relay.url, relay.path, "sk-test")
		if _, err := pool.Exec(t.Context(), `insert into klingwatch.tasks (relay, task_id, action, action2, callback_url) values ($1, 'quick-' || $1, $2, $3, $4)`,
			relay.name, relay.action, relay.action2, consumer.URL); err != nil {
			t.Fatal(err)
		}
	}
	track(t, pool, "videos/text2video", consumer.URL, "quick-default")
	await(t, "all webhooks are there", func() bool { return len(consumer.received()) == 5 })
	for _, events := range consumer.received() {
		data := events[0].Data
		if events[0].Type != "task.succeeded" || data.TaskID != "quick-"+data.Relay || len(data.Outputs) != 1 {
			t.Errorf("%+v", events[0])
		}
		lifetime := 24 * time.Hour
		if data.Relay == db.DefaultRelay {
			lifetime = klingapi.OutputLifetime
		}
		if left := time.Until(*data.Outputs[0].ExpiresAt); left > lifetime || left < lifetime-time.Hour {
			t.Errorf("the files of %s expire in %s", data.Relay, left)
		}
	}
}

// One task in trouble among those of a batch, of whatever kind, is its own.
func TestTasksOfABatchAreJudgedAlone(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	_, relayURL := simulator(t)
	relay, v3 := simulator(t, func(c *klingsim.Config) { c.Dialect = klingsim.V3 })
	addRelay(t, pool, "batching", v3, "/tasks?task_ids={task_ids}", "sk-test")
	insert(t, pool, "batching", "text-to-video", "kling-3.0-turbo", append(numbered("quick", 17), "quick-culprit-1", "quick-fail-1", "unknown-1")...)
	cfg := config(t, pool, relayURL)
	cfg.PollInterval = 100 * time.Millisecond
	startWorker(t, cfg)
	await(t, "all have ended", func() bool {
		return number(t, pool, `select count(*) from klingwatch.tasks where finished_at is null`) == 0
	})
	for query, want := range map[string]int{
		`status = 'succeeded'`:                           18,
		`status = 'failed' and task_id = 'quick-fail-1'`: 1,
		`status = 'not_found' and task_id = 'unknown-1'`: 1,
	} {
		if n := number(t, pool, `select count(*) from klingwatch.tasks where `+query); n != want {
			t.Errorf("%d tasks are %s, want %d", n, query, want)
		}
	}
	if relay.LargestBatch() < 2 {
		t.Errorf("at most %d were asked about at once", relay.LargestBatch())
	}
	if n := number(t, pool, `select count(*) from klingwatch.tasks where jsonb_array_length(result->'data') <> 1 and status = 'succeeded'`); n != 0 {
		t.Errorf("%d results hold more than their own record", n)
	}
}

// A relay that is down, and one that refuses its key, delay no task of a healthy one.
func TestRelaysInTroubleDelayNoOther(t *testing.T) {
	t.Parallel()
	const tasks = 300
	late := func(others bool) time.Duration {
		pool := dbtest.New(t)
		_, relayURL := simulator(t, func(c *klingsim.Config) { c.APIKey = "another" }) // refuses the key of the settings
		_, healthy := simulator(t, func(c *klingsim.Config) { c.Dialect = klingsim.V3; c.Lifetime = time.Hour })
		addRelay(t, pool, "healthy", healthy, "/tasks?task_ids={task_ids}", "sk-test")
		addRelay(t, pool, "down", "http://127.0.0.1:1", "", "sk-test") // a port that no program is given
		insert(t, pool, "healthy", "text-to-video", "kling-3.0-turbo", numbered("never", tasks)...)
		if others {
			insert(t, pool, "default", "videos", "text2video", numbered("never", tasks)...)
			insert(t, pool, "down", "videos", "text2video", numbered("never", tasks)...)
		}
		healthyIDs := map[int64]bool{}
		for id := range tasks {
			healthyIDs[int64(id+1)] = true
		}
		var (
			mu   sync.Mutex
			list []time.Duration
		)
		cfg := config(t, pool, relayURL)
		cfg.PollInterval = 500 * time.Millisecond
		cfg.PollHook = func(task int64, due, begun time.Time) {
			mu.Lock()
			defer mu.Unlock()
			if healthyIDs[task] {
				list = append(list, max(begun.Sub(due), 0)) // some are asked early, in company
			}
		}
		stop := startWorker(t, cfg)
		await(t, "the healthy ones are asked about", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(list) > 8*tasks
		})
		stop()
		list = list[2*tasks:] // the start has its own pace
		slices.Sort(list)
		return list[len(list)*99/100]
	}
	alone := late(false)
	beside := late(true)
	t.Logf("p99 of lateness: %s alone, %s beside the others", alone, beside)
	// a relay that waited for another would be late by its time-out, 2 s; a busy machine costs some hundred milliseconds
	if limit := max(alone*12/10, time.Second); beside > limit {
		t.Errorf("p99 of lateness is %s beside relays in trouble, %s alone", beside, alone)
	}
}

// Five healthy tasks beside one that the relay refuses end as fast as without it.
func TestARefusedTaskDelaysNoOther(t *testing.T) {
	t.Parallel()
	took := func(ids ...string) time.Duration {
		pool := dbtest.New(t)
		_, relayURL := simulator(t, func(c *klingsim.Config) { c.Lifetime = 2 * time.Second })
		insert(t, pool, "default", "videos", "text2video", ids...)
		begun := time.Now()
		startWorker(t, config(t, pool, relayURL))
		await(t, "the healthy ones have ended", func() bool {
			return number(t, pool, `select count(*) from klingwatch.tasks where status = 'succeeded'`) == 5
		})
		if len(ids) > 5 {
			if n := number(t, pool, `select count(*) from klingwatch.polling_pauses`); n != 0 {
				t.Error("the key is paused")
			}
			await(t, "the refused one tells why", func() bool {
				return number(t, pool, `select count(*) from klingwatch.tasks where task_id like 'gatewaykey%' and status = 'pending' and last_error like 'refused:%'`) == len(ids)-5
			})
		}
		return time.Since(begun)
	}
	alone := took(numbered("ok", 5)...)
	beside := took(append(numbered("gatewaykey-always", 1), numbered("ok", 5)...)...)
	if beside > alone*3/2+5*time.Second { // the machine may be busy; what counts most is that nothing was paused
		t.Errorf("%s beside a refused task, %s alone", beside, alone)
	}
}

// Two processes whose settings name different relays: the later one's hold, and the
// other asks nothing there, but goes on with the rest.
func TestTheLaterSettingsHold(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	oldRelay, oldURL := simulator(t, func(c *klingsim.Config) { c.Lifetime = time.Hour })
	newRelay, newURL := simulator(t)
	_, other := simulator(t)
	addRelay(t, pool, "other", other, "", "sk-test")
	first := New(config(t, pool, oldURL))
	runWorker(t, first)
	insert(t, pool, "default", "videos", "text2video", numbered("never", 20)...)
	await(t, "the old relay is asked", func() bool { return oldRelay.Requests() >= 20 })

	second := New(config(t, pool, newURL))
	runWorker(t, second)
	await(t, "the first process asks it no more", func() bool {
		return len(first.Unasked()) == 1 && strings.HasPrefix(first.Unasked()[0], "default: ")
	})
	insert(t, pool, "default", "videos", "text2video", numbered("quick", 20)...)
	insert(t, pool, "other", "videos", "text2video", numbered("quick", 20)...)
	await(t, "all are asked at the right place", func() bool {
		return number(t, pool, `select count(*) from klingwatch.tasks where status = 'succeeded'`) == 40
	})
	await(t, "the tasks of before are asked there, too", func() bool { return newRelay.Queries("never-7") > 0 })
	for _, id := range numbered("quick", 20) {
		if n := oldRelay.Queries(id); n != 0 {
			t.Errorf("%s was asked about at the old relay", id)
		}
	}
	if len(second.Unasked()) != 0 || number(t, pool, `select count(*) from klingwatch.tasks where status = 'not_found'`) != 0 {
		t.Errorf("the second asks nothing of %v", second.Unasked())
	}
}

// A rolling change of the key in the settings: the relay takes the new one from the moment
// at which the new process starts, and no task is lost or told twice.
func TestARollingChangeOfTheKeyLosesNothing(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	relay, url := simulator(t, func(c *klingsim.Config) { c.APIKey = "sk-test"; c.Lifetime = 2 * time.Second })
	first := New(config(t, pool, url))
	runWorker(t, first)
	insert(t, pool, "default", "videos", "text2video", numbered("ok", 200)...)
	await(t, "they are asked about", func() bool { return relay.Requests() > 200 })

	relay.SetKey("sk-new")
	cfg := config(t, pool, url)
	client, err := klingapi.New(klingapi.Config{BaseURL: url, Credential: klingapi.StaticKey("sk-new")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	cfg.Relay = client
	runWorker(t, New(cfg))
	await(t, "all have ended", func() bool {
		return number(t, pool, `select count(*) from klingwatch.tasks where status = 'succeeded'`) == 200
	})
	if n := number(t, pool, `select count(*) from klingwatch.events where type = 'task.succeeded'`); n != 200 || len(first.Unasked()) != 1 {
		t.Errorf("%d events; the first process asks nothing of %v", n, first.Unasked())
	}
}

// runWorker runs a worker until the test ends.
func runWorker(t *testing.T, w *Worker) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	await(t, "it works", w.Working)
}

// A relay's row changes under load: address, key, rate. Nothing is lost.
func TestAChangeOfARelayHoldsInAllProcesses(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	_, relayURL := simulator(t)
	before, beforeURL := simulator(t, func(c *klingsim.Config) { c.Lifetime = time.Hour })
	after, afterURL := simulator(t, func(c *klingsim.Config) { c.APIKey = "sk-new" })
	for range 2 {
		runWorker(t, New(config(t, pool, relayURL)))
	}
	addRelay(t, pool, "moving", beforeURL, "", "sk-test")
	insert(t, pool, "moving", "videos", "text2video", numbered("ok", 100)...)
	await(t, "they are asked about", func() bool { return before.Requests() > 200 })

	row, err := db.GetRelay(t.Context(), pool, "moving")
	if err != nil {
		t.Fatal(err)
	}
	row.BaseURL, row.KeyFile = afterURL, new(keyFile(t, "sk-new"))
	if changed, err := db.ChangeRelay(t.Context(), pool, row); err != nil || !changed {
		t.Fatal(changed, err)
	}
	begun := time.Now()
	await(t, "all have ended at the new address", func() bool {
		return number(t, pool, `select count(*) from klingwatch.tasks where status = 'succeeded'`) == 100
	})
	t.Logf("all ended %s after the change", time.Since(begun).Round(time.Millisecond))
	asked := before.Requests()
	if after.Queries("ok-7") == 0 || number(t, pool, `select count(*) from klingwatch.events where type = 'task.succeeded'`) != 100 {
		t.Error("a task was lost, or told twice")
	}
	if before.Requests() != asked {
		t.Error("the old address is still asked")
	}
}

func TestARotatedKeyFileOfARelayIsFollowed(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	_, relayURL := simulator(t)
	relay, url := simulator(t, func(c *klingsim.Config) { c.APIKey = "sk-old" })
	addRelay(t, pool, "second", url, "", "sk-old")
	startWorker(t, config(t, pool, relayURL))
	insert(t, pool, "second", "videos", "text2video", "quick-1")
	await(t, "the old key works", func() bool {
		return number(t, pool, `select count(*) from klingwatch.tasks where status = 'succeeded'`) == 1
	})
	relay.SetKey("sk-new")
	insert(t, pool, "second", "videos", "text2video", "quick-2")
	await(t, "the relay is paused", func() bool {
		return number(t, pool, `select count(*) from klingwatch.report_relays where name = 'second' and paused_at is not null`) == 1
	})
	row, err := db.GetRelay(t.Context(), pool, "second")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(*row.KeyFile, []byte("sk-new"), 0o600); err != nil {
		t.Fatal(err)
	}
	await(t, "the new key works", func() bool {
		return number(t, pool, `select count(*) from klingwatch.tasks where status = 'succeeded'`) == 2
	})
	if n := number(t, pool, `select count(*) from klingwatch.report_relays where paused_at is not null`); n != 0 {
		t.Errorf("%d relays are still paused", n)
	}
}

// Whoever cannot open the key of a relay leaves it to others, and says so.
func TestARelayWithoutItsKeyIsLeftToOthers(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	_, relayURL := simulator(t)
	_, url := simulator(t)
	w := New(config(t, pool, relayURL))
	runWorker(t, w)
	addRelay(t, pool, "second", url, "", "sk-test")
	row, err := db.GetRelay(t.Context(), pool, "second")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(*row.KeyFile, *row.KeyFile+".away"); err != nil {
		t.Fatal(err)
	}
	insert(t, pool, "second", "videos", "text2video", "quick-1")
	if _, err := pool.Exec(t.Context(), `insert into klingwatch.tasks (relay, action, action2, task_id, deadline_at) values ('second', 'videos', 'text2video', 'late', now() + interval '2 s')`); err != nil {
		t.Fatal(err)
	}
	await(t, "it says so", func() bool {
		return len(w.Unasked()) == 1 && strings.Contains(w.Unasked()[0], "second: reading the key file: ")
	})
	await(t, "deadlines are kept", func() bool {
		return number(t, pool, `select count(*) from klingwatch.tasks where task_id = 'late' and status = 'expired'`) == 1
	})
	if n := number(t, pool, `select count(*) from klingwatch.tasks where task_id = 'quick-1' and status = 'pending'`); n != 1 {
		t.Error("a task whose relay cannot be asked does not wait")
	}
	if err := os.Rename(*row.KeyFile+".away", *row.KeyFile); err != nil {
		t.Fatal(err)
	}
	await(t, "it is asked once the key is there", func() bool {
		return number(t, pool, `select count(*) from klingwatch.tasks where task_id = 'quick-1' and status = 'succeeded'`) == 1
	})
}

// A roll-out that failed: the process that took the relay default over is gone, and the one
// that is left goes on with its own settings.
func TestTheLastProcessTakesADesertedRelayOver(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	_, oldURL := simulator(t)
	_, newURL := simulator(t)
	first := New(config(t, pool, oldURL))
	runWorker(t, first)
	stop := startWorker(t, config(t, pool, newURL))
	await(t, "the new settings hold", func() bool { return len(first.Unasked()) == 1 })
	stop()
	insert(t, pool, "default", "videos", "text2video", numbered("quick", 5)...)
	await(t, "the first process asks again", func() bool {
		return len(first.Unasked()) == 0 && number(t, pool, `select count(*) from klingwatch.tasks where status = 'succeeded'`) == 5
	})
}
