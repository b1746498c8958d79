package pages_test

import (
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/klingwatch/klingwatch/db"
)

var secretIn = regexp.MustCompile(`whsec_[A-Za-z0-9+/=]{44}`)

// secret is the one that a page shows; "": it shows none.
func (a answer) secret() string { return secretIn.FindString(html.UnescapeString(a.body)) }

// addEndpoint adds one by the form.
func (p *person) addEndpoint(url string, more ...string) answer {
	p.Helper()
	return p.post("/endpoints", append([]string{"url", url, "event", "task.succeeded"}, more...)...)
}

// endpoint is the first one.
func (s *site) endpoint() db.Endpoint {
	s.Helper()
	e, err := db.GetEndpoint(s.Context(), s.pool, 1)
	if err != nil {
		s.Fatal(err)
	}
	return e
}

func TestTheSecretOfAnEndpointIsShownOnce(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.as("read").sees("/endpoints", http.StatusOK, "No endpoint yet", "klingwatch endpoints add").mustLack(t, "<button>Add", `action="/endpoints"`)
	p := s.as("admin")
	got := p.addEndpoint("https://app.example/hook", "event", "task.failed", "actions", "videos, images/generations", "thin", "1", "description", "orders")
	got.mustHave(t, http.StatusOK, "shown only now", "whpk_")
	secret := got.secret()
	if secret == "" || got.Header.Get("Cache-Control") != "no-store" || strings.Contains(got.Request.URL.String(), "whsec") {
		t.Errorf("the secret is %q, the cache control %q", secret, got.Header.Get("Cache-Control"))
	}
	for _, path := range []string{"/endpoints", "/endpoints/1", "/endpoints/1/remove"} {
		p.sees(path, http.StatusOK, "https://app.example/hook").mustLack(t, "whsec_")
	}
	e := s.endpoint()
	if !e.Thin || strings.Join(e.EventTypes, " ") != "task.succeeded task.failed" || strings.Join(e.Actions, " ") != "videos images/generations" || e.Description != "orders" {
		t.Errorf("%+v", e)
	}
	rotated := p.post("/endpoints/1/rotate", "grace", "1h")
	rotated.mustHave(t, http.StatusOK, "has a new secret")
	if next := rotated.secret(); next == "" || next == secret {
		t.Errorf("it is rotated from %q to %q", secret, next)
	}
	p.post("/endpoints/1/rotate", "grace", "soon").mustHave(t, http.StatusUnprocessableEntity)
	p.post("/endpoints/9/rotate", "grace", "1h").mustHave(t, http.StatusNotFound)
}

// What was entered is still there beside what is wrong with it.
func TestAnEndpointThatCannotBeAddedIsExplained(t *testing.T) {
	t.Parallel()
	s := start(t)
	p := s.as("admin")
	p.addEndpoint("https://app.example/hook")
	p.addEndpoint("https://app.example/hook").mustHave(t, http.StatusConflict, "is a receiver already", `value="https://app.example/hook"`)
	p.addEndpoint("ftp://app.example", "description", "orders").mustHave(t, http.StatusUnprocessableEntity, "must begin with http", `value="orders"`)
	p.addEndpoint("https://app.example/2", "actions", "Videos!").mustHave(t, http.StatusUnprocessableEntity, "videos/text2video")
	p.addEndpoint("https://app.example/2", "event", "task.unheard").mustHave(t, http.StatusUnprocessableEntity, "task.unheard")
	p.post("/endpoints", "url", "https://app.example/2").mustHave(t, http.StatusUnprocessableEntity, "at least one event")
	p.sees("/endpoints", http.StatusOK).mustLack(t, "/endpoints/2")
}

func TestAnEndpointIsChanged(t *testing.T) {
	t.Parallel()
	s := start(t)
	p := s.as("admin")
	p.addEndpoint("https://app.example/hook", "actions", "videos", "thin", "1")
	s.exec(`update klingwatch.webhook_endpoints set failing_since = now(), last_error = 'http_status: HTTP 500'`)
	got := p.post("/endpoints/1", "url", "https://app.example/hook", "event", "task.failed", "description", "new")
	if got.Header.Get("Location") != "/endpoints/1?done=endpoint_changed" {
		t.Errorf("HTTP %d to %q\n%s", got.StatusCode, got.Header.Get("Location"), got.main())
	}
	if e := s.endpoint(); e.Thin || len(e.Actions) > 0 || e.EventTypes[0] != "task.failed" || e.Description != "new" || e.FailingSince == nil {
		t.Errorf("%+v", e)
	}
	p.sees("/endpoints", http.StatusOK, "failing", "HTTP 500")
	p.post("/endpoints/1", "url", "https://app.example/other", "event", "task.failed")
	if e := s.endpoint(); e.URL != "https://app.example/other" || e.FailingSince != nil {
		t.Errorf("%+v", e)
	}
	p.post("/endpoints/1", "url", "nowhere", "event", "task.failed").mustHave(t, http.StatusUnprocessableEntity, `value="nowhere"`)
	p.post("/endpoints/1", "url", "https://app.example/other").mustHave(t, http.StatusUnprocessableEntity, "at least one event")
	p.post("/endpoints/9", "url", "https://app.example/other", "event", "task.failed").mustHave(t, http.StatusNotFound)
	p.sees("/endpoints/9", http.StatusNotFound)
	s.as("write").sees("/endpoints/1", http.StatusOK, "<code>task.failed</code>").mustLack(t, `name="url"`, "/rotate", "/remove")
}

