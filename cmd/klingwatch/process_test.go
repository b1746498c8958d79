package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/klingapi/klingsim"
	"github.com/klingwatch/klingwatch/ledger"
	"github.com/klingwatch/klingwatch/web"
	"github.com/klingwatch/klingwatch/webhook"
)

// patience bounds waiting for something that must happen.
const patience = 60 * time.Second

func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s in vain: %s", patience, what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// process is a klingwatch command that runs beside the test.
type process struct {
	*exec.Cmd
	done chan struct{} // closed when it has ended

	mu  sync.Mutex
	log []map[string]any // lines of JSON on stderr
	raw []string         // all lines on stderr
	out strings.Builder  // stdout
}

// Write takes stdout.
func (p *process) Write(text []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.Write(text)
}

// stdout returns what was printed so far.
func (p *process) stdout() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

// launch starts this test binary as klingwatch; it is killed at the end of the
// test if it still runs.
func launch(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	return launchReading(t, nil, env, args...)
}

// launchReading is launch with something on stdin; nil: nothing.
func launchReading(t *testing.T, stdin *os.File, env []string, args ...string) *process {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{Cmd: exec.Command(exe), done: make(chan struct{})}
	p.Args = append([]string{"klingwatch"}, args...)
	p.Env = append(os.Environ(), env...)
	p.Stdout = p
	if stdin != nil {
		p.Stdin = stdin
	}
	stderr, err := p.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.read(stderr)
		_ = p.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		_ = p.Process.Kill()
		<-p.done
		if t.Failed() {
			t.Logf("klingwatch %s said:\n%s", strings.Join(args, " "), strings.Join(p.raw, "\n"))
		}
	})
	return p
}

func (p *process) read(r io.Reader) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var entry map[string]any
		p.mu.Lock()
		if json.Unmarshal(lines.Bytes(), &entry) == nil {
			p.log = append(p.log, entry)
		}
		p.raw = append(p.raw, lines.Text())
		p.mu.Unlock()
	}
}

// hasEnded tells whether the process has ended.
func (p *process) hasEnded() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// said returns the first log entry with the message, nil if there is none yet.
func (p *process) said(message string) map[string]any {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, entry := range p.log {
		if entry["msg"] == message {
			return entry
		}
	}
	return nil
}

// serveEnv are the settings of a fast service on a database and a relay.
func serveEnv(databaseURL, relayURL string) []string {
	return []string{
		"DATABASE_URL=" + databaseURL, "KLING_BASE_URL=" + relayURL, "KLING_API_KEY=sk-secret-key",
		"KLINGWATCH_LISTEN_ADDR=127.0.0.1:0", "KLINGWATCH_WEBHOOK_ALLOW_NETWORKS=127.0.0.0/8",
		"KLINGWATCH_POLL_INTERVAL=100ms", "KLINGWATCH_POLL_RATE=2000", "KLINGWATCH_LOG_FORMAT=json",
	}
}

// ready waits until the service says so and returns its base URL.
func (p *process) ready(t *testing.T) string {
	t.Helper()
	await(t, "the service tells where it listens", func() bool { return p.said("listening") != nil })
	base := "http://" + p.said("listening")["addr"].(string)
	await(t, "the service is ready", func() bool { return status(base+"/readyz") == http.StatusOK })
	return base
}

// status asks with a connection of its own.
func status(url string) int {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	res, err := client.Get(url)
	if err != nil {
		return 0
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body)
	return res.StatusCode
}

