package api

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/operate"
)

// addressOf is a path with a thing in it that is there in no test.
func addressOf(r Route) string {
	path := strings.NewReplacer("{id}", "424242", "{task_id}", "nothing", "{task}", "424242", "{kind}", "video", "{position}", "0").Replace(r.Path)
	if strings.HasPrefix(path, "/v1/reports") {
		return strings.Replace(path, "{name}", "daily", 1)
	}
	return strings.Replace(path, "{name}", "nothing", 1)
}

// Whether a key passes follows from the specification alone, which says for each
// operation what scope it needs, and whether it concerns all apps.
func TestEveryOperationWithEveryKindOfKey(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.keys["revoked"] = s.newKey(operate.NewAPIKey{Name: "revoked", Scope: db.ScopeAdmin})
	if err := operate.RevokeAPIKey(t.Context(), s.pool, s.keys["revoked"][3:11]); err != nil {
		t.Fatal(err)
	}
	s.keys["expired"] = s.newKey(operate.NewAPIKey{Name: "expired", Scope: db.ScopeAdmin, Life: time.Hour})
	s.exec(`update klingwatch.api_keys set expires_at = now() where name = 'expired'`)
	s.keys["unknown"] = "kw_" + strings.Repeat("a", 55)
	refusal := func(key, scope string, allApps bool) (int, kind) {
		holds := map[string]string{"app": db.ScopeWrite}[key]
		switch {
		case slices.Contains(db.Scopes, key):
			holds = key
		case holds == "":
			return http.StatusUnauthorized, unauthorized
		}
		switch {
		case slices.Index(db.Scopes, holds) < slices.Index(db.Scopes, scope):
			return http.StatusForbidden, scopeMissing
		case key == "app" && allApps:
			return http.StatusForbidden, appRestricted
		}
		return 0, ""
	}
	s.api.operations(func(r Route, op *huma.Operation) {
		scope, _ := op.Extensions["x-scope"].(string)
		if !slices.Contains(db.Scopes, scope) || len(op.Security) == 0 {
			t.Errorf("%v: the scope is %q, the security %v", r, scope, op.Security)
		}
		if r.Method != http.MethodGet && scope == db.ScopeRead {
			t.Errorf("%v: a key that only reads may do it", r)
		}
		allApps, _ := op.Extensions["x-all-apps"].(bool)
		for _, key := range []string{"", "unknown", "expired", "revoked", db.ScopeRead, db.ScopeWrite, db.ScopeAdmin, "app"} {
			got := s.send(scenario{request: r.Method + " " + addressOf(r), key: key})
			status, why := refusal(key, scope, allApps)
			if status == 0 && (got.StatusCode == http.StatusUnauthorized || got.StatusCode == http.StatusForbidden) {
				t.Errorf("%v with the key %q is refused: %s", r, key, got.body)
			}
			if status != 0 && (got.StatusCode != status || !strings.Contains(got.body, problemsAt+string(why))) {
				t.Errorf("%v with the key %q: %d %s, want %d %s", r, key, got.StatusCode, got.body, status, why)
			}
			if challenge := got.Header.Get("WWW-Authenticate"); (status == http.StatusUnauthorized || why == scopeMissing) != (challenge != "") ||
				why == scopeMissing && !strings.Contains(challenge, fmt.Sprintf("scope=%q", scope)) {
				t.Errorf("%v with the key %q: the challenge is %q", r, key, challenge)
			}
		}
	})
}

// What an app owns is in no answer that another app gets, and is not changed by it.
func TestAnAppMeetsNothingOfAnother(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.keys["foreign"] = s.newKey(operate.NewAPIKey{Name: "foreign", Scope: db.ScopeWrite, App: "shop"})
	s.exec(`insert into klingwatch.webhook_endpoints (url, event_types) values ('https://foreign.example/hook', '{task.succeeded}')`)
	s.ended("foreign-1", "shop")
	s.exec(`update klingwatch.tasks set external_id = 'foreign', metadata = '{"of": "foreign"}', result = '{"of": "foreign"}', status_message = 'foreign'`)
	s.exec(`insert into klingwatch.tasks (task_id, action, action2, app) values ('foreign-2', 'videos', 'text2video', 'shop')`)
	s.try(scenario{name: "an action of its own", request: "POST /v1/actions", key: "foreign", body: `{"action": "cancel", "filter": {"action": "videos"}, "expected": 1}`, status: 202})
	before := s.contents()
	s.api.operations(func(r Route, op *huma.Operation) {
		for _, id := range []string{"1", "2"} {
			path := strings.NewReplacer("{id}", id, "{task_id}", "foreign-"+id, "{name}", "daily", "{task}", id, "{kind}", "video", "{position}", "0").Replace(r.Path)
			for _, query := range []string{"", "?expand=outputs", "?expand=events", "?app=shop", "?after=0"} {
				got := s.send(scenario{request: r.Method + " " + path + query, key: "app"})
				if strings.Contains(got.body, "foreign") {
					t.Errorf("%s %s%s: %s", r.Method, path, query, got.body)
				}
				if (strings.Contains(r.Path, "{id}") || strings.Contains(r.Path, "{task}")) && got.StatusCode < 400 {
					t.Errorf("%s %s%s: HTTP %d", r.Method, path, query, got.StatusCode)
				}
			}
		}
	})
	if after := s.contents(); after != before {
		t.Errorf("it changed\n%s\nto\n%s", before, after)
	}
}

// contents is what the database holds of tasks and what belongs to them.
func (s *service) contents() (text string) {
	s.Helper()
	for _, table := range []string{"tasks", "events", "deliveries", "outputs", "bulk_actions", "webhook_endpoints"} {
		var rows string
		if err := s.pool.QueryRow(s.Context(), `select coalesce(string_agg(t::text, chr(10) order by t::text), '') from klingwatch.`+table+` t`).Scan(&rows); err != nil {
			s.Fatal(err)
		}
		text += table + "\n" + rows + "\n"
	}
	return text
}
