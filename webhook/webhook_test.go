package webhook_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"go.uber.org/goleak"

	"github.com/klingwatch/klingwatch/webhook"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

func newClient(t *testing.T, cfg webhook.Config) *webhook.Client {
	t.Helper()
	client := webhook.NewClient(cfg)
	t.Cleanup(client.Close)
	return client
}

func message(url string) webhook.Message {
	return webhook.Message{URL: url, ID: webhook.NewEventID(), Body: []byte(`{"type":"task.succeeded"}`), Secrets: []string{webhook.NewSecret()}}
}

// Vectors of the Standard Webhooks specification and of Kling's documentation.
func TestSignaturesAreThoseOfTheSpecification(t *testing.T) {
	t.Parallel()
	for _, v := range []struct {
		secret, id string
		at         int64
		body, want string
	}{
		{
			"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330,
			`{"test": 2432232314}`, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
		},
		{
			"whsec_dGVzdHNlY3JldHRlc3RzZWNyZXR0ZXN0c2VjcmV0MTI=", "9876543210", 1781080794,
			`{"id":"1234567890","status":"succeeded","message":"","create_time":1781080778802,"update_time":1781080794151}`, "v1,UsKlJP00XoQyOn410NM9xv34sP+Gl0jnOO9Lcpr7NJ4=",
		},
	} {
		got, err := webhook.Sign([]string{v.secret}, v.id, time.Unix(v.at, 0), []byte(v.body))
		if err != nil || got != v.want {
			t.Errorf("%s: %s, %v", v.id, got, err)
		}
	}
}

func TestWhileASecretIsRotatedBothSign(t *testing.T) {
	t.Parallel()
	newer, older := webhook.NewSecret(), webhook.NewSecret()
	body := []byte("{}")
	header, err := webhook.Sign([]string{newer, older}, "msg_1", time.Now(), body)
	if err != nil || len(strings.Fields(header)) != 2 {
		t.Fatalf("%q, %v", header, err)
	}
	for _, secret := range []string{newer, older} {
		verifier, err := standardwebhooks.NewWebhook(secret)
		if err != nil {
			t.Fatal(err)
		}
		headers := http.Header{}
		headers.Set("webhook-id", "msg_1")
		headers.Set("webhook-timestamp", fmt.Sprint(time.Now().Unix()))
		headers.Set("webhook-signature", header)
		if err := verifier.Verify(body, headers); err != nil {
			t.Errorf("with %s: %v", secret, err)
		}
	}
}

func TestAMalformedSecretIsRefused(t *testing.T) {
	t.Parallel()
	for _, secrets := range [][]string{nil, {""}, {"whsec_"}, {"whsec_c2hvcnQ="}, {"whsec_%%%"}, {strings.TrimPrefix(webhook.NewSecret(), "whsec_")}, {"whsec_" + strings.Repeat("QUFB", 30)}} {
		if _, err := webhook.Sign(secrets, "msg_1", time.Now(), nil); !errors.Is(err, webhook.ErrSecret) {
			t.Errorf("%q: %v", secrets, err)
		}
	}
}

