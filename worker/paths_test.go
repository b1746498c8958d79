package worker

import (
	"fmt"
	"io"
	"log"
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
var badManners = []string{"failing", "silent", "breaking", "dripping", "moved", "throttled", "missing", "gone", "closing"}

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
		"healthy": status(204),
		"failing": status(500),
		"moved": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://"+r.Host+r.URL.Path, http.StatusFound)
		},
		"gone":      status(410),
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

// newUntrusted is a host whose certificate nobody trusts.
func newUntrusted(t *testing.T) string {
	t.Helper()
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.URL
}

// owe makes webhooks due now, one to each URL and one to each endpoint, in this order.
func owe(t *testing.T, pool *pgxpool.Pool, urls []string, endpoints ...int64) {
	t.Helper()
	err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), `
			with task as (
				insert into klingwatch.tasks (task_id, action, action2, status, finished_at)
				values (gen_random_uuid()::text, 'videos', 'text2video', 'succeeded', now()) returning id
			), news as (
				insert into klingwatch.events (event_id, task, sequence, type, payload)
				select 'msg_' || gen_random_uuid(), task.id, i, 'task.succeeded', '{}'
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

// paths returns URLs of apps at a host that have this manner.
func paths(host, manner string, from, to int) (urls []string) {
	for i := from; i < to; i++ {
		urls = append(urls, fmt.Sprintf("%s/%s/hidden%d", host, manner, i))
	}
	return urls
}

// crowd is bad paths of a host, to which healthy ones come.
type crowd struct {
	bad     int
	manners []string
	turns   bool // the healthy ones come in turns with them, not after them
	again   bool // more come when the bad ones are tried again
	workers int
}

// Callbacks of many apps on one host, and an endpoint on it, do not wait for other
// paths of the host, nor do those that come when the bad ones are tried again. No
// path is in the log.
func TestHealthyPathsGetThroughBesideBadOnesOfTheirHost(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]crowd{
		"24 in turns":                         {24, []string{"failing", "silent", "breaking"}, true, true, 1},
		"1,000 silent":                        {1000, []string{"silent"}, false, false, 1},
		"1,000 of all kinds":                  {1000, badManners, false, true, 1},
		"1,000 of all kinds to two processes": {1000, badManners, false, true, 2},
	} {
		t.Run(name, func(t *testing.T) { c.meet(t) })
	}
}

func (c crowd) meet(t *testing.T) {
	const healthy = 40
	pool := dbtest.New(t)
	host, end := newAutomation(t)
	defer end()
	endpoint := addEndpoint(t, pool, db.NewEndpoint{URL: host + "/healthy/endpoint"})
	book := c.start(t, pool)

	good, bad := paths(host, "healthy", 0, healthy), []string(nil)
	for i, manner := range c.manners {
		bad = append(bad, paths(host, manner, i*c.bad/len(c.manners), (i+1)*c.bad/len(c.manners))...)
	}
	bad = append(bad, paths(newUntrusted(t), "anything", 0, c.bad/10)...)
	urls := slices.Concat(bad, good)
	if c.turns {
		urls = nil
		for i := range max(len(good), len(bad)) {
			urls = append(urls, slices.Concat(bad[min(i, len(bad)):min(i+1, len(bad))], good[min(i, len(good)):min(i+1, len(good))])...)
		}
	}
	owe(t, pool, urls, endpoint)
	arrive(t, pool, healthy+1)

	if c.again {
		await(t, "bad ones are tried again", func() bool {
			return number(t, pool, `select count(*) from klingwatch.deliveries where attempts > 1`) >= c.bad/20
		})
		owe(t, pool, paths(host, "healthy", healthy/2, healthy/2+healthy), endpoint)
		arrive(t, pool, 2*(healthy+1))
	}
	for _, line := range book.lines("") {
		if text := fmt.Sprint(line); strings.Contains(text, "hidden") {
			t.Errorf("a path is in the log: %s", text)
		}
	}
}

// silence is how long a silent path holds its request, and bound how long a healthy one may
// wait: less than that, and so long that a busy machine does not reach it. worker/deliver
// tests the exact bound, in time that stands still.
const (
	silence = 2 * time.Minute
	bound   = silence / 2
)

// start starts the workers and returns their log.
func (c crowd) start(t *testing.T, pool *pgxpool.Pool) *logbook {
	_, relayURL := simulator(t)
	book := &logbook{}
	for range c.workers {
		cfg := config(t, pool, relayURL)
		cfg.Log = book.log()
		cfg.Webhooks = webhook.NewClient(webhook.Config{Timeout: silence, AllowNetworks: loopback})
		t.Cleanup(cfg.Webhooks.Close)
		startWorker(t, cfg)
	}
	await(t, "they work", func() bool { n, err := db.LiveInstances(t.Context(), pool); return err == nil && n == c.workers })
	return book
}

// arrive waits until healthy paths have so many webhooks.
func arrive(t *testing.T, pool *pgxpool.Pool, n int) {
	t.Helper()
	owed := time.Now()
	await(t, "all healthy paths have their webhooks", func() bool {
		return number(t, pool, `select count(*) from klingwatch.deliveries where (url like '%/healthy/%' or endpoint is not null) and state = 'delivered'`) == n
	})
	if took := time.Since(owed); took > bound {
		t.Errorf("the slowest took %s", took)
	} else {
		t.Logf("the slowest took %s", took)
	}
}
