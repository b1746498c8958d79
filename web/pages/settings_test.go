package pages_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/operate"
	"github.com/klingwatch/klingwatch/web/pages"
)

var shownKey = regexp.MustCompile(`kw_[0-9A-Za-z]{55}`)

// A key is shown in the answer that makes it. No other page and no address has it.
func TestAKeyIsMadeAndShownOnce(t *testing.T) {
	t.Parallel()
	s := start(t)
	p := s.as("admin")
	got := p.post("/settings/keys", "name", "grafana", "scope", "write", "app", "studio", "life", "90d")
	got.mustHave(t, http.StatusOK, "The key “grafana” is made", "shown only now")
	text := shownKey.FindString(got.body)
	if strings.Count(got.body, text) != 2 || got.Header.Get("Cache-Control") != "no-store" { // the text, and what the button copies
		t.Errorf("the key %q, kept as %q\n%s", text, got.Header.Get("Cache-Control"), got.main())
	}
	s.keys["made"] = text
	s.as("made").sees("/tasks", http.StatusOK).mustLack(t, "/settings")
	again := p.sees("/settings", http.StatusOK, "grafana", "studio")
	again.mustLack(t, text)
	if shownKey.MatchString(again.body) {
		t.Error("the settings show a key")
	}
	keys, err := operate.ListAPIKeys(t.Context(), s.pool)
	if err != nil {
		t.Fatal(err)
	}
	if made := keys[len(keys)-1]; made.Name != "grafana" || made.Scope != "write" || *made.App != "studio" || made.ExpiresAt.Sub(made.CreatedAt) != 90*24*time.Hour {
		t.Errorf("%+v", made)
	}
}

func TestAKeyThatCannotBeIsSaid(t *testing.T) {
	t.Parallel()
	s := start(t)
	p := s.as("admin")
	for want, form := range map[string][]string{
		"written like 90d":                 {"name", "n", "scope", "read", "life", "soon"},
		"is more than 0":                   {"name", "n", "scope", "read", "life", "-1h"},
		"name must have 1 to 100":          {"name", " ", "scope", "read"},
		"scope must be":                    {"name", "n", "scope", "root"},
		"does not go with the scope admin": {"name", "n", "scope", "admin", "app", "studio"},
	} {
		p.post("/settings/keys", form...).mustHave(t, http.StatusUnprocessableEntity, want, "<details class=\"panel add\" open>")
	}
	if got := p.post("/settings/keys", "name", strings.Repeat("钥", 100), "scope", "read"); got.StatusCode != http.StatusOK {
		t.Errorf("a name of 100 Chinese characters: HTTP %d", got.StatusCode)
	}
}

func TestAKeyIsRevoked(t *testing.T) {
	t.Parallel()
	s := start(t)
	admin, reader := s.as("admin"), s.as("read")
	id := s.keys["read"][3:11]
	admin.sees("/settings", http.StatusOK, `href="/settings/keys/`+id+`/revoke" data-dialog`)
	admin.sees("/settings/keys/"+id+"/revoke", http.StatusOK, "Revoke this key?", "kw_"+id).mustLack(t, "logged out", "No other key")
	if got := admin.post("/settings/keys/" + id + "/revoke"); got.Header.Get("Location") != "/settings?done=key_revoked" {
		t.Errorf("HTTP %d to %q", got.StatusCode, got.Header.Get("Location"))
	}
	admin.sees("/settings?done=key_revoked", http.StatusOK, "refused from now on", "1 key that is revoked")
	admin.sees("/settings/keys/"+id+"/revoke", http.StatusNotFound)
	admin.post("/settings/keys/none/revoke").mustHave(t, http.StatusNotFound)
	if got := reader.get("/tasks"); got.Header.Get("Location") != "/login?next=%2Ftasks" {
		t.Errorf("a revoked key: HTTP %d to %q", got.StatusCode, got.Header.Get("Location"))
	}
	own := s.keys["admin"][3:11]
	admin.sees("/settings/keys/"+own+"/revoke", http.StatusOK, "You are logged in with this key", "No other key administers")
	if got := admin.post("/settings/keys/" + own + "/revoke"); got.Header.Get("Location") != "/login" {
		t.Errorf("HTTP %d to %q", got.StatusCode, got.Header.Get("Location"))
	}
	admin.sees("/login", http.StatusOK)
}

func TestWhoDoesNotAdministerSeesTheOwnKeyAlone(t *testing.T) {
	t.Parallel()
	s := start(t)
	p := s.as("write")
	p.sees("/settings", http.StatusOK, "kw_"+s.keys["write"][3:11], "yours").mustLack(t, "kw_"+s.keys["admin"][3:11], "kw_"+s.keys["read"][3:11], "/revoke", `action="/settings/keys"`)
	p.post("/settings/keys", "name", "n", "scope", "read").mustHave(t, http.StatusForbidden)
	p.post("/settings/keys/"+s.keys["write"][3:11]+"/revoke").mustHave(t, http.StatusForbidden)
	s.as("app").sees("/settings", http.StatusForbidden, "restricted to one app")
}

func TestSettingsTellWhatTheDeploymentIs(t *testing.T) {
	t.Parallel()
	s := start(t, func(cfg *pages.Config) {
		cfg.About = pages.About{Version: "v1.2.3", PublicURL: "https://klingwatch.example", Retention: 30 * 24 * time.Hour, DeliveryRetention: 36 * time.Hour}
		cfg.Jobs = http.NotFoundHandler()
	})
	if _, err := operate.AddEndpoint(t.Context(), s.pool, nil, operate.NewEndpoint{URL: "https://app.example/hook"}); err != nil {
		t.Fatal(err)
	}
	var lastStep string
	if err := s.pool.QueryRow(t.Context(), `select name from klingwatch.migrations order by version desc limit 1`).Scan(&lastStep); err != nil {
		t.Fatal(err)
	}
	p := s.as("read")
	p.sees("/settings", http.StatusOK, "v1.2.3", "https://klingwatch.example", lastStep, "<dd>30d</dd>", "<dd>36h</dd>", "every 5s or so", "at most 50 a second",
		"KLINGWATCH_ARCHIVE", `href="/actions"`, `href="/docs"`, `href="/jobs/"`, "deleted at once").mustLack(t, "whsec_", "whsk_")
	p.header.Set("Accept-Language", "zh")
	p.sees("/settings", http.StatusOK, "立即删除")
}

func TestHostileKeysStayValues(t *testing.T) {
	t.Parallel()
	s := start(t)
	p := s.as("admin")
	for _, name := range []string{hostileScript, hostileQuote, hostileRTL} {
		p.post("/settings/keys", "name", name, "scope", "read", "app", name).mustLack(t, "<script>alert", `" onmouseover="alert`)
		p.post("/settings/keys", "name", name, "scope", name, "app", name, "life", name).mustLack(t, "<script>alert", `" onmouseover="alert`)
	}
	page := p.sees("/settings", http.StatusOK)
	page.mustLack(t, "<script>alert", `" onmouseover="alert`)
	for _, found := range regexp.MustCompile(`/settings/keys/\w+/revoke`).FindAllString(page.body, -1) {
		p.sees(found, http.StatusOK).mustLack(t, "<script>alert", `" onmouseover="alert`)
	}
}
