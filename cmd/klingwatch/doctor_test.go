package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/keyring"
	"github.com/klingwatch/klingwatch/klingapi/klingsim"
	"github.com/klingwatch/klingwatch/ledger"
	"github.com/klingwatch/klingwatch/webhook"
)

// examined are the settings of a deployment that is well, as far as its
// database and its relay are.
func examined(databaseURL, relayURL string) settings {
	return settings{
		DatabaseURL: databaseURL, BaseURL: relayURL, PathPrefix: "/kling/v1", APIKey: "sk-secret-key",
		PollInterval: 5 * time.Second, PollRate: 50, PollTimeout: 5 * time.Second, TaskDeadline: 24 * time.Hour,
	}
}

// findings examines and returns what each check found.
func findings(t *testing.T, s settings) map[string]finding {
	t.Helper()
	found := map[string]finding{}
	err := examine(t.Context(), s, func(string) {}, func(f finding) {
		if _, twice := found[f.Check]; twice {
			t.Errorf("%s is told twice", f.Check)
		}
		if (f.State == stateWarn || f.State == stateBad) != (f.Todo != "") || f.Found == "" {
			t.Errorf("%+v", f)
		}
		if strings.Contains(f.Found+f.Todo, "sk-secret-key") {
			t.Errorf("a secret in %+v", f)
		}
		found[f.Check] = f
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// wantFinding holds a check to a state and to a part of what it found.
func wantFinding(t *testing.T, found map[string]finding, check, state, part string) {
	t.Helper()
	if f := found[check]; f.State != state || !strings.Contains(f.Found, part) {
		t.Errorf("%s: %+v, want %s with %q", check, f, state, part)
	}
}

// prepare runs statements that make a database as the test needs it.
func prepare(t *testing.T, pool *pgxpool.Pool, statements ...string) {
	t.Helper()
	for _, sql := range statements {
		if _, err := pool.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
}

func TestADeploymentThatIsWellHasNoFindings(t *testing.T) {
	t.Parallel()
	url := dbtest.NewURL(t)
	pool := open(t, url)
	if err := ledger.PrepareKeys(t.Context(), pool, nil); err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := db.ClaimInstance(t.Context(), conn); err != nil { // as a living process does
		t.Fatal(err)
	}
	prepare(t, pool, `insert into klingwatch.tasks (task_id, action, action2) values ('ok-1', 'videos', 'text2video')`)
	found := findings(t, examined(url, simulate(t, klingsim.Config{Seed: 1})))
	for check, f := range found {
		if f.State != stateOK {
			t.Errorf("%s: %+v", check, f)
		}
	}
	wantFinding(t, found, "relay", stateOK, "connect")
	wantFinding(t, found, "clock-relay", stateOK, "agrees")
	wantFinding(t, found, "services", stateOK, "1 at work")
	wantFinding(t, found, "tasks", stateOK, "1 open")
	wantFinding(t, found, "bloat", stateOK, "river_job")
	wantFinding(t, found, "signing-keys", stateOK, "all 2")
}

func TestTheDoctorRunsBesideTheService(t *testing.T) {
	t.Parallel()
	env := serveEnv(dbtest.NewURL(t), simulate(t, klingsim.Config{Seed: 1}))
	launch(t, env, "serve").ready(t)
	said := klingwatch(t, env, "doctor", "--json") // exit code 0
	var last finding
	lines := strings.Split(strings.TrimSpace(said), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil || last.Check != "disk" || !strings.Contains(said, `"1 at work"`) {
		t.Errorf("%v\n%s", err, said)
	}
}

// Whatever a check does, the server lets it write nothing.
func TestTheDoctorCannotWrite(t *testing.T) {
	t.Parallel()
	pool, err := db.OpenReadOnly(t.Context(), dbtest.NewURL(t), 1, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	_, err = pool.Exec(t.Context(), `insert into klingwatch.tasks (task_id, action, action2) values ('t', 'videos', 'text2video')`)
	if err == nil || !strings.Contains(err.Error(), "read-only transaction") {
		t.Errorf("writing: %v", err)
	}
}

func TestWhatTheRelayTellsOfTheKey(t *testing.T) {
	t.Parallel()
	url := dbtest.NewURL(t)
	relay := klingsim.New(klingsim.Config{Seed: 1, APIKey: "another"})
	server := httptest.NewServer(relay)
	defer server.Close()
	wantFinding(t, findings(t, examined(url, server.URL)), "key", stateBad, "refused: HTTP 401, code 1002")
	relay.SetKey("sk-secret-key")
	wantFinding(t, findings(t, examined(url, server.URL)), "key", stateOK, "accepts")
	relay.SetThrottle(true, "")
	wantFinding(t, findings(t, examined(url, server.URL)), "key", stateWarn, "throttled")
	relay.SetThrottle(false, "")
	relay.SetOutage(http.StatusServiceUnavailable)
	wantFinding(t, findings(t, examined(url, server.URL)), "key", stateWarn, "unavailable")
	relay.SetOutage(0)
	s := examined(url, server.URL)
	s.PathPrefix = "/elsewhere"
	wantFinding(t, findings(t, s), "key", stateBad, "misconfigured")
	wantFinding(t, findings(t, s), "relay", stateOK, "answers")
	s.BaseURL = "relay.example"
	wantFinding(t, findings(t, s), "relay", stateBad, "must be like https://")
	s.BaseURL, s.APIKey = server.URL, ""
	wantFinding(t, findings(t, s), "key", stateBad, "no key is set")
	server.Close()
	wantFinding(t, findings(t, examined(url, server.URL)), "relay", stateBad, "connection refused")
	wantFinding(t, findings(t, examined(url, server.URL)), "key", stateBad, "unreachable")
}

func TestAnotherClockIsTold(t *testing.T) {
	t.Parallel()
	relay := klingsim.New(klingsim.Config{Seed: 1})
	for _, test := range []struct {
		ahead       time.Duration
		state, part string
	}{
		{0, stateOK, "agrees"},
		{-90 * time.Second, stateWarn, "behind this machine's"},
		{10 * time.Minute, stateBad, "is 10m ahead of this machine's"},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Date", time.Now().Add(test.ahead+time.Second).UTC().Format(http.TimeFormat))
			relay.ServeHTTP(w, r)
		}))
		wantFinding(t, findings(t, examined(dbtest.NewURL(t), server.URL)), "clock-relay", test.state, test.part)
		server.Close()
	}
}

func TestMigrationsArePendingOrAhead(t *testing.T) {
	t.Parallel()
	url := dbtest.NewURL(t)
	pool := open(t, url)
	prepare(t, pool, `delete from klingwatch.migrations where version = (select max(version) from klingwatch.migrations)`)
	found := findings(t, examined(url, ""))
	wantFinding(t, found, "migrations", stateBad, "1 are pending")
	wantFinding(t, found, "tasks", stateOK, "0 open") // what can be asked is asked
	prepare(t, pool, `insert into klingwatch.migrations (version, name) values (1000, 'later')`)
	wantFinding(t, findings(t, examined(url, "")), "migrations", stateBad, "newer than this klingwatch")
}

func TestOverdueWorkIsFound(t *testing.T) {
	t.Parallel()
	url := dbtest.NewURL(t)
	pool := open(t, url)
	prepare(t, pool, `
		insert into klingwatch.tasks (task_id, action, action2, deadline_at)
		select 't' || i, 'videos', 'text2video', now() + interval '1 day' from generate_series(1, 4) i`)
	wantFinding(t, findings(t, examined(url, "")), "tasks", stateOK, "4 open, none is overdue")

	prepare(t, pool,
		`delete from klingwatch.river_job where args->>'id' = '1'`,
		`update klingwatch.river_job set state = 'running', attempted_at = now(), attempted_by = '{kw7}' where args->>'id' = '2'`)
	wantFinding(t, findings(t, examined(url, "")), "tasks", stateWarn, "2 of 4 open tasks have no job in a living process")

	prepare(t, pool, `update klingwatch.river_job set scheduled_at = now() - interval '5 minutes' where args->>'id' = '3'`)
	wantFinding(t, findings(t, examined(url, "")), "tasks", stateWarn, "1 of 4 open tasks are overdue, task 3 for 5m")

	prepare(t, pool, `update klingwatch.tasks set deadline_at = '0001-01-01' where id = 2`)
	wantFinding(t, findings(t, examined(url, "")), "tasks", stateBad, "2 of 4 open tasks are overdue, task 2 for")
}

func TestReceiversAndWebhooksInTrouble(t *testing.T) {
	t.Parallel()
	url := dbtest.NewURL(t)
	pool := open(t, url)
	for _, receiver := range []string{"https://a.example/hook?token=hidden", "https://b.example/hook", "https://c.example/hook"} {
		if _, err := db.AddEndpoint(t.Context(), pool, db.NewEndpoint{URL: receiver, EventTypes: webhook.Types, Secret: webhook.NewSecret()}); err != nil {
			t.Fatal(err)
		}
	}
	found := findings(t, examined(url, ""))
	wantFinding(t, found, "endpoints", stateOK, "3, none is disabled or fails")
	wantFinding(t, found, "deliveries", stateOK, "0 pending")

	prepare(t, pool,
		`insert into klingwatch.tasks (task_id, action, action2) values ('t', 'videos', 'text2video')`,
		`insert into klingwatch.events (event_id, task, sequence, type, payload) values ('e', 1, 1, 'task.submitted', '{}')`,
		`insert into klingwatch.deliveries (event, endpoint, url, next_attempt_at) values (1, 1, 'u', null), (1, 2, 'u', now() - interval '3 minutes')`,
		`update klingwatch.webhook_endpoints set disabled_at = now(), disabled_reason = 'the receiver answered 410 Gone' where id = 1`,
		`update klingwatch.webhook_endpoints set failing_since = now() - interval '2 hours', last_error = E'http_status: 500\nand more' where id = 2`)
	found = findings(t, examined(url, ""))
	wantFinding(t, found, "endpoints", stateWarn, "endpoint 1 is disabled (the receiver answered 410 Gone), 1 webhooks wait; endpoint 2 fails for 2h (http_status: 500 and more)")
	wantFinding(t, found, "deliveries", stateWarn, "1 of 2 pending webhooks are overdue, delivery 2 for 3m")
	prepare(t, pool, `update klingwatch.deliveries set next_attempt_at = now() - interval '1 hour' where id = 2`)
	wantFinding(t, findings(t, examined(url, "")), "deliveries", stateBad, "delivery 2 for 1h")
}

func TestWhatElseStandsInTheDatabase(t *testing.T) {
	t.Parallel()
	url := dbtest.NewURL(t)
	pool := open(t, url)
	ours := strings.Repeat("k", 32)
	ring, err := keyring.Parse(base64.StdEncoding.EncodeToString([]byte(ours)))
	if err != nil {
		t.Fatal(err)
	}
	if err := ledger.PrepareKeys(t.Context(), pool, ring); err != nil {
		t.Fatal(err)
	}
	prepare(t, pool,
		`insert into klingwatch.tasks (task_id, action, action2) select 't' || i, 'images', 'generations' from generate_series(1, 30) i`,
		`insert into klingwatch.outputs (task, kind, position, url, expires_at) values
			(1, 'image', 0, 'u', now() + interval '2 days'), (1, 'image', 1, 'u', now() + interval '5 days'), (2, 'image', 0, 'u', now() - interval '1 day')`,
		`insert into klingwatch.polling_pauses (credential, reason, probe_at) values ('0badc0de', 'refused: HTTP 401', now() + interval '1 minute')`)
	s := examined(url, "")
	s.PollRate = 2
	found := findings(t, s)
	wantFinding(t, found, "signing-keys", stateBad, "2 of 2 cannot be read")
	wantFinding(t, found, "outputs", stateWarn, "1 files of 1 tasks expire within 3d, the first in 47h")
	wantFinding(t, found, "polling", stateWarn, "polling is paused since")
	wantFinding(t, found, "rate", stateWarn, "30 open tasks at 2 polls per second: a round takes 15s, KLINGWATCH_POLL_INTERVAL is 5s")

	credential, err := s.credential()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.PausePolling(t.Context(), pool, credential.Fingerprint(), "refused: HTTP 401", time.Minute, time.Hour); err != nil {
		t.Fatal(err)
	}
	s.EncryptionKey = base64.StdEncoding.EncodeToString([]byte(ours))
	found = findings(t, s)
	wantFinding(t, found, "signing-keys", stateOK, "all 2 can be read")
	wantFinding(t, found, "polling", stateBad, credential.Fingerprint())
}

func TestAnOpenTransactionHoldsVacuumBack(t *testing.T) {
	t.Parallel()
	url := dbtest.NewURL(t)
	pool := open(t, url)
	if _, err := db.OldestSnapshot(t.Context(), pool); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("with nobody else: %v", err)
	}
	tx, err := open(t, url).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(t.Context()) }()
	if _, err := tx.Exec(t.Context(), `select pg_current_xact_id()`); err != nil {
		t.Fatal(err)
	}
	s, err := db.OldestSnapshot(t.Context(), pool)
	if err != nil || s.Held == nil || !strings.Contains(s.Holder, "klingwatch (klingwatch), idle in transaction") {
		t.Errorf("%+v, %v", s, err)
	}
}

// An embedded server that does not run is started for the while, and nothing of
// it is left running.
func TestTheDoctorLooksAtAnEmbeddedDatabase(t *testing.T) {
	t.Parallel()
	dir, remove, err := dataDir()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = remove() })
	s := examined("", "")
	s.DataDir = filepath.Join(dir, "postgres")
	d, err := openDatabase(t.Context(), s, toolConns, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	beside := findings(t, s)
	wantFinding(t, beside, "disk", stateOK, "are left")
	if err := d.close(); err != nil {
		t.Fatal(err)
	}
	alone := findings(t, s)
	wantFinding(t, alone, "database", stateOK, "answers")
	wantFinding(t, alone, "migrations", stateOK, "none")
	if _, err := os.Stat(filepath.Join(s.DataDir, "data", "postmaster.pid")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the server still runs: %v", err)
	}
}

