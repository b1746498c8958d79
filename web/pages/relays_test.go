package pages_test

import (
	"context"
	"encoding/base64"
	"net/http"
	"regexp"
	"testing"

	"github.com/klingwatch/klingwatch/keyring"
	"github.com/klingwatch/klingwatch/operate"
	"github.com/klingwatch/klingwatch/web/pages"
)

// withKeyring has stored secrets encrypted.
func withKeyring(t *testing.T) func(*pages.Config) {
	ring, err := keyring.Parse(base64.StdEncoding.EncodeToString(make([]byte, 32)))
	if err != nil {
		t.Fatal(err)
	}
	return func(cfg *pages.Config) { cfg.Keyring = ring }
}

func TestARelayIsAddedEditedAndRemoved(t *testing.T) {
	t.Parallel()
	s := start(t, withKeyring(t))
	p := s.as("admin")
	p.sees("/relays/new", http.StatusOK, `name="base_url"`)
	p.post("/relays", "name", "second", "base_url", "http://127.0.0.1:9", "key", "sk-secret-1", "poll_rate", "x").mustHave(t, http.StatusUnprocessableEntity, "A rate is a number", `value="second"`)
	if got := p.post("/relays", "name", "second", "base_url", "http://127.0.0.1:9", "key", "sk-secret-1", "poll_rate", "7", "archive", "off"); got.Header.Get("Location") != "/relays/second?done=added" {
		t.Fatalf("HTTP %d\n%s", got.StatusCode, got.main())
	}
	twice := p.post("/relays", "name", "second", "base_url", "http://127.0.0.1:9", "key", "sk-secret-1")
	twice.mustHave(t, http.StatusConflict, "there is a relay second already", `value="second"`, `value="http://127.0.0.1:9"`)
	twice.mustLack(t, "sk-secret")
	p.sees("/relays/second", http.StatusOK, "7 per second", "are not kept", "stored, encrypted", "not taken").mustLack(t, "sk-secret")
	s.as("read").sees("/relays", http.StatusOK, "second", "http://127.0.0.1:9").mustLack(t, "sk-secret", "Add a relay")
	s.as("read").sees("/relays/second", http.StatusOK).mustLack(t, "<form method=\"post\" action=\"/relays")
	p.post("/relays/second/edit", "poll_rate", "9", "key", "sk-secret-2", "output_lifetime", "1d", "archive", "on", "base_url", "http://127.0.0.1:9")
	p.sees("/relays/second", http.StatusOK, "9 per second", "are kept", "keeps them for 1d").mustLack(t, "sk-secret")
	if got := p.post("/relays/second/edit", "poll_rate", "9", "archive", "on"); got.Header.Get("Location") != "/relays/second?done=unchanged" {
		t.Errorf("the same again: HTTP %d to %q", got.StatusCode, got.Header.Get("Location"))
	}
	p.post("/relays/second/edit", "poll_rate", "-1").mustHave(t, http.StatusUnprocessableEntity, "poll_rate")
	s.exec(`insert into klingwatch.tasks (task_id, action, action2, relay) values ('one', 'videos', 'text2video', 'second')`)
	p.sees("/relays/second/remove", http.StatusOK, "1 of its tasks").mustLack(t, "main danger")
	p.post("/relays/second/remove").mustHave(t, http.StatusConflict)
	p.sees("/relays", http.StatusOK, "0.2 needed", `href="/relays/second"`)
	s.cancel(1)
	p.sees("/relays/second/remove", http.StatusOK, "main danger")
	p.post("/relays/second/remove")
	p.sees("/relays/second", http.StatusNotFound)
	p.sees("/relays/nothing", http.StatusNotFound)
}

func TestTheAddressForCallbacksIsShownOnce(t *testing.T) {
	t.Parallel()
	s := start(t, withKeyring(t), func(cfg *pages.Config) { cfg.About.PublicURL = "https://klingwatch.example" })
	if err := operate.AddRelay(t.Context(), s.pool, nil, operate.NewRelay{Name: "second", BaseURL: "http://127.0.0.1:9", Key: operate.RelayKey{File: "/nowhere"}}); err != nil {
		t.Fatal(err)
	}
	p := s.as("admin")
	made := p.post("/relays/second/callback")
	made.mustHave(t, http.StatusOK, "shown only now")
	address := regexp.MustCompile(`https://klingwatch\.example/v1/callbacks/second/([A-Z0-9]+)`).FindStringSubmatch(made.body)
	if address == nil {
		t.Fatal(made.main())
	}
	p.sees("/relays/second", http.StatusOK, "taken, by an address").mustLack(t, address[1])
	p.post("/relays/second/callback/secret", "secret", "wrong").mustHave(t, http.StatusUnprocessableEntity)
	p.post("/relays/second/callback/secret", "secret", "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")
	p.sees("/relays/second", http.StatusOK, "signatures are verified").mustLack(t, "MDEyMzQ1")
	p.post("/relays/second/callback/secret", "secret", " ").mustHave(t, http.StatusUnprocessableEntity)
	p.sees("/relays/second", http.StatusOK, "signatures are verified", "Verify no signatures")
	p.post("/relays/second/callback/secret", "unsigned", "1")
	p.sees("/relays/second", http.StatusOK).mustLack(t, "signatures are verified")
	p.post("/relays/second/callback")
	p.sees("/relays/second", http.StatusOK, "the address before ends")
	p.post("/relays/second/callback/revoke")
	p.sees("/relays/second", http.StatusOK, "not taken")
}

