package demo

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
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

func TestMain(m *testing.M) { dbtest.Main(m) }

// subscribed returns a receiver that serves and has subscribed.
func subscribed(t *testing.T, pool *pgxpool.Pool) *Receiver {
	t.Helper()
	receiver := &Receiver{}
	server := httptest.NewServer(receiver)
	t.Cleanup(server.Close)
	if err := receiver.Subscribe(t.Context(), pool, server.URL); err != nil {
		t.Fatal(err)
	}
	return receiver
}

// canceledSamples starts a run whose tasks a person cancels, as is expected of
// them: they end, with webhooks that wait to be sent.
func canceledSamples(t *testing.T, pool *pgxpool.Pool, receiver *Receiver, n int) *Run {
	t.Helper()
	run, err := Start(t.Context(), pool, receiver, n, 1)
	if err != nil {
		t.Fatal(err)
	}
	for i := range run.samples {
		run.samples[i].Expect = db.Canceled
		if err := operate.Cancel(t.Context(), pool, db.Task{ID: run.samples[i].ID}, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	return run
}

// send sends the webhooks of a task as the service does, but for what change
// makes of them.
func send(t *testing.T, pool *pgxpool.Pool, task int64, change func(*webhook.Message)) {
	t.Helper()
	deliveries, err := db.DeliveriesOfTask(t.Context(), pool, task)
	if err != nil {
		t.Fatal(err)
	}
	var ids []int64
	for _, d := range deliveries {
		ids = append(ids, d.ID)
	}
	targets, err := db.DeliveryTargets(t.Context(), pool, ids)
	if err != nil || len(targets) != len(deliveries) {
		t.Fatalf("%d of %d deliveries, %v", len(targets), len(deliveries), err)
	}
	client := webhook.NewClient(webhook.Config{AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	defer client.Close()
	for _, d := range targets {
		message := webhook.Message{URL: d.URL, ID: d.EventID, Body: []byte(d.Body), Secrets: d.Secrets}
		change(&message)
		client.Send(t.Context(), message)
	}
	if _, err := pool.Exec(t.Context(), `update klingwatch.deliveries set state = 'delivered', next_attempt_at = null where id = any ($1)`, ids); err != nil {
		t.Fatal(err)
	}
}

func asItIs(*webhook.Message) {}

// compared returns the rows of a run whose tasks have all ended.
func compared(t *testing.T, run *Run) []Row {
	t.Helper()
	rows, err := run.Compare(t.Context())
	if err != nil || len(rows) != len(run.samples) {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	return rows
}

func TestARunThatGoesAsExpectedHasNothingWrong(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	receiver := subscribed(t, pool)
	run := canceledSamples(t, pool, receiver, 3)
	for _, sample := range run.samples {
		send(t, pool, sample.ID, asItIs)
	}
	var ended []int64
	last := Progress{}
	err := run.Follow(t.Context(), func(p Progress) {
		if last = p; p.Task != nil {
			ended = append(ended, p.Task.ID)
		}
	})
	if err != nil || len(ended) != 3 || last.Task != nil || last.Ended != 3 || last.Verified != 6 {
		t.Errorf("followed %d, last %+v, %v", ended, last, err)
	}
	for i, row := range compared(t, run) {
		if row.Wrong != "" || row.Sample != run.samples[i] || row.Status != db.Canceled || row.Webhooks != 2 {
			t.Errorf("%+v", row)
		}
	}
	if receiver.Refused() != 0 {
		t.Errorf("%d are refused", receiver.Refused())
	}
}

// Each thing that may go wrong is found, and named.
func TestWhatIsNotAsExpectedIsNamed(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		spoil func(*testing.T, *pgxpool.Pool, *Run)
		want  string
	}{
		"another end": {func(t *testing.T, pool *pgxpool.Pool, run *Run) {
			run.samples[0].Expect = db.Succeeded
			send(t, pool, run.samples[0].ID, asItIs)
		}, "expected succeeded"},
		"never sent": {func(*testing.T, *pgxpool.Pool, *Run) {}, "task.canceled arrived 0 times"},
		"sent twice": {func(t *testing.T, pool *pgxpool.Pool, run *Run) {
			send(t, pool, run.samples[0].ID, asItIs)
			send(t, pool, run.samples[0].ID, asItIs)
		}, "task.canceled arrived 2 times"},
		"another id": {func(t *testing.T, pool *pgxpool.Pool, run *Run) {
			send(t, pool, run.samples[0].ID, func(m *webhook.Message) { m.ID += "x" })
		}, "task.canceled arrived 0 times"},
		"about another task": {func(t *testing.T, pool *pgxpool.Pool, run *Run) {
			send(t, pool, run.samples[0].ID, func(m *webhook.Message) {
				m.Body = []byte(strings.Replace(string(m.Body), `"task_id"`, `"id": 99, "task_id"`, 1))
			})
		}, "task.canceled is about something else"},
		"says another end": {func(t *testing.T, pool *pgxpool.Pool, run *Run) {
			send(t, pool, run.samples[0].ID, func(m *webhook.Message) {
				m.Body = []byte(strings.Replace(string(m.Body), `"status": "canceled"`, `"status": "failed"`, 1))
			})
		}, "the callback says failed"},
		"no callback": {func(t *testing.T, pool *pgxpool.Pool, run *Run) {
			if _, err := pool.Exec(t.Context(), `delete from klingwatch.deliveries where endpoint is null`); err != nil {
				t.Fatal(err)
			}
			send(t, pool, run.samples[0].ID, asItIs)
		}, "0 callbacks"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := dbtest.New(t)
			run := canceledSamples(t, pool, subscribed(t, pool), 1)
			test.spoil(t, pool, run)
			if row := compared(t, run)[0]; row.Wrong != test.want {
				t.Errorf("%q, want %q", row.Wrong, test.want)
			}
		})
	}
}

func TestARequestWithoutARightSignatureIsRefused(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	receiver := subscribed(t, pool)
	run := canceledSamples(t, pool, receiver, 1)
	id := run.samples[0].ID
	send(t, pool, id, func(m *webhook.Message) { m.Secrets = []string{webhook.NewSecret()} })
	send(t, pool, id, func(m *webhook.Message) { m.URL = strings.Replace(m.URL, callbackPath, "/elsewhere", 1) })
	if receiver.Verified() != 1 || receiver.Refused() != 3 { // the endpoint's, of the second time
		t.Errorf("%d verified, %d refused", receiver.Verified(), receiver.Refused())
	}
	for name, request := range map[string]struct {
		body string
		code int
	}{
		"unsigned":  {`{}`, http.StatusForbidden},
		"too large": {strings.Repeat(" ", maxWebhook+1), http.StatusBadRequest},
	} {
		answer := httptest.NewRecorder()
		receiver.ServeHTTP(answer, httptest.NewRequest(http.MethodPost, callbackPath, strings.NewReader(request.body)))
		if answer.Code != request.code {
			t.Errorf("%s: HTTP %d", name, answer.Code)
		}
	}
	(&Receiver{}).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, callbackPath, strings.NewReader(`{}`)))
}

// Follow waits for the webhooks, too, and no longer than it may.
func TestFollowingEndsWithItsContext(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	run := canceledSamples(t, pool, subscribed(t, pool), 1)
	ctx, cancel := context.WithCancel(t.Context())
	var last Progress
	err := run.Follow(ctx, func(p Progress) {
		if last = p; p.Task == nil { // all have ended, none is sent
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) || last.Ended != 1 || last.Verified != 0 {
		t.Errorf("%+v, %v", last, err)
	}
}

func TestSamplesAreDifferentTasks(t *testing.T) {
	t.Parallel()
	list := append(samples(3*len(kinds), 1), samples(3*len(kinds), 2)...)
	var ids []string
	for _, s := range list {
		ids = append(ids, s.Path+" "+s.TaskID)
		if !db.Terminal(s.Expect) {
			t.Errorf("%+v does not end", s)
		}
	}
	slices.Sort(ids)
	if n := len(slices.Compact(ids)); n != len(list) {
		t.Errorf("%d of %d are different", n, len(list))
	}
}