func open(t *testing.T, url string) *pgxpool.Pool {
	t.Helper()
	pool, err := db.Open(t.Context(), url, 4)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

func simulate(t *testing.T, cfg klingsim.Config) string {
	t.Helper()
	cfg.APIKey = "sk-secret-key"
	server := httptest.NewServer(klingsim.New(cfg))
	t.Cleanup(server.Close)
	return server.URL
}

// inbox verifies and counts webhooks by webhook-id.
type inbox struct {
	*httptest.Server
	mu    sync.Mutex
	posts map[string]int
	tasks map[int64]bool
	bad   int
}

func newInbox(t *testing.T, pool *pgxpool.Pool) *inbox {
	t.Helper()
	if err := ledger.PrepareKeys(t.Context(), pool, nil); err != nil {
		t.Fatal(err)
	}
	keys, err := db.SigningKeys(t.Context(), pool)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := standardwebhooks.NewWebhook(keys[0].Secret)
	if err != nil {
		t.Fatal(err)
	}
	box := &inbox{posts: map[string]int{}, tasks: map[int64]bool{}}
	box.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var event webhook.Event
		box.mu.Lock()
		defer box.mu.Unlock()
		if verifier.Verify(body, r.Header) != nil || json.Unmarshal(body, &event) != nil {
			box.bad++
			return
		}
		box.posts[r.Header.Get("webhook-id")]++
		box.tasks[event.Data.ID] = true
	}))
	t.Cleanup(box.Close)
	return box
}

func (b *inbox) told() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.tasks)
}

func count(t *testing.T, pool *pgxpool.Pool, sql string) (n int) {
	t.Helper()
	if err := pool.QueryRow(t.Context(), sql).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestAKilledServiceLosesNothingAndDoublesNothing(t *testing.T) {
	t.Parallel()
	url := dbtest.NewURL(t)
	pool := open(t, url)
	relay := simulate(t, klingsim.Config{Seed: 1, Lifetime: time.Second})
	box := newInbox(t, pool)
	const tasks = 200
	if _, err := pool.Exec(t.Context(), `
		insert into klingwatch.tasks (task_id, action, action2, callback_url)
		select 'ok-' || i, 'videos', 'text2video', $1 from generate_series(1, $2) i`, box.URL, tasks); err != nil {
		t.Fatal(err)
	}
	for _, ended := range []int{tasks / 4, tasks / 2} {
		p := launch(t, serveEnv(url, relay), "serve")
		await(t, fmt.Sprintf("%d webhooks have arrived", ended), func() bool { return box.told() >= ended })
		_ = p.Process.Kill() // kill -9
		<-p.done
	}
	launch(t, serveEnv(url, relay), "serve")
	await(t, "every callback arrives", func() bool { return box.told() == tasks })
	await(t, "every delivery is recorded", func() bool {
		return count(t, pool, `select count(*) from klingwatch.deliveries where state = 'delivered'`) == tasks
	})
	if n := count(t, pool, `select count(*) from klingwatch.tasks where status = 'succeeded'`); n != tasks {
		t.Errorf("%d of %d tasks succeeded", n, tasks)
	}
	if n := count(t, pool, `select count(*) from klingwatch.events where type = 'task.succeeded'`); n != tasks {
		t.Errorf("%d terminal events for %d tasks", n, tasks)
	}
	// a request that was cut off by the kill may be repeated, with the same webhook-id
	if len(box.posts) != tasks || box.bad > 0 {
		t.Errorf("%d webhook-ids for %d tasks, %d with a wrong signature", len(box.posts), tasks, box.bad)
	}
}

func TestSIGTERMStopsGracefully(t *testing.T) {
	t.Parallel()
	url := dbtest.NewURL(t)
	relay := simulate(t, klingsim.Config{Seed: 1, Lifetime: time.Second})
	p := launch(t, serveEnv(url, relay), "serve")
	base := p.ready(t)
	for path, want := range map[string]int{"/livez": 200, "/readyz": 200, "/metrics": 200, "/nothing": 404} {
		if got := status(base + path); got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
	begun := time.Now()
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-p.done
	if code := p.ProcessState.ExitCode(); code != 0 || time.Since(begun) > 10*time.Second {
		t.Errorf("exit code %d after %s", code, time.Since(begun))
	}
	if p.said("stopped") == nil {
		t.Error("the log does not tell of the stop")
	}
	for _, line := range p.raw {
		if strings.Contains(line, "sk-secret-key") || strings.Contains(line, "whsec_") {
			t.Errorf("a secret in the log: %s", line)
		}
	}
}

// A relay that never answers holds polls up: the first signal drains, the
// second ends the process at once.
func TestASecondSignalStopsAtOnce(t *testing.T) {
	t.Parallel()
	url := dbtest.NewURL(t)
	pool := open(t, url)
	asked := make(chan struct{}, 100)
	release := make(chan struct{})
	relay := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked <- struct{}{}; <-release }))
	t.Cleanup(relay.Close)
	t.Cleanup(func() { close(release) })
	p := launch(t, serveEnv(url, relay.URL), "serve")
	base := p.ready(t)
	if _, err := pool.Exec(t.Context(), `insert into klingwatch.tasks (task_id, action, action2) values ('t', 'videos', 'text2video')`); err != nil {
		t.Fatal(err)
	}
	<-asked
	_ = p.Process.Signal(syscall.SIGTERM)
	await(t, "it is not ready while draining", func() bool { return status(base+"/readyz") == http.StatusServiceUnavailable })
	begun := time.Now()
	_ = p.Process.Signal(syscall.SIGTERM)
	<-p.done
	if took := time.Since(begun); took > 2*time.Second || p.ProcessState.ExitCode() == 0 {
		t.Errorf("exit code %d after %s", p.ProcessState.ExitCode(), took)
	}
}

