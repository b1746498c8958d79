package pages_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/feed"
	"github.com/klingwatch/klingwatch/metrics"
	"github.com/klingwatch/klingwatch/operate"
	"github.com/klingwatch/klingwatch/web/callers"
	"github.com/klingwatch/klingwatch/web/pages"
	"github.com/klingwatch/klingwatch/webhook"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

// site is pages on a database of their own, with a key of each scope.
type site struct {
	*testing.T
	pool  *pgxpool.Pool
	pages *pages.Pages
	url   string
	keys  map[string]string // by scope; "app": of scope write, restricted to the app studio
}

// start serves pages with the keys.
func start(t *testing.T, change ...func(*pages.Config)) *site {
	t.Helper()
	s := startWithoutKeys(t, change...)
	for _, scope := range db.Scopes {
		s.keys[scope] = s.newKey(operate.NewAPIKey{Name: scope, Scope: scope})
	}
	s.keys["app"] = s.newKey(operate.NewAPIKey{Name: "app", Scope: db.ScopeWrite, App: "studio"})
	return s
}

func startWithoutKeys(t *testing.T, change ...func(*pages.Config)) *site {
	t.Helper()
	s := &site{T: t, pool: dbtest.New(t), keys: map[string]string{}}
	log, m := slog.New(slog.NewTextHandler(t.Output(), nil)), metrics.New()
	events := feed.New(s.pool, &m.Feed, log)
	cfg := pages.Config{
		Pool: s.pool, Feed: events, Log: log, TaskDeadline: time.Hour, PollInterval: 5 * time.Second, PollRate: 50, UserAgent: "klingwatch/test", Callers: callers.New(0),
		Webhooks: webhook.NewClient(webhook.Config{AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}),
	}
	for _, f := range change {
		f(&cfg)
	}
	s.pages = pages.New(cfg)
	var running sync.WaitGroup
	ctx, stop := context.WithCancel(context.Background())
	running.Go(func() { events.Run(ctx) })
	running.Go(func() { cfg.Callers.Run(ctx, s.pool) })
	t.Cleanup(func() { events.Close(); stop(); running.Wait() })
	server := httptest.NewServer(s.pages)
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

func (s *site) newKey(n operate.NewAPIKey) string {
	s.Helper()
	_, text, err := operate.AddAPIKey(s.Context(), s.pool, n)
	if err != nil {
		s.Fatal(err)
	}
	return text
}

// exec prepares the database.
func (s *site) exec(sql string, args ...any) {
	s.Helper()
	if _, err := s.pool.Exec(s.Context(), sql, args...); err != nil {
		s.Fatal(err)
	}
}

// person is a browser without JavaScript.
type person struct {
	*site
	client *http.Client
	header http.Header // of every request
}

// stranger is a person who is not logged in.
func (s *site) stranger() *person {
	jar, _ := cookiejar.New(nil) // it cannot fail
	return &person{s, &http.Client{Jar: jar, Timeout: 20 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, http.Header{}}
}

// as is a person who has logged in with a key, by the name that site.keys gives it.
func (s *site) as(key string) *person {
	s.Helper()
	p := s.stranger()
	if got := p.post("/login", "key", s.keys[key]); got.StatusCode != http.StatusSeeOther {
		s.Fatalf("logging in with the key %q: HTTP %d %s", key, got.StatusCode, got.body)
	}
	return p
}

// answer is a page as it came.
type answer struct {
	*http.Response
	body string
}

func (p *person) get(path string) answer { return p.send(http.MethodGet, path, nil) }

// post sends a form of names with their values.
func (p *person) post(path string, pairs ...string) answer {
	form := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		form.Add(pairs[i], pairs[i+1])
	}
	return p.send(http.MethodPost, path, form)
}

func (p *person) send(method, path string, form url.Values) answer {
	p.Helper()
	r, err := http.NewRequestWithContext(p.Context(), method, p.url+path, strings.NewReader(form.Encode()))
	if err != nil {
		p.Fatal(err)
	}
	for name, values := range p.header {
		r.Header[name] = values
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	res, err := p.client.Do(r)
	if err != nil {
		p.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		p.Fatal(err)
	}
	return answer{res, string(body)}
}

// sees fails unless a page comes with a status and holds all of these texts.
func (p *person) sees(path string, status int, texts ...string) answer {
	p.Helper()
	got := p.get(path)
	got.mustHave(p.T, status, texts...)
	return got
}

// main is what is between head and foot of a page.
func (a answer) main() string {
	_, rest, _ := strings.Cut(a.body, "<main")
	main, _, found := strings.Cut(rest, "</main>")
	if !found {
		return a.body
	}
	return main
}

func (a answer) mustHave(t *testing.T, status int, texts ...string) {
	t.Helper()
	if a.StatusCode != status {
		t.Errorf("%s %s: HTTP %d, want %d\n%s", a.Request.Method, a.Request.URL.Path, a.StatusCode, status, a.main())
	}
	for _, text := range texts {
		if !strings.Contains(a.body, text) {
			t.Errorf("%s %s lacks %q\n%s", a.Request.Method, a.Request.URL.Path, text, a.main())
		}
	}
}

func (a answer) mustLack(t *testing.T, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if strings.Contains(a.body, text) {
			t.Errorf("%s %s holds %q\n%s", a.Request.Method, a.Request.URL.Path, text, a.main())
		}
	}
}

// hostile are values that must not break out of where they stand.
const (
	hostileScript = `<script>alert(1)</script>`
	hostileQuote  = `" onmouseover="alert(1)`
	hostileRTL    = "\u202egnp.exe"
)
