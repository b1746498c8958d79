package webhook_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/klingwatch/klingwatch/webhook"
)

func TestAReceiverGetsASignedPost(t *testing.T) {
	t.Parallel()
	m := message("")
	verifier, err := standardwebhooks.NewWebhook(m.Secrets[0])
	if err != nil {
		t.Fatal(err)
	}
	url := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if err := verifier.Verify(body, r.Header); err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" || r.Header.Get("Accept-Encoding") != "" {
			t.Errorf("%s %v: %v", r.Method, r.Header, err)
		}
		_, _ = fmt.Fprint(w, "thanks\x00")
	})
	m.URL = url + "/hook?token=1"
	result := newClient(t, webhook.Config{}).Send(t.Context(), m)
	if !result.Delivered() || result.StatusCode != 200 || result.Body != "thanks\uFFFD" || result.Reason() != "" {
		t.Errorf("%+v", result)
	}
}

func TestAnswersAreClassified(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		answer http.HandlerFunc
		class  string
		reason string // part of it
	}{
		{"204", status(204), "", ""},
		{"301 names the place without its query", header(301, "Location", "https://user:secret@elsewhere.example/x?secret=1#secret"), webhook.ErrorRedirectRefused, `HTTP 301 to "https://elsewhere.example/x"; redirects are not followed`},
		{"302 to a path", header(302, "Location", "/login?next=secret"), webhook.ErrorRedirectRefused, `"/login"`},
		{"302 to a long place", header(302, "Location", "/"+strings.Repeat("x", 9000)), webhook.ErrorRedirectRefused, `..."; redirects are not followed`},
		{"304 without a place", status(304), webhook.ErrorRedirectRefused, "nowhere"},
		{"400", status(400), webhook.ErrorHTTPStatus, "cannot read the request"},
		{"401", status(401), webhook.ErrorHTTPStatus, "does not log in"},
		{"403", status(403), webhook.ErrorHTTPStatus, "firewall"},
		{"404", status(404), webhook.ErrorHTTPStatus, "nothing serves this path"},
		{"405", status(405), webhook.ErrorHTTPStatus, "does not accept POST"},
		{"410", status(410), webhook.ErrorHTTPStatus, "no more webhooks"},
		{"413", status(413), webhook.ErrorHTTPStatus, "body limit"},
		{"415", status(415), webhook.ErrorHTTPStatus, "does not accept application/json"},
		{"418 has no hint", status(418), webhook.ErrorHTTPStatus, "http_status: HTTP 418 I'm a teapot"},
		{"422", status(422), webhook.ErrorHTTPStatus, "does not accept this content"},
		{"429", status(429), webhook.ErrorHTTPStatus, "limits the rate"},
		{"500", status(500), webhook.ErrorHTTPStatus, "HTTP 500 Internal Server Error: the receiver failed"},
		{"502", status(502), webhook.ErrorHTTPStatus, "a gateway answered"},
		{"503", status(503), webhook.ErrorHTTPStatus, "overloaded or down"},
		{"504", status(504), webhook.ErrorHTTPStatus, "too slow"},
		{"599 is known to nobody", status(599), webhook.ErrorHTTPStatus, "HTTP 599: the receiver failed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			result := newClient(t, webhook.Config{}).Send(t.Context(), message(receiver(t, c.answer)))
			if result.Error != c.class || !strings.Contains(result.Reason(), c.reason) || strings.Contains(result.Reason(), "secret") || len(result.Reason()) > 500 {
				t.Errorf("%+v", result)
			}
		})
	}
}

func TestNothingIsSentWithoutAKeyOrAURL(t *testing.T) {
	t.Parallel()
	client := newClient(t, webhook.Config{})
	unsigned, nowhere := message("http://127.0.0.1:1/"), message("ftp://secret@h/")
	unsigned.Secrets = []string{"hunter2"}
	for class, m := range map[string]webhook.Message{webhook.ErrorSigning: unsigned, webhook.ErrorInvalidURL: nowhere} {
		result := client.Send(t.Context(), m)
		if result.Error != class || result.RemoteAddr != "" || result.Timings != (webhook.Timings{}) || strings.Contains(result.Reason(), "hunter2") || strings.Contains(result.Reason(), "secret@") {
			t.Errorf("%s: %+v", class, result)
		}
	}
}

func TestARedirectIsNotFollowed(t *testing.T) {
	t.Parallel()
	var strayed atomic.Bool
	elsewhere := receiver(t, func(http.ResponseWriter, *http.Request) { strayed.Store(true) })
	url := receiver(t, http.RedirectHandler(elsewhere, http.StatusPermanentRedirect).ServeHTTP)
	if result := newClient(t, webhook.Config{}).Send(t.Context(), message(url)); result.Delivered() || strayed.Load() {
		t.Errorf("%+v, strayed %v", result, strayed.Load())
	}
}

func TestReceiversControlWhatTheyGet(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		status         int
		values         []string // of the header webhook-delivery
		abort, disable bool
	}{
		{500, nil, false, false},
		{500, []string{"abort-message"}, true, false},
		{500, []string{" ABORT-Message , something-new"}, true, false},
		{400, []string{"something-new", "disable"}, false, true},
		{503, []string{"abort-message,disable"}, true, true},
		{503, []string{"abort-message-not", "dis able", ""}, false, false},
		{302, []string{"abort-message"}, true, false},
		{204, []string{"abort-message"}, false, false}, // there is nothing to abort
		{204, []string{"Disable"}, false, true},
	} {
		result := newClient(t, webhook.Config{}).Send(t.Context(), message(receiver(t, header(c.status, "Webhook-Delivery", c.values...))))
		if result.Abort != c.abort || result.Disable != c.disable || result.Delivered() != (c.status == 204) {
			t.Errorf("%d %q: %+v", c.status, c.values, result)
		}
	}
}