func TestAnEndpointIsDisabledAndEnabled(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.as("admin").addEndpoint("https://app.example/hook")
	p := s.as("write")
	tab := p.open("/live?view=endpoints")
	tab.until("e1-health", "enabled")
	if got := p.post("/endpoints/1/disable"); got.Header.Get("Location") != "/endpoints/1?done=endpoint_disabled" {
		t.Errorf("it goes on at %q", got.Header.Get("Location"))
	}
	p.sees("/endpoints/1?done=endpoint_disabled", http.StatusOK, "Its webhooks wait", "disabled by a person", "<button>Enable").mustLack(t, "<button>Disable")
	p.post("/endpoints/1/enable")
	p.sees("/endpoints/1", http.StatusOK, "<button>Disable")
	p.post("/endpoints/9/enable").mustHave(t, http.StatusNotFound)
	p.post("/endpoints/x/disable").mustHave(t, http.StatusNotFound)
}

func TestAnEndpointWithWebhooksThatWaitIsRemovedOnlyKnowingly(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.addDeliveries("https://app.example/hook")
	p := s.as("admin")
	p.sees("/endpoints", http.StatusOK, "Waiting")
	p.sees("/endpoints/1/remove", http.StatusOK, "2 webhooks that have not arrived", `name="discard"`)
	p.post("/endpoints/1/remove").mustHave(t, http.StatusConflict, "Nothing was removed")
	s.endpoint()
	if got := p.post("/endpoints/1/remove", "discard", "1"); got.Header.Get("Location") != "/endpoints?done=endpoint_removed" {
		t.Errorf("it goes on at %q", got.Header.Get("Location"))
	}
	p.sees("/endpoints/1", http.StatusNotFound)
	p.sees("/endpoints/1/remove", http.StatusNotFound)
}

func TestATestWebhookIsToldInWords(t *testing.T) {
	t.Parallel()
	status := http.StatusNoContent
	var verified error
	var secret string
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		verifier, err := standardwebhooks.NewWebhook(strings.TrimPrefix(secret, "whsec_"))
		if verified = err; err == nil {
			verified = verifier.Verify(body, r.Header)
		}
		w.WriteHeader(status)
		if status != http.StatusNoContent {
			_, _ = w.Write([]byte(hostileScript))
		}
	}))
	t.Cleanup(receiver.Close)
	s := start(t)
	secret = s.as("admin").addEndpoint(receiver.URL).secret()
	p := s.as("write")
	p.post("/endpoints/1/ping").mustHave(t, http.StatusOK, "The test arrived: HTTP 204", `<svg class="steps"`)
	if verified != nil {
		t.Error(verified)
	}
	status = http.StatusInternalServerError
	p.post("/endpoints/1/ping").mustHave(t, http.StatusOK, "did not arrive", "HTTP 500", "&lt;script&gt;")
	receiver.Close()
	p.post("/endpoints/1/ping").mustHave(t, http.StatusOK, "did not arrive", "refused")
	p.post("/endpoints/9/ping").mustHave(t, http.StatusNotFound)
}

func TestHostileEndpointsStayValues(t *testing.T) {
	t.Parallel()
	s := start(t)
	p := s.as("admin")
	p.addEndpoint("https://app.example/"+strings.Repeat("u", 1900)+"?q="+strings.ReplaceAll(hostileQuote, " ", "%20"), "description", hostileScript+hostileQuote+hostileRTL)
	s.exec(`update klingwatch.webhook_endpoints set failing_since = now(), last_error = $1, disabled_at = now(), disabled_reason = $1`, hostileScript+hostileQuote)
	for _, path := range []string{"/endpoints", "/endpoints/1", "/endpoints/1/remove"} {
		for _, lang := range []string{"en", "zh"} {
			p.header.Set("Accept-Language", lang)
			p.sees(path, http.StatusOK).mustLack(t, "<script>alert", `" onmouseover="alert`)
		}
	}
	p.addEndpoint(hostileScript+hostileQuote).mustLack(t, "<script>alert", `" onmouseover="alert`)
}