func TestJudgements(t *testing.T) {
	t.Parallel()
	ago := func(d time.Duration) *time.Duration { return &d }
	good := db.Server{Version: "17.2", Major: 17, Autovacuum: true, Fsync: true, Connections: 97}
	server := func(change func(*db.Server)) db.Server { s := good; change(&s); return s }
	for name, test := range map[string]struct {
		got   finding
		state string
		part  string
	}{
		"good server":       {judgeServer(good), stateOK, "Postgres 17.2"},
		"old server":        {judgeServer(server(func(s *db.Server) { s.Major, s.Version = 13, "13.9" })), stateBad, "13.9 is too old"},
		"standby":           {judgeServer(server(func(s *db.Server) { s.Standby = true })), stateBad, "standby"},
		"no autovacuum":     {judgeServer(server(func(s *db.Server) { s.Autovacuum = false })), stateBad, "without autovacuum"},
		"no fsync":          {judgeServer(server(func(s *db.Server) { s.Fsync = false })), stateBad, "fsync off"},
		"no fsync in dev":   {judgeServer(server(func(s *db.Server) { s.Fsync, s.DataDirectory = false, "/x/klingwatch-dev-1/data" })), stateOK, "fsync is off"},
		"connections":       {judgeConnections(good, 4), stateOK, "enough for 4"},
		"few connections":   {judgeConnections(good, 5), stateWarn, "enough for 4 processes of klingwatch, 5 run"},
		"no connections":    {judgeConnections(server(func(s *db.Server) { s.Others = 90 }), 0), stateWarn, "enough for 0"},
		"rate":              {judgeRate(250, 50, 5*time.Second), stateOK, "a round takes 5s"},
		"low rate":          {judgeRate(251, 50, 5*time.Second), stateWarn, "a round takes 5.02s"},
		"clock":             {judgeClock("the", -time.Second, 0, time.Second, time.Minute), stateOK, "within 1s"},
		"uncertain clock":   {judgeClock("the", 3*time.Second, 2*time.Second, time.Second, time.Minute), stateOK, ""},
		"slow clock":        {judgeClock("the", -3*time.Second, time.Second, time.Second, time.Minute), stateWarn, "3s behind"},
		"wrong clock":       {judgeClock("the", 2*time.Minute, time.Second, time.Second, time.Minute), stateBad, "2m ahead"},
		"table":             {judgeTables([]db.TableHealth{{Name: "tasks", Live: 100_000, Dead: 20_000}}), stateOK, "20000 dead of 120000 rows, vacuumed never"},
		"bloated":           {judgeTables([]db.TableHealth{{Name: "tasks", Live: 100_000, Dead: 60_000, Vacuumed: ago(time.Hour)}}), stateWarn, "vacuumed 1h ago"},
		"no snapshot":       {judgeSnapshot(nil, true), stateOK, "none"},
		"unseen snapshot":   {judgeSnapshot(nil, false), stateOK, "not seen"},
		"short snapshot":    {judgeSnapshot(&db.Snapshot{Held: ago(time.Second), Transactions: 2_000_000}, true), stateOK, "for long"},
		"snapshot":          {judgeSnapshot(&db.Snapshot{Holder: "pid 7", Held: ago(10 * time.Minute)}, true), stateWarn, "pid 7 holds vacuum back for 10m"},
		"long snapshot":     {judgeSnapshot(&db.Snapshot{Holder: "pid 7", Held: ago(3 * time.Hour)}, true), stateBad, "for 3h"},
		"replication slot":  {judgeSnapshot(&db.Snapshot{Holder: "slot s", Transactions: 2_000_000}, true), stateWarn, "2000000 transactions"},
		"disk":              {judgeDisk(5<<20, 50<<30, true), stateOK, "takes 5 MB, 50.0 GB are left"},
		"small disk":        {judgeDisk(5<<30, 1<<30, true), stateWarn, "5.0 GB, 1.0 GB are left"},
		"full disk":         {judgeDisk(5<<20, 1<<20, true), stateBad, "only 1 MB"},
		"unknown disk":      {judgeDisk(5000, 0, false), stateOK, "5 kB"},
		"no answer":         {failed(errors.New("boom")), stateBad, "boom"},
		"unknown key error": {judgeKey(errors.New("boom")), stateBad, "boom"},
	} {
		if test.got.State != test.state || !strings.Contains(test.got.Found, test.part) {
			t.Errorf("%s: %+v, want %s with %q", name, test.got, test.state, test.part)
		}
	}
}