func TestARelayIsChecked(t *testing.T) {
	t.Parallel()
	said := pages.CheckedRelay{Found: "the key is refused " + hostileScript, Advice: "check the key"}
	s := start(t, func(cfg *pages.Config) {
		cfg.CheckRelay = func(context.Context, string) (pages.CheckedRelay, error) { return said, nil }
	})
	if err := operate.AddRelay(t.Context(), s.pool, nil, operate.NewRelay{Name: "second", BaseURL: "http://127.0.0.1:9", Key: operate.RelayKey{File: "/nowhere"}}); err != nil {
		t.Fatal(err)
	}
	got := s.as("write").post("/relays/second/check")
	got.mustHave(t, http.StatusOK, "the key is refused", "check the key")
	got.mustLack(t, "<script>alert")
	said = pages.CheckedRelay{Found: "it refuses the key: HTTP 401", Advice: "check the address"}
	chinese := s.as("write")
	chinese.header.Set("Accept-Language", "zh")
	chinese.post("/relays/second/check").mustHave(t, http.StatusOK, "拒绝密钥：HTTP 401", "请检查地址")
	s.as("write").post("/relays/nothing/check").mustHave(t, http.StatusNotFound)
}

// A service would not know a key that is not encrypted from one that is.
func TestAKeyNeedsTheEncryptionKey(t *testing.T) {
	t.Parallel()
	p := start(t).as("admin")
	got := p.post("/relays", "name", "second", "base_url", "http://127.0.0.1:9", "key", "sk-secret-1")
	got.mustHave(t, http.StatusConflict, "KLINGWATCH_ENCRYPTION_KEY is not set")
	got.mustLack(t, "sk-secret-1")
	if got := p.post("/relays?key=sk-secret-1", "name", "second", "base_url", "http://127.0.0.1:9"); got.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("a key in the address: HTTP %d", got.StatusCode)
	}
}

func TestRelaysTellWhyTheyArePausedAndWhereTheirKeyIs(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.exec(`insert into klingwatch.relays (name, base_url, task_path, poll_rate, key_source, credential) values ('default', 'http://127.0.0.1:9', '/kling/v1/{action}/{action2}/{task_id}', 0.5, 'settings', 'c0ffee00')
		on conflict (name) do update set credential = 'c0ffee00', poll_rate = 0.5`)
	s.exec(`insert into klingwatch.polling_pauses (credential, reason, paused_at, probe_at, confirmed) values ('c0ffee00', $1, now() - interval '2 h', now() + interval '50 s', true)`, hostileScript+hostileQuote)
	p := s.as("read")
	for _, path := range []string{"/relays", "/relays/default"} {
		got := p.sees(path, http.StatusOK, "paused", "&lt;script&gt;alert(1)", "2 h ago", "settings", "0.5 per second")
		got.mustLack(t, "<script>alert", `" onmouseover="alert`)
	}
	p.sees("/relays/default", http.StatusOK, "KLING_BASE_URL")
	s.as("admin").post("/relays/default/edit", "poll_rate", "3").mustHave(t, http.StatusConflict)
	s.as("app").sees("/relays", http.StatusForbidden, "restricted to one app")
}

func TestHostileRelaysStayValues(t *testing.T) {
	t.Parallel()
	s := start(t, withKeyring(t))
	p := s.as("admin")
	for _, value := range []string{hostileScript, hostileQuote, hostileRTL} {
		p.post("/relays", "name", value, "base_url", value, "task_path", value, "poll_rate", value, "key", value).mustLack(t, "<script>alert", `" onmouseover="alert`)
		p.post("/relays", "name", "second", "base_url", value, "task_path", value, "key", "sk-1").mustLack(t, "<script>alert", `" onmouseover="alert`)
	}
	file := "/" + hostileScript + hostileQuote
	if err := operate.AddRelay(t.Context(), s.pool, nil, operate.NewRelay{Name: "second", BaseURL: "http://127.0.0.1:9", Key: operate.RelayKey{File: file}}); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/relays", "/relays/second", "/relays/second/remove"} {
		p.sees(path, http.StatusOK).mustLack(t, "<script>alert", `" onmouseover="alert`)
	}
}
