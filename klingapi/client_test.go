package klingapi_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"

	"github.com/klingwatch/klingwatch/klingapi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newClient(t *testing.T, cfg klingapi.Config) *klingapi.Client {
	t.Helper()
	if cfg.Credential == nil {
		cfg.Credential = klingapi.StaticKey("sk-test")
	}
	client, err := klingapi.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func TestARelayOfAPrivateAuthorityIsAskedOverHTTP2(t *testing.T) {
	t.Parallel()
	var protocol string
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		protocol = r.Proto
		_, _ = w.Write(golden(t, "seed.json"))
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	authorities := x509.NewCertPool()
	authorities.AddCert(server.Certificate())
	client := newClient(t, klingapi.Config{BaseURL: server.URL, RootCAs: authorities})
	if _, err := client.GetTask(t.Context(), image); err != nil {
		t.Fatal(err)
	}
	if protocol != "HTTP/2.0" {
		t.Errorf("the relay was asked over %s", protocol)
	}
	stranger := newClient(t, klingapi.Config{BaseURL: server.URL})
	if _, err := stranger.GetTask(t.Context(), image); err == nil {
		t.Error("a certificate was believed that nobody vouches for")
	}
}

func TestTheRequestIsTheOneOfTheDocumentation(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		prefix string // as the setting has it
		ref    klingapi.Ref
		path   string
	}{
		{"", image, "/kling/v1/images/generations/CjMT7WdSwWcAAAAAALvB3g"},
		{"/v1", video, "/v1/videos/text2video/867283741759111202"},
		{"/", video, "/videos/text2video/867283741759111202"},
		{"", klingapi.Ref{Action: "videos", Action2: "avatar/image2video", TaskID: "a"}, "/kling/v1/videos/avatar/image2video/a"},
		{"", klingapi.Ref{Action: "videos", Action2: "lip-sync", TaskID: "a/../b?c=d#e"}, "/kling/v1/videos/lip-sync/a%2F..%2Fb%3Fc=d%23e"},
	} {
		var got *http.Request
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			got = r
			_, _ = w.Write(golden(t, "seed.json"))
		}))
		client := newClient(t, klingapi.Config{BaseURL: server.URL + "/", TaskPath: klingapi.PathUnder(c.prefix)})
		if _, err := client.GetTask(t.Context(), c.ref); err != nil {
			t.Error(err)
		}
		server.Close()
		if got.Method != http.MethodGet || got.RequestURI != c.path {
			t.Errorf("%s %s, want GET %s", got.Method, got.RequestURI, c.path)
		}
		for name, want := range map[string]string{
			"Content-Type": "application/json", "Accept": "application/json", "Authorization": "Bearer sk-test", "Accept-Encoding": "",
		} {
			if got.Header.Get(name) != want {
				t.Errorf("%s: %q, want %q", name, got.Header.Get(name), want)
			}
		}
	}
}

func TestTheBodyIsKeptAsReceived(t *testing.T) {
	t.Parallel()
	body := golden(t, "seed.json")
	reply, err := ask(t, image, 200, nil, body)
	if err != nil || string(reply.Body) != string(body) {
		t.Errorf("%v, %s", err, reply.Body)
	}
	const namedInHex = `{"task_id":"CjMT7WdSwWcAAAAAALvB3g","status":"succeed","url":"https://cdn.example/5e1234.png"}` // no number, although it looks like a huge one
	if reply, err = ask(t, image, 200, nil, []byte(namedInHex)); err != nil || string(reply.Body) != namedInHex {
		t.Errorf("%v, %s", err, reply.Body)
	}
	reply, err = ask(t, image, 200, nil, golden(t, "nul-and-surrogates.json"))
	if err != nil || strings.Contains(string(reply.Body), `\u0000`) || !strings.Contains(string(reply.Body), `"1e999999"`) {
		t.Errorf("what Postgres refuses is replaced: %v, %s", err, reply.Body)
	}
}

func TestARedirectIsNotFollowedWithTheKey(t *testing.T) {
	t.Parallel()
	var strayed atomic.Bool
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { strayed.Store(true) }))
	defer elsewhere.Close()
	relay := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	defer relay.Close()
	_, err := newClient(t, klingapi.Config{BaseURL: relay.URL}).GetTask(t.Context(), video)
	if got := kindOf(t, err); got.Kind != klingapi.Misconfigured || strayed.Load() {
		t.Errorf("%v, request elsewhere: %v", err, strayed.Load())
	}
}

