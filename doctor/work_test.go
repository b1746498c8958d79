package doctor

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/keyring"
	"github.com/klingwatch/klingwatch/migrations"
	"github.com/klingwatch/klingwatch/operate"
)

func TestOverdueWorkIsFound(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	cfg := deployment(t, pool, "")
	prepare(t, pool, `
		insert into klingwatch.tasks (task_id, action, action2, deadline_at)
		select 't' || i, 'videos', 'text2video', now() + interval '1 day' from generate_series(1, 4) i`)
	wantFinding(t, findings(t, cfg), "tasks", OK, "4 open, none is overdue")

	prepare(t, pool,
		`delete from klingwatch.river_job where args->>'id' = '1'`,
		`update klingwatch.river_job set state = 'running', attempted_at = now(), attempted_by = '{kw7}' where args->>'id' = '2'`)
	wantFinding(t, findings(t, cfg), "tasks", Warn, "2 of 4 open tasks have no job in a living process")

	prepare(t, pool, `update klingwatch.river_job set scheduled_at = now() - interval '5 minutes' where args->>'id' = '3'`)
	wantFinding(t, findings(t, cfg), "tasks", Warn, "1 of 4 open tasks are overdue, task 3 for 5m")

	prepare(t, pool, `update klingwatch.tasks set deadline_at = '0001-01-01' where id = 2`)
	wantFinding(t, findings(t, cfg), "tasks", Bad, "2 of 4 open tasks are overdue, task 2 for")
}

func TestWorkThatFailsAgainAndAgainIsFound(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	cfg := deployment(t, pool, "")
	prepare(t, pool, `insert into klingwatch.tasks (task_id, action, action2) values ('t', 'videos', 'text2video')`)
	wantFinding(t, findings(t, cfg), "jobs", OK, "none fails again and again")
	prepare(t, pool, `
		update klingwatch.river_job
		set state = 'retryable', attempt = 3, errors = array_fill(jsonb_build_object('at', now(), 'attempt', 1, 'error', E'a trigger\nsays no', 'trace', ''), array[3])`)
	wantFinding(t, findings(t, cfg), "jobs", Bad, "1 fail again and again, the newest is poll 1: a trigger says no")
}

func TestReceiversAndWebhooksInTrouble(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	cfg := deployment(t, pool, "")
	for _, receiver := range []string{"https://a.example/hook?token=hidden", "https://b.example/hook", "https://c.example/hook"} {
		if _, err := operate.AddEndpoint(t.Context(), pool, nil, operate.NewEndpoint{URL: receiver, Events: []string{"all"}}); err != nil {
			t.Fatal(err)
		}
	}
	found := findings(t, cfg)
	wantFinding(t, found, "endpoints", OK, "3, none is disabled or fails")
	wantFinding(t, found, "deliveries", OK, "0 pending")

	prepare(t, pool,
		`insert into klingwatch.tasks (task_id, action, action2) values ('t', 'videos', 'text2video')`,
		`insert into klingwatch.events (event_id, task, sequence, type, payload) values ('e', 1, 1, 'task.submitted', '{}')`,
		`insert into klingwatch.deliveries (event, endpoint, url, next_attempt_at) values (1, 1, 'u', null), (1, 2, 'u', now() - interval '3 minutes')`,
		`update klingwatch.webhook_endpoints set disabled_at = now(), disabled_reason = 'the receiver answered 410 Gone' where id = 1`,
		`update klingwatch.webhook_endpoints set failing_since = now() - interval '2 hours', last_error = E'http_status: 500\nand more' where id = 2`)
	found = findings(t, cfg)
	wantFinding(t, found, "endpoints", Warn, "endpoint 1 is disabled (the receiver answered 410 Gone), 1 webhooks wait; endpoint 2 fails for 2h (http_status: 500 and more)")
	wantFinding(t, found, "deliveries", Warn, "1 of 2 pending webhooks are overdue, delivery 2 for 3m")
	prepare(t, pool, `update klingwatch.deliveries set next_attempt_at = now() - interval '1 hour' where id = 2`)
	wantFinding(t, findings(t, cfg), "deliveries", Bad, "delivery 2 for 1h")
}

