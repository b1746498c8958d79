package main

import (
	"encoding/json"
	"strings"
	"testing"

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