func TestWhichFailuresSpeakAgainstAReceiver(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		result webhook.Result
		blames bool
	}{
		{webhook.Result{StatusCode: 200}, false},
		{webhook.Result{StatusCode: 400, Error: webhook.ErrorHTTPStatus}, false}, // this message's fault
		{webhook.Result{StatusCode: 413, Error: webhook.ErrorHTTPStatus}, false},
		{webhook.Result{StatusCode: 422, Error: webhook.ErrorHTTPStatus}, false},
		{webhook.Result{StatusCode: 500, Error: webhook.ErrorHTTPStatus, Abort: true}, false},
		{webhook.Result{Error: webhook.ErrorSigning}, false}, // nothing was sent
		{webhook.Result{Error: webhook.ErrorInvalidURL}, false},
		{webhook.Result{StatusCode: 302, Error: webhook.ErrorRedirectRefused}, true},
		{webhook.Result{StatusCode: 401, Error: webhook.ErrorHTTPStatus}, true},
		{webhook.Result{StatusCode: 404, Error: webhook.ErrorHTTPStatus}, true},
		{webhook.Result{StatusCode: 410, Error: webhook.ErrorHTTPStatus}, true},
		{webhook.Result{StatusCode: 429, Error: webhook.ErrorHTTPStatus}, true},
		{webhook.Result{StatusCode: 500, Error: webhook.ErrorHTTPStatus, Disable: true}, true},
		{webhook.Result{Error: webhook.ErrorBlockedAddress}, true},
		{webhook.Result{Error: webhook.ErrorDNS}, true},
		{webhook.Result{Error: webhook.ErrorConnectionRefused}, true},
		{webhook.Result{Error: webhook.ErrorTLS}, true},
		{webhook.Result{Error: webhook.ErrorTimeout}, true},
		{webhook.Result{Error: webhook.ErrorNetwork}, true},
	} {
		if c.result.BlamesReceiver() != c.blames {
			t.Errorf("%s %d: %v", c.result.Error, c.result.StatusCode, !c.blames)
		}
	}
}

func TestRetryAfterOfAReceiver(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]time.Duration{
		"120": 2 * time.Minute, "  12 ": 12 * time.Second, "0.5": time.Second / 2,
		"-1": 0, "-5": 0, "-1e99": 0, "x": 0, "NaN": 0, "1 2": 0, "": 0, "Thu, 01 Jan 1970 00:00:00 GMT": 0,
		"9999999": webhook.MaxRetryAfter, "99999999999999": webhook.MaxRetryAfter, "1e99": webhook.MaxRetryAfter, "1e999": webhook.MaxRetryAfter, strings.Repeat("9", 4000): webhook.MaxRetryAfter,
		"Fri, 31 Dec 2100 00:00:00 GMT": webhook.MaxRetryAfter, "Fri, 31 Dec 9999 23:59:59 GMT": webhook.MaxRetryAfter,
	} {
		result := newClient(t, webhook.Config{}).Send(t.Context(), message(receiver(t, header(http.StatusTooManyRequests, "Retry-After", value))))
		if result.RetryAfter != want {
			t.Errorf("%.40q: %s, want %s", value, result.RetryAfter, want)
		}
	}
}

func TestNothingListening(t *testing.T) {
	t.Parallel()
	result := newClient(t, webhook.Config{}).Send(t.Context(), message("http://127.0.0.1:1")) // a port that no program is given
	if result.Error != webhook.ErrorConnectionRefused || result.RemoteAddr != "" || result.Timings.Connect <= 0 {
		t.Errorf("%+v", result)
	}
}

func TestTheTransportTrustsNeitherEnvironmentNorOldTLS(t *testing.T) {
	t.Parallel()
	transport := newClient(t, webhook.Config{}).Transport()
	if transport.Proxy != nil {
		t.Error("a proxy of the environment would dial in our place, past the guard")
	}
	if transport.TLSClientConfig.MinVersion != tls.VersionTLS12 {
		t.Errorf("TLS from version %x", transport.TLSClientConfig.MinVersion)
	}
}

func TestAClientIsUsedByManyAtOnce(t *testing.T) {
	t.Parallel()
	url := receiver(t, status(204))
	client := newClient(t, webhook.Config{})
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for range 10 {
				if result := client.Send(t.Context(), message(url)); !result.Delivered() || result.RemoteAddr == "" {
					t.Errorf("%+v", result)
				}
			}
		})
	}
	all.Wait()
}

func TestURLsThatCannotReceive(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"", "/hook", "ftp://h/x", "https://", "https://u:p@h/x", "https://h/#x", "https://h:port/"} {
		if webhook.CheckURL(url) == nil {
			t.Errorf("%q was accepted", url)
		}
	}
	for _, url := range []string{"https://h", "http://h:8080/x?y=z", "https://[2001:db8::1]/x"} {
		if err := webhook.CheckURL(url); err != nil {
			t.Errorf("%q: %v", url, err)
		}
	}
}