func TestWhatElseStandsInTheDatabase(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	cfg := deployment(t, pool, "http://127.0.0.1:1")
	ring, err := keyring.Parse(base64.StdEncoding.EncodeToString([]byte(strings.Repeat("k", 32))))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := operate.VerificationKeys(t.Context(), pool, ring); err != nil { // makes them
		t.Fatal(err)
	}
	prepare(t, pool,
		`insert into klingwatch.tasks (task_id, action, action2) select 't' || i, 'images', 'generations' from generate_series(1, 30) i`,
		`insert into klingwatch.outputs (task, kind, position, url, expires_at) values
			(1, 'image', 0, 'u', now() + interval '2 days'), (1, 'image', 1, 'u', now() + interval '5 days'), (2, 'image', 0, 'u', now() - interval '1 day')`,
		`insert into klingwatch.polling_pauses (credential, reason, paused_at, probe_at) values ('0badc0de', 'refused: HTTP 401', now() - interval '150 minutes', now() + interval '1 minute')`,
		`insert into klingwatch.relays (name, base_url, key_source, credential) values ('default', 'http://127.0.0.1:1', 'settings', '`+cfg.Relay.Credential()+`')`,
		`insert into klingwatch.relays (name, base_url, key_source, key_file, credential) values ('second', 'http://127.0.0.1:1', 'key_file', '/nowhere', '0badc0de')`)
	cfg.PollRate = 2
	found := findings(t, cfg)
	wantFinding(t, found, "signing-keys", Bad, "2 of 2 cannot be read")
	wantFinding(t, found, "outputs", OK, "1 files of 1 tasks expire within 3d, the first in 47h")
	wantFinding(t, found, "polling", Bad, "second: paused for 2h: the relay refuses the credential 0badc0de: refused: HTTP 401")
	wantFinding(t, found, "relays", Bad, "second: cannot be polled from here: ")
	wantFinding(t, found, "rate", Warn, "30 open tasks at 2 polls per second: a round takes 15s, KLINGWATCH_POLL_INTERVAL is 5s")

	if _, err := db.PausePolling(t.Context(), pool, cfg.Relay.Credential(), "refused: HTTP 401", time.Minute, time.Hour, true); err != nil {
		t.Fatal(err)
	}
	cfg.Keyring = ring
	found = findings(t, cfg)
	wantFinding(t, found, "signing-keys", OK, "all 2 can be read")
	wantFinding(t, found, "polling", Bad, "the relay refuses the credential "+cfg.Relay.Credential())
}

// Sessions of a role without rights count as no process, and are named.
func TestStrangersThatHoldLocksAreNamed(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	cfg := pool.Config().ConnConfig
	cfg.User, cfg.Password = dbtest.NewRole(t), dbtest.RolePassword
	stranger, err := pgx.ConnectConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close(t.Context())
	if _, err := stranger.Exec(t.Context(), `select pg_advisory_lock(1802268263, slot), pg_advisory_lock($1) from generate_series(1, 99) slot`, migrations.LockKey); err != nil {
		t.Fatal(err)
	}
	found := findings(t, deployment(t, pool, ""))
	wantFinding(t, found, "services", Warn, "no process works on this database")
	wantFinding(t, found, "locks", Warn, fmt.Sprintf("session %d of role %s holds 100 of klingwatch's locks without rights in its schema, that of migrations among them", stranger.PgConn().PID(), cfg.User))
	if todo := found["locks"].Todo; !strings.Contains(todo, fmt.Sprintf("run: select pg_terminate_backend(%d)", stranger.PgConn().PID())) {
		t.Errorf("what to do: %s", todo)
	}
}

func TestJudgementsOfTheWork(t *testing.T) {
	t.Parallel()
	now := time.Now()
	judged(t, map[string]judgement{
		"no pause":          {judgePause(nil, true), OK, "not paused"},
		"pause":             {judgePause(&db.Pause{Credential: "c", Reason: "refused", PausedAt: now.Add(-90 * time.Second), ProbeAt: now.Add(30500 * time.Millisecond)}, true), Bad, "paused for 1m: the relay refuses the credential c: refused; the next probe is in 30s"},
		"probe that is due": {judgePause(&db.Pause{PausedAt: now, ProbeAt: now.Add(-time.Minute)}, false), Bad, "the next probe is in 0s"},
		"rate":              {judgeRate(250, 50, 5*time.Second), OK, "a round takes 5s"},
		"low rate":          {judgeRate(251, 50, 5*time.Second), Warn, "a round takes 5.02s"},
		"late":              {judgeBacklog(db.Backlog{Open: 3, Overdue: 1, Latest: 2, LatestBy: 10 * time.Minute}), Warn, "task 2 for 10m"},
		"very late":         {judgeBacklog(db.Backlog{Open: 3, Overdue: 1, Latest: 2, LatestBy: 11 * time.Minute}), Bad, "task 2 for 11m"},
	})
}
