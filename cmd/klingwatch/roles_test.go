package main

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/klingapi/klingsim"
)

// loginIn returns the URL of a database as a login that an administrator made in one of
// our roles.
func loginIn(t *testing.T, databaseURL, role string) string {
	t.Helper()
	login := dbtest.NewRole(t)
	if _, err := open(t, databaseURL).Exec(t.Context(), `grant `+role+` to `+login); err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(login, dbtest.RolePassword)
	return u.String()
}

// eachCan are the commands that each role is for, as a person types them.
var eachCan = map[string][]string{
	"klingwatch_producer": {"track videos/text2video p1 p2", "track videos/text2video p1"},
	"klingwatch_reader": {
		"list", "list --relay default", "show 1", "endpoints list", "deliveries list", "deliveries show 1", "bulk list", "relays list", "migrate --check",
	},
	"klingwatch_operator": {
		"list", "show 1", "endpoints list", "deliveries list", "deliveries show 1", "relays list", "migrate --check",
		"retry --since 1h --yes", "bulk list", "bulk stop 1", "retry 1",
		"deliveries redeliver 1", "deliveries redeliver --since 1h --yes", "deliveries cancel 1",
		"endpoints disable 1", "endpoints enable 1", "cancel 2",
	},
}

func TestEachRoleCanUseItsCommands(t *testing.T) {
	t.Parallel()
	for role, lines := range eachCan {
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			databaseURL := dbtest.NewURL(t)
			fill(t, databaseURL)
			env := append(slices.Clone(anyRelay), "DATABASE_URL="+loginIn(t, databaseURL, role))
			for _, line := range lines {
				if strings.HasPrefix(line, "cancel") { // a service does that for a role that may not write tasks
					launch(t, serveEnv(databaseURL, simulate(t, klingsim.Config{Seed: 1})), "serve").ready(t)
				}
				p := launch(t, env, strings.Fields(line)...)
				if code, stderr := p.ended(t); code != exitOK {
					t.Errorf("%s: %s: exit code %d\n%s\n%s", role, line, code, stderr, p.stdout())
				}
			}
		})
	}
}

// fill writes a task that has failed, with its webhook, and one that is open.
func fill(t *testing.T, databaseURL string) {
	t.Helper()
	_, err := open(t, databaseURL).Exec(t.Context(), `
		insert into klingwatch.webhook_endpoints (url, event_types) values ('https://app.example/hook', '{task.failed}');
		insert into klingwatch.tasks (task_id, action, action2, status, finished_at) values ('t1', 'videos', 'text2video', 'failed', now());
		insert into klingwatch.tasks (task_id, action, action2) values ('t2', 'videos', 'text2video');
		insert into klingwatch.events (event_id, task, sequence, type, payload) values ('msg_1', 1, 1, 'task.failed', '{}');
		insert into klingwatch.deliveries (event, endpoint, url) values (1, 1, 'https://app.example/hook')`)
	if err != nil {
		t.Fatal(err)
	}
}
