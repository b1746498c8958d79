package doctor

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
)

func TestMigrationsArePendingOrAhead(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	cfg := deployment(t, pool, "")
	prepare(t, pool, `delete from klingwatch.migrations where version = (select max(version) from klingwatch.migrations)`)
	found := findings(t, cfg)
	wantFinding(t, found, "migrations", Bad, "1 are pending")
	wantFinding(t, found, "tasks", OK, "0 open") // what can be asked is asked
	prepare(t, pool, `insert into klingwatch.migrations (version, name) values (1000, 'later')`)
	wantFinding(t, findings(t, cfg), "migrations", Bad, "newer than this klingwatch")
}

// A login that was made by hand has the rights of the reader, but not its timeouts. The
// test runs alone: all databases of a server have the same roles, and a deployment that is
// well has no such login.
func TestLoginsWithoutTimeoutsAreNamed(t *testing.T) {
	pool := dbtest.New(t)
	login := dbtest.NewRole(t)
	prepare(t, pool, `grant klingwatch_reader to `+login)
	wantFinding(t, findings(t, deployment(t, pool, "")), "roles", Warn, login)
	prepare(t, pool, `select klingwatch.grant_roles()`)
	wantFinding(t, findings(t, deployment(t, pool, "")), "roles", OK, "whoever reads has timeouts")
}

// Who may look, but not at secrets, is told what is out of sight; that is nothing bad. Its
// login has no timeouts either, so the test runs alone.
func TestAReaderIsToldWhatItMayNotSee(t *testing.T) {
	pool := dbtest.New(t)
	login := dbtest.NewRole(t)
	prepare(t, pool, `grant klingwatch_reader to `+login)
	cfg := deployment(t, pool, simulate(t))
	cfg.Database = func(context.Context) (string, error) {
		u, err := url.Parse(pool.Config().ConnString())
		u.User = url.UserPassword(login, dbtest.RolePassword)
		return u.String(), err
	}
	for check, f := range findings(t, cfg) {
		hidden := slices.Contains([]string{"relays", "jobs", "signing-keys"}, check)
		if f.State == Bad || hidden != (f.State == Skipped) {
			t.Errorf("%+v", f)
		}
	}
}

func TestJudgementsOfTheDatabase(t *testing.T) {
	t.Parallel()
	const perProcess = 21
	if f := judgeDatabase("", 0, errors.New("not a directory"), true); f.State != Bad || !strings.Contains(f.Todo, "KLINGWATCH_DATA_DIR") {
		t.Errorf("an embedded database that cannot be started: %+v", f)
	}
	good := db.Server{Version: "17.2", Major: 17, Autovacuum: true, Fsync: true, Connections: 97}
	server := func(change func(*db.Server)) db.Server { s := good; change(&s); return s }
	judged(t, map[string]judgement{
		"connected":       {judgeDatabase("app on db.example:5432, as role kw,", 1234*time.Microsecond, nil, true), OK, "app on db.example:5432, as role kw, answers after 1.2 ms"},
		"no database":     {judgeDatabase("", 0, ErrNoDatabase, true), Warn, "no embedded database runs"},
		"unreachable":     {judgeDatabase("", 0, errors.New("boom"), false), Bad, "boom"},
		"good server":     {judgeServer(good), OK, "Postgres 17.2"},
		"old server":      {judgeServer(server(func(s *db.Server) { s.Major, s.Version = 13, "13.9" })), Bad, "13.9 is too old"},
		"standby":         {judgeServer(server(func(s *db.Server) { s.Standby = true })), Bad, "standby"},
		"read only":       {judgeServer(server(func(s *db.Server) { s.ReadOnly = true })), Bad, "accepts no writes"},
		"no autovacuum":   {judgeServer(server(func(s *db.Server) { s.Autovacuum = false })), Bad, "without autovacuum"},
		"no fsync":        {judgeServer(server(func(s *db.Server) { s.Fsync = false })), Bad, "fsync off"},
		"no fsync in dev": {judgeServer(server(func(s *db.Server) { s.Fsync, s.Throwaway = false, true })), OK, "fsync is off"},
		"connections":     {judgeConnections(good, 4, perProcess), OK, "enough for 4"},
		"few connections": {judgeConnections(good, 5, perProcess), Warn, "enough for 4 processes of klingwatch, 5 run"},
		"good roles":      {judgeRoles(nil, nil), OK, "whoever reads has timeouts"},
		"missing roles":   {judgeRoles([]string{"klingwatch_reader"}, []string{"bi"}), Warn, "missing: klingwatch_reader"},
		"endless roles":   {judgeRoles(nil, []string{"bi", "looker"}), Warn, "hold vacuum back for ever: bi, looker"},
		"no connections":  {judgeConnections(server(func(s *db.Server) { s.Others = 90 }), 0, perProcess), Warn, "enough for 0"},
	})
}
