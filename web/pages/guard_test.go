package pages_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/operate"
	"github.com/klingwatch/klingwatch/web/pages"
)

// addressOf is a path with a thing in it that is there in no test.
func addressOf(pattern string) (method, path string) {
	method, path, _ = strings.Cut(pattern, " ")
	if path == "" {
		method, path = http.MethodGet, "/nothing/of/ours"
	}
	return method, strings.NewReplacer(
		"{$}", "", "{id}", "424242", "{token}", "nothing", "{name}", "nothing", "{task}", "424242", "{kind}", "video", "{position}", "0", "{path...}", "",
	).Replace(path)
}

// Whether a person passes follows from the route alone.
func TestEveryRouteWithEveryKindOfKey(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.keys["expired"] = s.newKey(operate.NewAPIKey{Name: "expired", Scope: db.ScopeAdmin, Life: time.Hour})
	s.keys["revoked"] = s.newKey(operate.NewAPIKey{Name: "revoked", Scope: db.ScopeAdmin})
	people := map[string]*person{"nobody": s.stranger()}
	for name := range s.keys {
		people[name] = s.as(name)
	}
	s.exec(`update klingwatch.api_keys set expires_at = now() where name = 'expired'`)
	s.exec(`update klingwatch.api_keys set revoked_at = now() where name = 'revoked'`)
	for _, route := range s.pages.Routes() {
		method, path := addressOf(route.Pattern)
		if method == http.MethodPost && route.Scope == db.ScopeRead {
			t.Errorf("%s: a key that only reads may do it", route.Pattern)
		}
		for name, person := range people {
			if path == "/logout" {
				continue // it would change who the next one is
			}
			got := person.send(method, path+map[string]string{"/live": "?view=nothing"}[path], nil)
			scope := map[string]string{"app": db.ScopeWrite, "nobody": "", "expired": "", "revoked": ""}[name]
			if slices.Contains(db.Scopes, name) {
				scope = name
			}
			refused := got.StatusCode == http.StatusForbidden
			toLogin := got.StatusCode == http.StatusSeeOther && strings.HasPrefix(got.Header.Get("Location"), "/login") || got.StatusCode == http.StatusUnauthorized
			switch {
			case route.Scope == "":
				if refused || toLogin && path != "/login" {
					t.Errorf("%s as %s: HTTP %d, but it is open", route.Pattern, name, got.StatusCode)
				}
			case scope == "":
				if !toLogin {
					t.Errorf("%s as %s: HTTP %d, want to be asked to log in", route.Pattern, name, got.StatusCode)
				}
			case !operate.Includes(scope, route.Scope) || route.AllApps && name == "app" && path != "/":
				if !refused {
					t.Errorf("%s as %s: HTTP %d, want 403", route.Pattern, name, got.StatusCode)
				}
			case refused || toLogin:
				t.Errorf("%s as %s: HTTP %d, but it may", route.Pattern, name, got.StatusCode)
			}
			if policy := got.Header.Get("Content-Security-Policy"); !strings.HasPrefix(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") || got.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s: the policy is %q, the cache control %q", route.Pattern, policy, got.Header.Get("Cache-Control"))
			}
		}
	}
}

func TestAnotherSiteCannotAct(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.exec(`insert into klingwatch.tasks (task_id, action, action2) values ('t-1', 'videos', 'text2video')`)
	admin := s.as("admin")
	admin.header.Set("Sec-Fetch-Site", "cross-site")
	admin.post("/tasks/1/cancel").mustHave(t, http.StatusForbidden, "came from another site")
	admin.header = http.Header{"Origin": {"https://evil.example"}}
	admin.post("/tasks/1/cancel").mustHave(t, http.StatusForbidden)
	admin.header = http.Header{"Sec-Fetch-Site": {"same-origin"}}
	if got := admin.post("/tasks/1/cancel"); got.StatusCode != http.StatusSeeOther {
		t.Errorf("from our own page: HTTP %d", got.StatusCode)
	}
}