func TestAReceiverGetsASignedPost(t *testing.T) {
	t.Parallel()
	m := message("")
	verifier, err := standardwebhooks.NewWebhook(m.Secrets[0])
	if err != nil {
		t.Fatal(err)
	}
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := make([]byte, len(m.Body))
		_, _ = r.Body.Read(body)
		if err := verifier.Verify(body, r.Header); err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %v: %v", r.Method, r.Header, err)
		}
		_, _ = fmt.Fprint(w, "thanks\x00")
	}))
	defer receiver.Close()
	m.URL = receiver.URL + "/hook?token=1"
	result := newClient(t, webhook.Config{AllowNetworks: loopback}).Send(t.Context(), m)
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
		{"301 names the place without its query", redirect("https://elsewhere.example/x?secret=1"), webhook.ErrorRedirectRefused, `"https://elsewhere.example/x"; give the final URL`},
		{"401", status(401), webhook.ErrorHTTPStatus, "does not log in"},
		{"410", status(410), webhook.ErrorHTTPStatus, "no more webhooks"},
		{"413", status(413), webhook.ErrorHTTPStatus, "body limit"},
		{"500", status(500), webhook.ErrorHTTPStatus, "HTTP 500"},
		{"gzip that is none, with 200", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = fmt.Fprint(w, "not gzip")
		}, "", ""},
		{"cut off", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, webhook.ErrorNetwork, "EOF"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			receiver := httptest.NewServer(c.answer)
			defer receiver.Close()
			result := newClient(t, webhook.Config{AllowNetworks: loopback}).Send(t.Context(), message(receiver.URL))
			if result.Error != c.class || !strings.Contains(result.Reason(), c.reason) || strings.Contains(result.Reason(), "secret") {
				t.Errorf("%+v", result)
			}
		})
	}
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

func redirect(to string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", to)
		w.WriteHeader(http.StatusMovedPermanently)
	}
}

func TestARedirectIsNotFollowed(t *testing.T) {
	t.Parallel()
	var strayed atomic.Bool
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { strayed.Store(true) }))
	defer elsewhere.Close()
	receiver := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusPermanentRedirect))
	defer receiver.Close()
	if result := newClient(t, webhook.Config{AllowNetworks: loopback}).Send(t.Context(), message(receiver.URL)); result.Delivered() || strayed.Load() {
		t.Errorf("%+v, strayed %v", result, strayed.Load())
	}
}

func TestPrivateAddressesAreRefusedAtDialTime(t *testing.T) {
	t.Parallel()
	var reached atomic.Bool
	receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Store(true) }))
	defer receiver.Close()
	_, port, _ := strings.Cut(strings.TrimPrefix(receiver.URL, "http://"), ":")
	client := newClient(t, webhook.Config{})
	for _, host := range []string{
		"127.0.0.1", "localhost", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]", "[::]", "2130706433", "0x7f000001", "127.1",
		"10.0.0.1", "172.16.0.1", "192.168.0.1", "169.254.169.254", "168.63.129.16", "100.64.0.1", "[fe80::1]", "[fd00::1]", "224.0.0.1", "255.255.255.255",
	} {
		result := client.Send(t.Context(), message("http://"+host+":"+port+"/"))
		// unusual spellings are names for Go's resolver: they fail there or at the guard
		if result.Error != webhook.ErrorBlockedAddress && result.Error != webhook.ErrorDNS {
			t.Errorf("%s: %+v", host, result)
		}
	}
	if reached.Load() {
		t.Error("the receiver on loopback was reached")
	}
}

func TestASlowReceiverEndsAtTheDeadline(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer receiver.Close()
	defer close(release)
	result := newClient(t, webhook.Config{AllowNetworks: loopback, Timeout: 50 * time.Millisecond}).Send(t.Context(), message(receiver.URL))
	if result.Error != webhook.ErrorTimeout || !strings.Contains(result.Detail, "50ms") {
		t.Errorf("%+v", result)
	}
}

func TestAnEndlessAnswerIsCutAndStillDelivered(t *testing.T) {
	t.Parallel()
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := fmt.Fprint(w, strings.Repeat("x", 4096)); err != nil {
				return
			}
		}
	}))
	defer receiver.Close()
	result := newClient(t, webhook.Config{AllowNetworks: loopback, Timeout: 5 * time.Second}).Send(t.Context(), message(receiver.URL))
	if !result.Delivered() || len(result.Body) != webhook.MaxResponse {
		t.Errorf("%s, %d bytes", result.Reason(), len(result.Body))
	}
}

func TestNothingListening(t *testing.T) {
	t.Parallel()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	if result := newClient(t, webhook.Config{AllowNetworks: loopback}).Send(t.Context(), message(gone.URL)); result.Error != webhook.ErrorConnectionRefused {
		t.Errorf("%+v", result)
	}
}

