package worker

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/webhook"
)

// badManners are those of badly behaving apps at an automation service.
var badManners = []string{"failing", "silent", "breaking", "dripping", "moved", "throttled", "missing", "closing"}

// newAutomation is one host for many apps: the first part of a path says how the app
// behind it answers.
//
// end lets go of all requests.
func newAutomation(t *testing.T) (url string, end func()) {
	t.Helper()
	stuck := make(chan struct{})
	end = sync.OnceFunc(func() { close(stuck) })
	status := func(code int, header ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			for name := range slices.Chunk(header, 2) {
				w.Header().Set(name[0], name[1])
			}
			w.WriteHeader(code)
		}
	}
	answers := map[string]http.HandlerFunc{
		"healthy":   status(204),
		"failing":   status(500),
		"moved":     status(302, "Location", "/elsewhere"),
		"throttled": status(429, "Retry-After", "60"),
		"missing":   status(404),
		"closing":   status(500, "Connection", "close"),
		"breaking":  func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"silent":    func(_ http.ResponseWriter, r *http.Request) { <-either(stuck, r) },
		"dripping": func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(200)
			_ = http.NewResponseController(w).Flush()
			<-either(stuck, r)
		},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		answers[strings.Split(r.URL.Path, "/")[1]](w, r)
	}))
	t.Cleanup(server.Close)
	t.Cleanup(end)
	return server.URL, end
}

// owe makes webhooks due now, one to each URL and one to each endpoint, in this order.
func owe(t *testing.T, pool *pgxpool.Pool, urls []string, endpoints ...int64) {
	t.Helper()
	err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), `
			with task as (
				insert into klingwatch.tasks (task_id, action, action2, status, finished_at) values ('t', 'videos', 'text2video', 'succeeded', now()) returning id
			), news as (
				insert into klingwatch.events (event_id, task, sequence, type, payload)
				select 'msg_' || i, task.id, i, 'task.succeeded', '{}'
				from task, generate_series(1, cardinality($1::text[]) + cardinality($2::bigint[])) i
				returning id, sequence
			)
			insert into klingwatch.deliveries (event, endpoint, url)
			select id, ($2::bigint[])[sequence - cardinality($1::text[])], coalesce(($1::text[])[sequence], 'of the endpoint')
			from news
			order by id`, urls, endpoints)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Callbacks of many apps on one host, and an endpoint on it, do not wait for other
// paths of the host. The bound leaves room for a busy machine; worker/deliver tests
// the exact one, in time that stands still.
func TestHealthyPathsGetThroughBesideBadOnesOfTheirHost(t *testing.T) {
	const healthy, bound = 40, webhook.DefaultTimeout / 2
	for name, c := range map[string]struct {
		paths   int // bad ones
		manners []string
		inTurns bool
	}{
		"24 in turns":        {24, []string{"failing", "silent", "breaking"}, true},
		"1,000 silent":       {1000, []string{"silent"}, false},
		"1,000 of all kinds": {1000, badManners, false},
	} {
		t.Run(name, func(t *testing.T) {
			pool := dbtest.New(t)
			_, relayURL := simulator(t)
			host, end := newAutomation(t)
			var urls []string
			for i := range c.paths {
				urls = append(urls, fmt.Sprintf("%s/%s/%d", host, c.manners[i%len(c.manners)], i))
				if c.inTurns && i < healthy {
					urls = append(urls, fmt.Sprintf("%s/healthy/%d", host, i))
				}
			}
			for i := len(urls) - c.paths; i < healthy; i++ {
				urls = append(urls, fmt.Sprintf("%s/healthy/%d", host, i))
			}
			endpoint := addEndpoint(t, pool, db.NewEndpoint{URL: host + "/healthy/endpoint"})
			cfg := config(t, pool, relayURL)
			cfg.Webhooks = webhook.NewClient(webhook.Config{AllowNetworks: loopback}) // with the timeout of the settings
			t.Cleanup(cfg.Webhooks.Close)
			startWorker(t, cfg)
			await(t, "it works", func() bool { n, err := db.LiveInstances(t.Context(), pool); return err == nil && n == 1 })
			owe(t, pool, urls, endpoint)
			owed := time.Now()
			await(t, "all healthy paths have their webhook", func() bool {
				return number(t, pool, `select count(*) from klingwatch.deliveries where (url like '%/healthy/%' or endpoint is not null) and state = 'delivered'`) == healthy+1
			})
			if took := time.Since(owed); took > bound {
				t.Errorf("the slowest took %s", took)
			}
			end()
		})
	}
}