func TestLoggingInAndOut(t *testing.T) {
	t.Parallel()
	s := start(t)
	p := s.stranger()
	if got := p.get("/tasks?status=failed"); got.Header.Get("Location") != "/login?next=%2Ftasks%3Fstatus%3Dfailed" {
		t.Errorf("it goes to %q", got.Header.Get("Location"))
	}
	p.sees("/login?next=/tasks", http.StatusOK, `value="/tasks"`, "API key")
	p.post("/login", "key", "kw_wrong").mustHave(t, http.StatusUnauthorized, "not valid")
	got := p.post("/login", "key", " "+s.keys["read"]+"\n", "next", "/tasks?status=failed")
	cookie := got.Header.Get("Set-Cookie")
	if got.Header.Get("Location") != "/tasks?status=failed" || !strings.Contains(cookie, "HttpOnly") || !strings.Contains(cookie, "SameSite=Lax") || strings.Contains(cookie, s.keys["read"][12:]) {
		t.Errorf("to %q with the cookie %q", got.Header.Get("Location"), cookie)
	}
	p.sees("/tasks", http.StatusOK, "Log out")
	for _, next := range []string{"https://evil.example", "//evil.example", `/\evil.example`, "/\tevil", ""} {
		if got := s.stranger().post("/login", "key", s.keys["read"], "next", next); got.Header.Get("Location") != "/" {
			t.Errorf("next %q leads to %q", next, got.Header.Get("Location"))
		}
	}
	p.post("/logout")
	if got := p.get("/tasks"); got.StatusCode != http.StatusSeeOther {
		t.Errorf("after logging out: HTTP %d", got.StatusCode)
	}
}

func TestOverTLSTheCookieIsBoundToTheHost(t *testing.T) {
	t.Parallel()
	s := start(t)
	p := s.stranger()
	p.header.Set("X-Forwarded-Proto", "https")
	cookie := p.post("/login", "key", s.keys["read"]).Header.Get("Set-Cookie")
	if !strings.HasPrefix(cookie, "__Host-klingwatch=") || !strings.Contains(cookie, "Secure") || !strings.Contains(cookie, "Path=/;") {
		t.Errorf("the cookie is %q", cookie)
	}
}

func TestTheFirstPersonMakesTheFirstKey(t *testing.T) {
	t.Parallel()
	entry := pages.NewEntry("")
	s := startWithoutKeys(t, func(cfg *pages.Config) { cfg.Entry = entry })
	p := s.stranger()
	p.sees("/login", http.StatusOK, "There is no key yet", "klingwatch api-keys add")
	p.sees("/login/wrong", http.StatusNotFound, "This link has been used")
	p.sees(entry.Path(), http.StatusOK, "Make the key and log in") // looking does not use it up
	p.post(entry.Path()).mustHave(t, http.StatusOK, "kw_", "shown only now")
	p.sees("/tasks", http.StatusOK, "No task yet")
	other := s.stranger()
	other.sees(entry.Path(), http.StatusNotFound)
	other.post(entry.Path()).mustHave(t, http.StatusNotFound)
}

func TestTheFirstKeyIsNotMadeWhereThereIsOne(t *testing.T) {
	t.Parallel()
	entry := pages.NewEntry("")
	s := start(t, func(cfg *pages.Config) { cfg.Entry = entry })
	s.stranger().post(entry.Path()).mustHave(t, http.StatusNotFound, "This link has been used")
}

