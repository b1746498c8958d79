package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/doctor"
	"github.com/klingwatch/klingwatch/klingapi/klingsim"
)

func TestTheDoctorRunsBesideTheService(t *testing.T) {
	t.Parallel()
	env := serveEnv(dbtest.NewURL(t), simulate(t, klingsim.Config{Seed: 1}))
	launch(t, env, "serve").ready(t)
	said := klingwatch(t, env, "doctor", "--json") // exit code 0
	var last doctor.Finding
	lines := strings.Split(strings.TrimSpace(said), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil || last.Check != "disk" || !strings.Contains(said, `"1 at work"`) {
		t.Errorf("%v\n%s", err, said)
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
	s := settings{DataDir: filepath.Join(dir, "postgres"), PollInterval: time.Second, PollRate: 1, PollTimeout: time.Second, TaskDeadline: time.Hour}
	d, err := openDatabase(t.Context(), s, db.Open, toolConns, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	beside := findings(t, s)
	if f := beside["disk"]; !strings.HasSuffix(f.Found, " are left") {
		t.Errorf("beside a server that runs: %+v", f)
	}
	if err := d.close(); err != nil {
		t.Fatal(err)
	}
	alone := findings(t, s)
	if alone["database"].State != doctor.OK || alone["migrations"].State != doctor.OK {
		t.Errorf("without one: %+v", alone)
	}
	if _, err := os.Stat(filepath.Join(s.DataDir, "data", "postmaster.pid")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the server still runs: %v", err)
	}
}

// findings returns what the doctor finds with the settings, by check.
func findings(t *testing.T, s settings) map[string]doctor.Finding {
	t.Helper()
	found := map[string]doctor.Finding{}
	cfg, done := s.examination(func(string) {})
	defer done()
	if err := doctor.Examine(t.Context(), cfg, func(f doctor.Finding) { found[f.Check] = f }); err != nil {
		t.Fatal(err)
	}
	return found
}