func TestOneDeadlineCoversTheWholeExchange(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	drip := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprint(w, `{"code":0,`)
		w.(http.Flusher).Flush()
		<-release // the rest never comes
	}))
	defer drip.Close()
	defer close(release)
	_, err := newClient(t, klingapi.Config{BaseURL: drip.URL, Timeout: 50 * time.Millisecond}).GetTask(t.Context(), video)
	if got := kindOf(t, err); got.Kind != klingapi.Unreachable || !strings.Contains(got.Message, "50ms") {
		t.Errorf("%v", err)
	}
}

func TestACallerThatStopsGetsItsOwnError(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	asked := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done()
	}))
	defer slow.Close()
	go func() { <-asked; cancel() }()
	if _, err := newClient(t, klingapi.Config{BaseURL: slow.URL}).GetTask(ctx, video); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// nobody is where nothing listens: a port that no program is given. One that was just
// closed may be another test's a moment later.
const nobody = "http://127.0.0.1:1"

func TestAnUnreachableRelayIsReportedWithoutItsURL(t *testing.T) {
	t.Parallel()
	_, err := newClient(t, klingapi.Config{BaseURL: nobody}).GetTask(t.Context(), video)
	if got := kindOf(t, err); got.Kind != klingapi.Unreachable || strings.Contains(err.Error(), video.TaskID) {
		t.Errorf("%v", err)
	}
}

func TestBadConfigurationsAreRefused(t *testing.T) {
	t.Parallel()
	for _, base := range []string{"", "relay.example", "ftp://relay.example", "https://", "https://u:p@relay.example", "https://relay.example/?x=1", "https://relay.example/#x", "http://a b"} {
		if _, err := klingapi.New(klingapi.Config{BaseURL: base, Credential: klingapi.StaticKey("k")}); err == nil {
			t.Errorf("%q was accepted", base)
		} else if strings.Contains(err.Error(), "u:p") {
			t.Errorf("%q shows the password: %v", base, err)
		}
	}
	if _, err := klingapi.New(klingapi.Config{BaseURL: "https://relay.example"}); err == nil {
		t.Error("no credential was accepted")
	}
}

// 1003 and 1004 mean that clocks differ: the next token uses the clock of the relay.
func TestATokenLearnsTheRelaysClock(t *testing.T) {
	t.Parallel()
	credential, err := klingapi.NewAccessKey("ak", "sk")
	if err != nil {
		t.Fatal(err)
	}
	relayNow := time.Now().Add(-time.Hour)
	relay := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", relayNow.UTC().Format(http.TimeFormat))
		_, err := jwt.Parse(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "),
			func(*jwt.Token) (any, error) { return []byte("sk"), nil }, jwt.WithTimeFunc(func() time.Time { return relayNow }))
		if err != nil {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = fmt.Fprint(w, coded(1003, "Authorization is not yet valid"))
			return
		}
		_, _ = w.Write(golden(t, "seed.json"))
	}))
	defer relay.Close()
	client := newClient(t, klingapi.Config{BaseURL: relay.URL, Credential: credential})
	_, err = client.GetTask(t.Context(), image)
	if got := kindOf(t, err); got.Kind != klingapi.TokenTime {
		t.Fatalf("by our clock: %v", err)
	}
	if _, err := client.GetTask(t.Context(), image); err != nil {
		t.Errorf("by the relay's clock: %v", err)
	}
}

func TestARelayThatRepeatsTheKeyDoesNotSpreadIt(t *testing.T) {
	t.Parallel()
	relay := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		if strings.HasSuffix(r.URL.Path, "refused") {
			w.WriteHeader(http.StatusUnauthorized)
		}
		_, _ = fmt.Fprintf(w, `{"code":0,"message":"key %s","data":{"task_id":"t","task_status":"failed","task_status_msg":"key %s"},"error":{"message":"bad key %s"}}`, key, key, key)
	}))
	defer relay.Close()
	client := newClient(t, klingapi.Config{BaseURL: relay.URL, Credential: klingapi.StaticKey("sk-very-secret")})
	reply, err := client.GetTask(t.Context(), video)
	if err != nil || strings.Contains(string(reply.Body)+reply.Record.Message, "very-secret") || !strings.Contains(reply.Record.Message, "[key]") {
		t.Errorf("%v: %+v", err, reply)
	}
}
