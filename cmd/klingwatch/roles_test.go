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
	"klingwatch_producer": {
		"track videos/text2video p1 p2", "track videos/text2video p1", "list", "list --relay default --json", "show p1", "show 1", "retry 1", "migrate --check", "cancel p2",
	},
	"klingwatch_reader": {
		"list", "list --relay default", "show 1", "endpoints list", "deliveries list", "deliveries show 1", "bulk list", "relays list", "outputs list", "outputs list --state lost", "migrate --check",
	},
	"klingwatch_operator": {
		"list", "show 1", "endpoints list", "deliveries list", "deliveries show 1", "relays list", "migrate --check",
		"retry --since 1h --yes", "outputs archive --since 1h --yes", "bulk list", "bulk stop 1", "retry 1",
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

// What a role may not do is refused in one line, which names the role that it takes.
func TestACommandThatARoleMayNotUseNamesTheRoleThatItNeeds(t *testing.T) {
	t.Parallel()
	databaseURL := dbtest.NewURL(t)
	fill(t, databaseURL)
	app, reader := loginIn(t, databaseURL, "klingwatch_producer"), loginIn(t, databaseURL, "klingwatch_reader")
	for _, test := range []struct{ as, line, want string }{
		{app, "track videos/text2video t2", `task "t2" was refused, nothing was tracked: it is tracked already, by another app`},
		{app, "show 2", `no task has the id "2"`},
		{app, "retry --since 1d --yes", "a role in klingwatch_operator"},
		{app, "cancel --relay default --yes", "a role in klingwatch_operator"},
		{app, "list --relay unknown", "there is no relay unknown"},
		{app, "endpoints list", "a role in klingwatch_reader"},
		{app, "deliveries show 1", "a role in klingwatch_reader"},
		{app, "bulk list", "a role in klingwatch_reader"},
		{app, "relays list", "a role in klingwatch_reader"},
		{app, "keys show", "only the owner of the tables may"},
		{reader, "outputs link 1 video", "only the owner of the tables may"},
		{reader, "track videos/text2video t3", "a role in klingwatch_producer"},
		{reader, "retry 1", "a role in klingwatch_operator"},
		{reader, "cancel 2", "a role in klingwatch_operator"},
		{reader, "endpoints disable 1", "a role in klingwatch_operator"},
	} {
		p := launch(t, append(slices.Clone(anyRelay), "DATABASE_URL="+test.as), strings.Fields(test.line)...)
		code, stderr := p.ended(t)
		if code != exitError || !strings.Contains(stderr, test.want) || strings.Contains(stderr, "\n") || p.stdout() != "" {
			t.Errorf("%s: exit code %d\n%s\n%s", test.line, code, stderr, p.stdout())
		}
	}
	p := launch(t, append(slices.Clone(anyRelay), "DATABASE_URL="+reader), "retry", "--since", "1d", "--dry-run")
	if code, stderr := p.ended(t); code != exitOK || p.stdout() != "1 task is chosen\n" {
		t.Errorf("a dry run: exit code %d\n%s\n%s", code, stderr, p.stdout())
	}
}

// fill writes a task that has failed, with its webhook, and one that is open.
func fill(t *testing.T, databaseURL string) {
	t.Helper()
	_, err := open(t, databaseURL).Exec(t.Context(), `
		insert into klingwatch.webhook_endpoints (url, event_types) values ('https://app.example/hook', '{task.failed}');
		insert into klingwatch.tasks (task_id, action, action2, status, finished_at, app) values ('t1', 'videos', 'text2video', 'failed', now(), '');
		insert into klingwatch.tasks (task_id, action, action2) values ('t2', 'videos', 'text2video');
		insert into klingwatch.events (event_id, task, sequence, type, payload) values ('msg_1', 1, 1, 'task.failed', '{}');
		insert into klingwatch.deliveries (event, endpoint, url) values (1, 1, 'https://app.example/hook');
		insert into klingwatch.api_keys (id, name, hash, scope) values ('abcdefgh', 'someone', sha256('a key'), 'read')`)
	if err != nil {
		t.Fatal(err)
	}
}
