package pages_test

import (
	"encoding/json"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/klingwatch/klingwatch/operate"
	"github.com/klingwatch/klingwatch/webhook"
)

// addDeliveries makes an endpoint, a task with a callback that has been canceled, and one of
// another app; so delivery 1 is the callback, 2 and 3 go to the endpoint.
func (s *site) addDeliveries(url string) {
	s.Helper()
	if _, err := operate.AddEndpoint(s.Context(), s.pool, nil, operate.NewEndpoint{URL: url}); err != nil {
		s.Fatal(err)
	}
	s.exec(`insert into klingwatch.tasks (task_id, action, action2, app, callback_url) values ('one', 'videos', 'text2video', 'studio', $1), ('two', 'videos', 'text2video', 'shop', null)`, url+"/callback")
	s.cancel(1)
	s.cancel(2)
}

// attempt notes that delivery 2 was sent once.
func (s *site) attempt(state, failure string, status int) {
	s.Helper()
	s.exec(`update klingwatch.deliveries set state = $1, attempts = 1, last_error = nullif($2, ''), delivered_at = case when $1 = 'delivered' then now() end,
		next_attempt_at = case when $1 = 'pending' then now() + interval '1 hour' end where id = 2`, state, failure)
	s.exec(`insert into klingwatch.delivery_attempts (delivery, attempt, started_at, finished_at, status_code, error, response_body, remote_addr, dns_seconds, connect_seconds, first_byte_seconds)
		values (2, 1, now() - interval '1 s', now(), $1, nullif($2, ''), 'the answer', '192.0.2.7:443', 0.1, 0.2, 0.5)`, status, failure)
}

func TestTheListOfDeliveriesIsFilteredByItsAddress(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.addDeliveries("https://app.example/hook")
	s.attempt("exhausted", "http_status: HTTP 500", 500)
	p := s.as("read")
	p.sees("/deliveries", http.StatusOK, "3 deliveries", "callback", "endpoint 1", "given up", "HTTP 500")
	for query, want := range map[string]string{
		"state=exhausted": "2", "receiver=callback": "1", "receiver=1&task=2": "3", "app=shop": "3", "error=HTTP": "2", "state=pending&task=1&since=1h&relay=default": "1",
		"type=task.canceled&state=exhausted": "2",
	} {
		got := p.sees("/deliveries?"+query, http.StatusOK, `href="/deliveries/`+want+`"`, "1 delivery<")
		for _, other := range []string{"1", "2", "3"} {
			if other != want {
				got.mustLack(t, `href="/deliveries/`+other+`"`)
			}
		}
	}
	p.sees("/deliveries?type=task.succeeded", http.StatusOK, "No delivery is like that")
	p.sees("/deliveries?receiver=everybody", http.StatusUnprocessableEntity, "by their number")
	p.sees("/deliveries?task=0", http.StatusUnprocessableEntity)
}

func TestTheFirstDeliveryIsExplained(t *testing.T) {
	t.Parallel()
	start(t).as("read").sees("/deliveries", http.StatusOK, "No delivery yet", "callback_url")
}

func TestADeliveryShowsWhatWasSentAndWhatCameBack(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.addDeliveries("https://app.example/hook")
	s.attempt("exhausted", "http_status: HTTP 500", 500)
	p := s.as("read")
	p.sees("/deliveries/2", http.StatusOK, "https://app.example/hook", "webhook-timestamp", "task.canceled", "the answer", "192.0.2.7:443", "HTTP 500",
		`aria-label="DNS 100 ms, connect 200 ms, first byte 500 ms, rest 200 ms"`).mustLack(t, "<button>Send again", "<button>As curl")
	p.sees("/deliveries/1", http.StatusOK, "Nothing was sent yet")
	p.sees("/deliveries/99", http.StatusNotFound)
	p.sees("/deliveries/x", http.StatusNotFound)
	p.header.Set("Accept-Language", "zh")
	p.sees("/deliveries/2", http.StatusOK, "首字节 500 ms")
}