func TestATLSReceiverWithAnUnknownCertificate(t *testing.T) {
	t.Parallel()
	receiver := httptest.NewTLSServer(status(200))
	defer receiver.Close()
	if result := newClient(t, webhook.Config{AllowNetworks: loopback}).Send(t.Context(), message(receiver.URL)); result.Error != webhook.ErrorTLS {
		t.Errorf("%+v", result)
	}
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

func TestNetworksAreParsed(t *testing.T) {
	t.Parallel()
	networks, err := webhook.ParseNetworks(" 10.1.2.3/8, 127.0.0.1 ,, fd00::/8")
	if err != nil || fmt.Sprint(networks) != "[10.0.0.0/8 127.0.0.1/32 fd00::/8]" {
		t.Errorf("%v, %v", networks, err)
	}
	if _, err := webhook.ParseNetworks("10.0.0.0/33"); err == nil || !strings.Contains(err.Error(), "10.0.0.0/33") {
		t.Errorf("%v", err)
	}
}

func TestTheScheduleIsTheSpecsWithJitter(t *testing.T) {
	t.Parallel()
	want := []time.Duration{5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour}
	for i, middle := range want {
		for _, random := range []float64{0, 0.5, 0.999} {
			wait, again := webhook.NextAttempt(i+1, 0, random)
			if !again || wait < middle*9/10 || wait > middle*11/10 {
				t.Errorf("after attempt %d: %s, %v; want about %s", i+1, wait, again, middle)
			}
		}
	}
	if _, again := webhook.NextAttempt(webhook.MaxAttempts, time.Hour, 0); again {
		t.Error("the last attempt is followed by another")
	}
	if wait, _ := webhook.NextAttempt(1, 2*time.Minute, 0.5); wait != 2*time.Minute {
		t.Errorf("Retry-After of two minutes: %s", wait)
	}
}

func TestRetryAfterOfAReceiver(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]time.Duration{"120": 2 * time.Minute, "-1": 0, "x": 0, "9999999": webhook.MaxRetryAfter, "99999999999999": webhook.MaxRetryAfter, "NaN": 0, "Fri, 31 Dec 2100 00:00:00 GMT": webhook.MaxRetryAfter} {
		receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", value)
			w.WriteHeader(http.StatusTooManyRequests)
		}))
		result := newClient(t, webhook.Config{AllowNetworks: loopback}).Send(t.Context(), message(receiver.URL))
		receiver.Close()
		if result.RetryAfter != want {
			t.Errorf("%q: %s, want %s", value, result.RetryAfter, want)
		}
	}
}

func TestTheBodyIsTheDocumentedOne(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 23, 1, 2, 3, 0, time.UTC)
	seconds := json.Number("5.041")
	body, err := json.Marshal(webhook.Event{Type: webhook.TaskSucceeded, Timestamp: at, Data: webhook.Task{
		ID: 1, TaskID: "t", Action: "videos", Action2: "text2video", Status: "succeeded", Metadata: json.RawMessage("{}"), Sequence: 3,
		Outputs: []webhook.Output{{Kind: "video", URL: "https://cdn.example/o.mp4", DurationSeconds: &seconds, ExpiresAt: &at}}, CreatedAt: at, FinishedAt: &at,
	}})
	const want = `{"type":"task.succeeded","timestamp":"2026-11-23T01:02:03Z","data":{"id":1,"task_id":"t","action":"videos","action2":"text2video","status":"succeeded",` +
		`"status_message":"","external_id":null,"metadata":{},"sequence":3,"outputs":[{"kind":"video","position":0,"url":"https://cdn.example/o.mp4","duration_seconds":5.041,` +
		`"expires_at":"2026-11-23T01:02:03Z"}],"created_at":"2026-11-23T01:02:03Z","finished_at":"2026-11-23T01:02:03Z"}}`
	if err != nil || string(body) != want {
		t.Errorf("%v\n got %s\nwant %s", err, body, want)
	}
}
