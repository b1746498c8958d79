package doctor

import (
	"context"
	"errors"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/klingapi"
	"github.com/klingwatch/klingwatch/klingapi/klingsim"
	"github.com/klingwatch/klingwatch/operate"
)

const secretKey = "sk-secret-key"

// deployment is one that is well, as far as its database and its relay are; a
// relay without a URL is not set.
func deployment(t *testing.T, pool *pgxpool.Pool, relayURL string) Config {
	t.Helper()
	cfg := Config{
		Database:     func(context.Context) (string, error) { return pool.Config().ConnString(), nil },
		PollInterval: 5 * time.Second, PollRate: 50, PollTimeout: 5 * time.Second, TaskDeadline: 24 * time.Hour,
		Limits:       db.FigureLimits{Overdue: time.Minute, Expiring: 3 * 24 * time.Hour},
		ProcessConns: 21, Version: "v1.2.3", UserAgent: "klingwatch/test",
	}
	return cfg.asking(t, relayURL, klingapi.DefaultPathPrefix)
}

// asking is the same deployment with another relay.
func (c Config) asking(t *testing.T, url, prefix string) Config {
	t.Helper()
	c.BaseURL, c.TaskPath = url, klingapi.PathUnder(prefix)
	c.Relay, c.RelayErr = klingapi.New(klingapi.Config{BaseURL: url, TaskPath: c.TaskPath, Credential: klingapi.StaticKey(secretKey), Timeout: c.PollTimeout})
	if c.Relay != nil {
		t.Cleanup(c.Relay.Close)
	}
	return c
}

// simulate starts a relay that accepts the key.
func simulate(t *testing.T) (url string) {
	t.Helper()
	server := httptest.NewServer(klingsim.New(klingsim.Config{Seed: 1, APIKey: secretKey}))
	t.Cleanup(server.Close)
	return server.URL
}

// findings examines and returns what each check found.
func findings(t *testing.T, cfg Config) map[string]Finding {
	t.Helper()
	found := map[string]Finding{}
	err := Examine(t.Context(), cfg, func(f Finding) {
		if _, twice := found[f.Check]; twice {
			t.Errorf("%s is reported twice", f.Check)
		}
		if (f.State == Warn || f.State == Bad) != (f.Todo != "") || f.Found == "" {
			t.Errorf("%+v", f)
		}
		if strings.Contains(f.Found+f.Todo, secretKey) {
			t.Errorf("a secret in %+v", f)
		}
		found[f.Check] = f
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// wantFinding compares a finding with a state and with a part of what was found.
func wantFinding(t *testing.T, found map[string]Finding, check string, state State, part string) {
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
	pool := dbtest.New(t)
	if _, err := operate.VerificationKeys(t.Context(), pool, nil); err != nil { // makes them
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), pool.Config().ConnString())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := db.ClaimInstance(t.Context(), conn); err != nil { // as a living process does
		t.Fatal(err)
	}
	prepare(t, pool, `insert into klingwatch.tasks (task_id, action, action2) values ('ok-1', 'videos', 'text2video')`)
	relay := simulate(t)
	found := findings(t, deployment(t, pool, relay))
	for check, f := range found {
		if f.State != OK {
			t.Errorf("%s: %+v", check, f)
		}
	}
	wantFinding(t, found, "relay", OK, "connect")
	wantFinding(t, found, "clock-relay", OK, "agrees")
	wantFinding(t, found, "services", OK, "1 at work")
	wantFinding(t, found, "tasks", OK, "1 open")
	wantFinding(t, found, "bloat", OK, "river_job")
	wantFinding(t, found, "locks", OK, "or by nobody")
	wantFinding(t, found, "indexes", OK, "all are valid")
	wantFinding(t, found, "notes", OK, "0 %")
	wantFinding(t, found, "signing-keys", OK, "all 2")
}

// Whatever a check does, the server lets it write nothing.
func TestTheDoctorCannotWrite(t *testing.T) {
	t.Parallel()
	x := &examination{Config: deployment(t, dbtest.New(t), "")}
	defer x.close()
	if _, err := x.open(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err := x.pool.Exec(t.Context(), `insert into klingwatch.tasks (task_id, action, action2) values ('t', 'videos', 'text2video')`)
	if err == nil || !strings.Contains(err.Error(), "read-only transaction") {
		t.Errorf("writing: %v", err)
	}
}

// Without a database the others are checked all the same, and the reason is
// given once.
func TestChecksWithoutADatabaseAreSkipped(t *testing.T) {
	t.Parallel()
	relay := simulate(t)
	for name, test := range map[string]struct {
		err   error
		state State
		part  string
	}{
		"none yet": {ErrNoDatabase, Warn, "no embedded database runs"},
		"broken":   {errors.New("starting PostgreSQL: no room\nleft"), Bad, "no room left"},
	} {
		cfg := deployment(t, nil, relay)
		cfg.Database = func(context.Context) (string, error) { return "", test.err }
		found := findings(t, cfg)
		wantFinding(t, found, "database", test.state, test.part)
		wantFinding(t, found, "key", OK, "accepts")
		skipped := 0
		for _, f := range found {
			if f.State == Skipped && f.Found == "there is no database to ask; see database" {
				skipped++
			}
		}
		if skipped != len(found)-6 { // database, relay, clock-relay, key, archive and films are not
			t.Errorf("%s: %d of %d checks are skipped", name, skipped, len(found))
		}
	}
}

// A server that accepts connections and says nothing holds up neither the checks
// nor a caller who gives up.
func TestTheDoctorStopsWhenItsContextEnds(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	cfg := deployment(t, nil, "http://"+silent.Addr().String())
	cfg.Database = func(context.Context) (string, error) { return "postgres://u:p@" + silent.Addr().String() + "/x", nil }
	ctx, cancel := context.WithCancel(t.Context())
	accepted, err := make(chan error, 3), error(nil)
	go func() {
		for range 3 { // the pool, the start page, the key
			_, err := silent.Accept()
			accepted <- err
		}
		cancel()
	}()
	err = Examine(ctx, cfg, func(f Finding) { t.Errorf("reported after the end: %+v", f) })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Examine: %v", err)
	}
	for range 3 {
		if err := <-accepted; err != nil {
			t.Error(err)
		}
	}
}
