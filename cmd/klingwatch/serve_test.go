package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/klingapi"
	"github.com/klingwatch/klingwatch/klingapi/klingsim"
	"github.com/klingwatch/klingwatch/metrics"
	"github.com/klingwatch/klingwatch/web"
	"github.com/klingwatch/klingwatch/webhook"
	"github.com/klingwatch/klingwatch/worker"
)

// readyz returns the status and the body of /readyz.
func readyz(t *testing.T, base string) (code int, body web.Readiness) {
	t.Helper()
	res, err := http.Get(base + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(&body); err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, body
}

// docs/operating.md: migrate while the old processes run, then replace them.
func TestAnOldProcessStaysReadyUntilItIsReplaced(t *testing.T) {
	t.Parallel()
	url := dbtest.NewURL(t)
	pool := open(t, url)
	env := serveEnv(url, simulate(t, klingsim.Config{Seed: 1, Lifetime: time.Millisecond}))
	old := launch(t, env, "serve")
	base := old.ready(t)
	if _, err := pool.Exec(t.Context(), `insert into klingwatch.migrations (version, name) values (1000, '1000_of_a_newer_version')`); err != nil {
		t.Fatal(err)
	}
	if code, body := readyz(t, base); code != http.StatusOK || !body.Ready || !strings.Contains(body.Checks["migrations"], "newer than this binary") {
		t.Errorf("after a migration by a newer version: HTTP %d, %+v", code, body)
	}
	if _, err := pool.Exec(t.Context(), `insert into klingwatch.tasks (task_id, action, action2) values ('ok-1', 'videos', 'text2video')`); err != nil {
		t.Fatal(err)
	}
	await(t, "the old process works", func() bool {
		return count(t, pool, `select count(*) from klingwatch.tasks where status = 'succeeded'`) == 1
	})
	late := launch(t, env, "serve")
	<-late.done
	if code, said := late.ProcessState.ExitCode(), strings.Join(late.raw, "\n"); code != 1 || !strings.HasSuffix(said, "newer than this binary: install the newer klingwatch") {
		t.Errorf("an old version started on a newer database: exit code %d, %s", code, said)
	}

	// Migrations that are missing still decide: a dump of an older schema was restored, say.
	if _, err := pool.Exec(t.Context(), `delete from klingwatch.migrations where version in (1000, (select max(version) from klingwatch.migrations where version < 1000))`); err != nil {
		t.Fatal(err)
	}
	if code, body := readyz(t, base); code != http.StatusServiceUnavailable || body.Ready || !strings.Contains(body.Checks["migrations"], "lacks 1 migrations") {
		t.Errorf("without the last migration: HTTP %d, %+v", code, body)
	}
}

// Without a key nobody can look; the log of serve lets the first person in.
func TestTheFirstServeInvitesTheFirstPerson(t *testing.T) {
	t.Parallel()
	env := serveEnv(dbtest.NewURL(t), simulate(t, klingsim.Config{Seed: 1}))
	const invites = "there is no API key yet: open this link, once, to make the first and to log in"
	first := launch(t, env, "serve")
	base := first.ready(t)
	link, _ := first.said(invites)["link"].(string)
	if !strings.HasPrefix(link, base+"/login/") {
		t.Fatalf("the link is %q", link)
	}
	res, err := http.PostForm(link, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if page, err := io.ReadAll(res.Body); err != nil || res.StatusCode != http.StatusOK || !strings.Contains(string(page), "kw_") {
		t.Errorf("HTTP %d %s", res.StatusCode, page)
	}
	second := launch(t, env, "serve")
	second.ready(t)
	if second.said(invites) != nil {
		t.Error("it invites although there is a key")
	}
}

// A managed database that becomes read only keeps its connections open.
func TestTheServiceIsNotReadyWhileTheDatabaseIsReadOnly(t *testing.T) {
	t.Parallel()
	admin := dbtest.NewServer(t)
	url := admin.Config().ConnString()
	p := launch(t, serveEnv(url, simulate(t, klingsim.Config{Seed: 1, Lifetime: time.Second})), "serve")
	base := p.ready(t)

	dbtest.SetReadOnly(t, admin, true)
	await(t, "/readyz tells it", func() bool {
		code, body := readyz(t, base)
		return code == http.StatusServiceUnavailable && body.Checks["database"] == "the database is read only"
	})
	healthcheck := launch(t, nil, "healthcheck", "--url", base)
	if code, _ := healthcheck.ended(t); code != exitError || !strings.Contains(healthcheck.stdout(), "the database is read only") {
		t.Errorf("healthcheck: exit code %d, %s", code, healthcheck.stdout())
	}
	if _, err := admin.Exec(t.Context(), `begin read write; insert into klingwatch.tasks (task_id, action, action2) values ('ok-1', 'images', 'generations'); commit`); err != nil {
		t.Fatal(err)
	}

	dbtest.SetReadOnly(t, admin, false)
	writable := time.Now()
	await(t, "it is ready again", func() bool { return status(base+"/readyz") == http.StatusOK })
	if took := time.Since(writable); took > 5*time.Second {
		t.Errorf("that took %s", took)
	}
	await(t, "the task succeeds", func() bool {
		return count(t, admin, `select count(*) from klingwatch.tasks where status = 'succeeded'`) == 1
	})
}

// Not parallel: it looks at the goroutines of the whole process.
func TestAFailedStartIsNotLoggedAsAStop(t *testing.T) {
	d := &database{Pool: dbtest.New(t)}
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil)) // writes one line at a time
	relay, err := klingapi.New(klingapi.Config{BaseURL: "http://127.0.0.1:1", Credential: klingapi.StaticKey("k")})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	err = serve(context.Background(), service{listener: listener, database: d, metrics: metrics.New(), log: log}, worker.New(worker.Config{
		Pool: d.Pool, Relay: relay, Webhooks: webhook.NewClient(webhook.Config{}), Metrics: metrics.New(), Log: log,
		PollInterval: time.Second, PollRate: 1, PollTimeout: time.Second, TaskDeadline: time.Hour,
		WebhookTimeout: worker.MaxWebhookTimeout + time.Second, // Run refuses it
	}))
	if err == nil || !strings.Contains(err.Error(), "webhook request") {
		t.Errorf("serve: %v", err)
	}
	await(t, "serve leaves no goroutine", func() bool {
		stacks := make([]byte, 1<<20)
		return !bytes.Contains(stacks[:runtime.Stack(stacks, true)], []byte("klingwatch.serve.func"))
	})
	if strings.Contains(out.String(), "stopping") {
		t.Errorf("no signal came, and the log says:\n%s", &out)
	}
}
