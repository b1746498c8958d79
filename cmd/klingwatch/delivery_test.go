package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/klingapi/klingsim"
)

// The process is killed when the receiver has the webhook and has not answered
// yet: nothing is written of it.
func TestAWebhookThatWasOnItsWayIsSentAgainAfterAKill(t *testing.T) {
	t.Parallel()
	url := dbtest.NewURL(t)
	pool := open(t, url)
	relay := simulate(t, klingsim.Config{Seed: 1, Lifetime: 100 * time.Millisecond})
	ids := make(chan string, 10)
	var dying atomic.Bool
	dying.Store(true)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // then the server notices that the client is gone
		ids <- r.Header.Get("webhook-id")
		if dying.Load() {
			<-r.Context().Done()
		}
	}))
	t.Cleanup(receiver.Close)
	p := launch(t, serveEnv(url, relay), "serve")
	insert(t, pool, 1, "quick-", receiver.URL)
	first := <-ids
	dying.Store(false)
	p.kill()
	if n := count(t, pool, `select attempts + (select count(*) from klingwatch.delivery_attempts) from klingwatch.deliveries`); n != 0 {
		t.Errorf("%d attempts are written already", n)
	}
	launch(t, serveEnv(url, relay), "serve")
	if second := <-ids; second != first || first == "" {
		t.Errorf("sent again as %q, first as %q", second, first)
	}
	await(t, "it is recorded", func() bool {
		return count(t, pool, `select count(*) from klingwatch.deliveries where state = 'delivered' and attempts = 1`) == 1
	})
}

// klingwatch runs a command on a database and returns what it prints.
func klingwatch(t *testing.T, env []string, args ...string) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, args...)
	cmd.Args[0] = "klingwatch"
	cmd.Env = slices.Concat(os.Environ(), env)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("klingwatch %q: %v\n%s", args, err, out)
	}
	return string(out)
}

// A person at a shell beside the running service.
func TestDeliveriesCanBeSentAgainByCommand(t *testing.T) {
	t.Parallel()
	const tasks = 30
	url := dbtest.NewURL(t)
	pool := open(t, url)
	relay := simulate(t, klingsim.Config{Seed: 1, Lifetime: 100 * time.Millisecond})
	box := newInbox(t, pool)
	env := serveEnv(url, relay)
	launch(t, env, "serve").ready(t)
	insert(t, pool, tasks, "quick-", box.URL)
	await(t, "all are delivered and their jobs done", func() bool {
		return count(t, pool, `select count(*) from klingwatch.deliveries where state = 'delivered'`) == tasks &&
			count(t, pool, `select count(*) from klingwatch.river_job where kind = 'deliver'`) == 0
	})
	if out := klingwatch(t, env, "deliveries", "show", "1"); !bytes.Contains([]byte(out), []byte("HTTP 200")) {
		t.Errorf("the attempt is not shown:\n%s", out)
	}
	klingwatch(t, env, "deliveries", "redeliver", "1")
	await(t, "it arrives again", func() bool {
		return count(t, pool, `select attempts from klingwatch.deliveries where id = 1`) == 2 &&
			count(t, pool, `select count(*) from klingwatch.river_job where kind = 'deliver'`) == 0
	})
	out := klingwatch(t, env, "deliveries", "redeliver", "--since", "1h", "--state", "delivered", "--per-second", "100", "--wait", "--yes")
	await(t, "all arrive again", func() bool {
		return count(t, pool, `select count(*) from klingwatch.deliveries where state = 'delivered' and attempts >= 2`) == tasks
	})
	if !bytes.Contains([]byte(out), []byte("30 deliveries are due")) {
		t.Errorf("the progress is not told:\n%s", out)
	}
	if out := klingwatch(t, env, "endpoints", "ping", box.URL); !bytes.Contains([]byte(out), []byte("connect ")) || !bytes.Contains([]byte(out), []byte("npm install standardwebhooks")) {
		t.Errorf("ping:\n%s", out)
	}
}
