package main

import (
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/klingapi/klingsim"
)

// What a process knows of a task that it polls is written nowhere: show asks it.
func TestShowTellsWhatIsGoingOnNow(t *testing.T) {
	t.Parallel()
	url := dbtest.NewURL(t)
	pool := open(t, url)
	env := serveEnv(url, simulate(t, klingsim.Config{Seed: 1, Lifetime: time.Hour}))
	env = append(env, "KLINGWATCH_POLL_INTERVAL=1s")
	serve := launch(t, env, "serve")
	serve.ready(t)
	insert(t, pool, 1, "never-", "https://app.example/hook")
	polls := func(out string) string {
		if found := regexp.MustCompile(`(?m)^polls +(\d+)$`).FindStringSubmatch(out); found != nil {
			return found[1]
		}
		return ""
	}
	going := regexp.MustCompile(`(?m)^now +(polled by kw1, every ~1s, last asked \d+s ago, next in \d+s|kw1 is asking the relay, last asked \d+s ago|polled by kw1, due since 0s and waiting for its turn, last asked \d+s ago)$`)
	var first string
	await(t, "show knows of polls that are written nowhere", func() bool {
		out := klingwatch(t, env, "show", "1")
		if !going.MatchString(out) {
			return false
		}
		if first == "" {
			first = polls(out)
		}
		return polls(out) != first
	})
	if written := count(t, pool, `select polls from klingwatch.tasks`); written > 3 {
		t.Errorf("%d polls are written: the test proves nothing", written)
	}
	if out := klingwatch(t, env, "show", "1"); !regexp.MustCompile(`(?m)^deadline +\d{4}-.* \(in \d+h\)$`).MatchString(out) {
		t.Errorf("no deadline:\n%s", out)
	}
	await(t, "the list knows of them as well", func() bool {
		found := regexp.MustCompile(`never-\d+ +\w+ +\d+s +(\d+)\b`).FindStringSubmatch(klingwatch(t, env, "list"))
		if found == nil {
			return false
		}
		polls, err := strconv.Atoi(found[1])
		return err == nil && polls > count(t, pool, `select polls from klingwatch.tasks`)
	})
	serve.interrupt(t)
	if out := klingwatch(t, env, "show", "1"); going.MatchString(out) {
		t.Errorf("nobody polls it:\n%s", out)
	}
}