func TestDevOpensLoggedIn(t *testing.T) {
	t.Parallel()
	var entry pages.Entry
	s := start(t, func(cfg *pages.Config) {
		_, text, err := operate.AddAPIKey(t.Context(), cfg.Pool, operate.NewAPIKey{Name: "dev", Scope: db.ScopeAdmin})
		if err != nil {
			t.Fatal(err)
		}
		entry = pages.NewEntry(text)
		cfg.Entry = entry
	})
	for range 2 { // it works again and again
		p := s.stranger()
		if got := p.get(entry.Path()); got.Header.Get("Location") != "/" {
			t.Errorf("HTTP %d to %q", got.StatusCode, got.Header.Get("Location"))
		}
		p.sees("/tasks", http.StatusOK)
		p.post(entry.Path()).mustHave(t, http.StatusNotFound)
	}
}

func TestPagesSpeakTheLanguageOfTheBrowserOrTheChosenOne(t *testing.T) {
	t.Parallel()
	s := start(t)
	p := s.as("read")
	p.header.Set("Accept-Language", "fr, zh-CN;q=0.9, en;q=0.8")
	p.sees("/tasks", http.StatusOK, `<html lang="zh-Hans">`, "任务")
	p.post("/language", "language", "en")
	p.sees("/tasks", http.StatusOK, `<html lang="en">`, "Tasks")
	p.post("/language", "language", "zh")
	p.header.Set("Accept-Language", "en")
	p.sees("/tasks", http.StatusOK, `<html lang="zh-Hans">`)
}

func TestThePageOfJobsIsForThoseWhoMeetAllApps(t *testing.T) {
	t.Parallel()
	s := start(t, func(cfg *pages.Config) {
		cfg.Jobs = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusTeapot) })
	})
	s.as("read").sees("/jobs/", http.StatusTeapot)
	s.as("read").sees("/jobs/api/jobs", http.StatusTeapot)
	s.as("app").sees("/jobs/", http.StatusForbidden)
	if got := s.as("write").post("/jobs/api/jobs/cancel"); got.StatusCode != http.StatusForbidden {
		t.Errorf("as write: HTTP %d", got.StatusCode)
	}
	if got := s.as("admin").post("/jobs/api/jobs/cancel"); got.StatusCode != http.StatusTeapot {
		t.Errorf("as admin: HTTP %d", got.StatusCode)
	}
	s.as("read").sees("/tasks", http.StatusOK, `href="/jobs/"`)
}

func TestAFormGoesBackToAPageThatThereIs(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.exec(`insert into klingwatch.tasks (task_id, action, action2) values ('one', 'videos', 'text2video')`)
	p := s.as("write")
	for from, want := range map[string]string{
		s.url + "/tasks?status=pending&done=retried": "/tasks?done=canceled&status=pending", s.url + "/tasks/1/cancel": "/tasks/1?done=canceled",
		"https://evil.example/tasks": "/tasks/1?done=canceled", "": "/tasks/1?done=canceled",
	} {
		p.header.Set("Referer", from)
		if got := p.post("/tasks/1/cancel"); got.Header.Get("Location") != want {
			t.Errorf("from %q it goes to %q, want %q", from, got.Header.Get("Location"), want)
		}
		p.post("/tasks/1/retry")
	}
}

func TestAFormThatIsSentTooLateAsksToLogIn(t *testing.T) {
	t.Parallel()
	s := start(t)
	p := s.stranger()
	p.header.Set("Referer", s.url+"/tasks?status=failed")
	p.header.Set("Accept-Language", "zh")
	p.post("/tasks/1/cancel").mustHave(t, http.StatusUnauthorized, "登录", `value="/tasks?status=failed"`)
}

// A database that hangs, and does not say so, is told within seconds.
func TestAPageWaitsForNoHungDatabase(t *testing.T) {
	t.Parallel()
	s := start(t)
	p := s.as("read")
	tx, err := s.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }()
	if _, err := tx.Exec(t.Context(), `set local idle_in_transaction_session_timeout = 0; lock table klingwatch.api_keys in access exclusive mode`); err != nil {
		t.Fatal(err)
	}
	p.sees("/tasks", http.StatusServiceUnavailable, "does not answer in time")
}