func TestADeliveryIsSentAgainAndStopped(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.addDeliveries("https://app.example/hook")
	s.attempt("exhausted", "http_status: HTTP 500", 500)
	p := s.as("write")
	p.sees("/tasks/1", http.StatusOK, `action="/deliveries/2/redeliver"`).mustLack(t, `action="/deliveries/1/redeliver"`)
	s.as("read").sees("/tasks/1", http.StatusOK).mustLack(t, "redeliver")
	if got := p.post("/deliveries/2/redeliver"); got.Header.Get("Location") != "/deliveries/2?done=redelivered" {
		t.Errorf("it goes on at %q", got.Header.Get("Location"))
	}
	p.sees("/deliveries/2?done=redelivered", http.StatusOK, "It is sent again now", "<button>Stop it")
	if got := p.post("/deliveries/2/cancel"); got.Header.Get("Location") != "/deliveries/2?done=delivery_canceled" {
		t.Errorf("it goes on at %q", got.Header.Get("Location"))
	}
	p.post("/deliveries/2/cancel").mustHave(t, http.StatusConflict, "cannot be done")
	p.post("/deliveries/99/redeliver").mustHave(t, http.StatusNotFound)
	s.exec(`update klingwatch.webhook_endpoints set disabled_at = now(), disabled_reason = 'disabled by a person'`)
	p.header.Set("Referer", s.url+"/tasks/1?done=retried")
	if got := p.post("/deliveries/2/redeliver"); got.Header.Get("Location") != "/tasks/1?done=redelivered_waits" {
		t.Errorf("it goes on at %q", got.Header.Get("Location"))
	}
	p.sees("/deliveries", http.StatusOK, "held", "when its endpoint is enabled")
}

// Cells of shown deliveries change when one that is due soon has been sent.
func TestARowOfADeliveryChanges(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.addDeliveries("https://app.example/hook")
	p := s.as("read")
	list, one := p.open("/live?view=deliveries&ids=1,2,3&above=3"), p.open("/live?view=delivery&ids=2")
	list.until("d2-state", "pending")
	one.until("state", "pending")
	s.attempt("delivered", "", 204)
	list.until("d2-state", "delivered")
	one.until("attempts", "HTTP 204")
}

// The command is run by a real shell and curl: the receiver verifies what it gets with the
// library of Standard Webhooks.
func TestTheCurlOfADeliveryIsSignedAndQuoted(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("there is no curl")
	}
	type got struct {
		header http.Header
		path   string
		body   []byte
	}
	received := make(chan got, 1)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		received <- got{r.Header, r.URL.String(), body}
	}))
	t.Cleanup(receiver.Close)
	s := start(t)
	hostile := `it's "$(id)" ` + "`id`" + ` \ ! [a-z] {1,2} ` + hostileRTL + "\n" + hostileScript
	metadata, _ := json.Marshal(map[string]string{"k": hostile})
	s.exec(`insert into klingwatch.tasks (task_id, action, action2) values ('none', 'videos', 'text2video')`)
	added, err := operate.AddEndpoint(t.Context(), s.pool, nil, operate.NewEndpoint{URL: receiver.URL + "/h?a[]={x,y}&q='&z=$HOME"})
	if err != nil {
		t.Fatal(err)
	}
	s.exec(`update klingwatch.tasks set metadata = $1`, metadata)
	s.cancel(1)
	s.as("read").post("/deliveries/1/curl").mustHave(t, http.StatusForbidden)
	page := s.as("write").post("/deliveries/1/curl")
	page.mustHave(t, http.StatusOK, "curl -sS")
	page.mustLack(t, added.Secret, "<script>alert")
	if page.Header.Get("Cache-Control") != "no-store" {
		t.Error("it may be kept by a browser")
	}
	command := html.UnescapeString(regexp.MustCompile(`(?s)<code>(curl .*?)</code>`).FindStringSubmatch(page.body)[1])
	if out, err := exec.CommandContext(t.Context(), "sh", "-c", command).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s\n%s", err, out, command)
	}
	at := <-received
	verifier, err := standardwebhooks.NewWebhook(strings.TrimPrefix(added.Secret, "whsec_"))
	if err == nil {
		err = verifier.Verify(at.body, at.header)
	}
	var event webhook.Event
	if err != nil || json.Unmarshal(at.body, &event) != nil || event.Type != webhook.TaskCanceled || !strings.Contains(string(at.body), "[a-z] {1,2}") {
		t.Errorf("%v: %v\n%s", err, at.header, at.body)
	}
	if at.path != "/h?a[]={x,y}&q='&z=$HOME" || at.header.Get("User-Agent") != "klingwatch/test" {
		t.Errorf("it went to %s as %s", at.path, at.header.Get("User-Agent"))
	}
}

func TestHostileDeliveriesStayValues(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.addDeliveries("https://app.example/" + strings.Repeat("u", 1900))
	s.attempt("exhausted", hostileScript+hostileQuote, 500)
	s.exec(`update klingwatch.delivery_attempts set response_body = $1`, hostileScript+hostileQuote+hostileRTL)
	p := s.as("admin")
	for _, path := range []string{"/deliveries", "/deliveries/2", "/tasks/1", "/deliveries?error=%22%20onmouseover=%22alert(1)&app=%3Cscript%3Ealert(1)%3C/script%3E&relay=" + strings.Repeat("r", 3000)} {
		p.sees(path, http.StatusOK).mustLack(t, "<script>alert", `" onmouseover="alert`)
	}
}