func TestARefusedKeyFailsNoTaskAndIsTold(t *testing.T) {
	t.Parallel()
	url := dbtest.NewURL(t)
	pool := open(t, url)
	relay := simulate(t, klingsim.Config{Seed: 1})
	p := launch(t, append(serveEnv(url, relay), "KLING_API_KEY=sk-another-secret"), "serve")
	if _, err := pool.Exec(t.Context(), `insert into klingwatch.tasks (task_id, action, action2) values ('ok-1', 'videos', 'text2video')`); err != nil {
		t.Fatal(err)
	}
	await(t, "the refusal is written", func() bool {
		return count(t, pool, `select count(*) from klingwatch.tasks where status = 'pending' and last_error like 'refused: HTTP 401, code 1002%'`) == 1
	})
	list := launch(t, serveEnv(url, relay), "list")
	<-list.done
	if said := strings.Join(list.raw, "\n"); !strings.Contains(said, "polling is paused since") || !strings.Contains(said, "code 1002") {
		t.Errorf("list does not tell of the pause: %s", said)
	}
	var readiness web.Readiness
	res, err := http.Get(p.ready(t) + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(&readiness); err != nil || !readiness.Ready || !strings.Contains(readiness.Checks["polling"], "polling is paused since") {
		t.Errorf("readiness %+v, %v", readiness, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if log := strings.Join(p.raw, "\n"); strings.Contains(log, "sk-another-secret") || strings.Contains(log, "goroutine ") {
		t.Error(log)
	}
}

// Two commands without DATABASE_URL share one embedded Postgres, and nothing
// is left running afterwards.
func TestServeAndTrackShareTheEmbeddedDatabase(t *testing.T) {
	t.Parallel()
	relay := simulate(t, klingsim.Config{Seed: 1, Lifetime: time.Second})
	dir := dbtest.NewDir(t)
	env := append(serveEnv("", relay), "KLINGWATCH_DATA_DIR="+dir+"/postgres")
	serve := launch(t, env, "serve")
	serve.ready(t)

	track := launch(t, env, "track", "--wait", "images/generations", "ok-1", "ok-2")
	<-track.done
	if code := track.ProcessState.ExitCode(); code != 0 {
		t.Errorf("track --wait of tasks that succeed: exit code %d: %q", code, track.raw)
	}
	track = launch(t, env, "track", "--wait", "images/generations", "ok-3", "fail-4")
	<-track.done
	if code := track.ProcessState.ExitCode(); code != 1 {
		t.Errorf("track --wait of a task that fails: exit code %d: %q", code, track.raw)
	}
	_ = serve.Process.Signal(syscall.SIGTERM)
	<-serve.done
	pid, err := os.ReadFile(dir + "/postgres/data/postmaster.pid")
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the server still runs: %s, %v", pid, err)
	}
}

func TestDevDoesTheWholeJob(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, exe)
	cmd.Args = []string{"klingwatch", "dev", "--exit", "--tasks", "15", "--seed", "7"}
	cmd.Env = append(os.Environ(), "TMPDIR="+dbtest.NewDir(t))
	out, err := cmd.CombinedOutput()
	if err != nil || strings.Count(string(out), " ok\n")+strings.Count(string(out), " ok ") < 15 {
		t.Errorf("%v\n%s", err, out)
	}
}
