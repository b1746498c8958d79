package fetch_test

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/klingwatch/klingwatch/worker/fetch"
)

func TestRedirectsAreFollowedToTheFile(t *testing.T) {
	t.Parallel()
	content := clip(10_000)
	file := host(t, serves(content))
	url := host(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/1":
			http.Redirect(w, r, "/2", http.StatusMovedPermanently)
		case "/2":
			http.Redirect(w, r, "3?x", http.StatusFound)
		case "/3":
			http.Redirect(w, r, "/4", http.StatusSeeOther)
		case "/4":
			http.Redirect(w, r, "/5", http.StatusTemporaryRedirect)
		default:
			http.Redirect(w, r, file, http.StatusPermanentRedirect)
		}
	})
	into, got, err := fetched(t, fetch.Config{}, url+"/1")
	if err != nil {
		t.Fatal(err)
	}
	check(t, into, got, content)
	_, _, err = fetched(t, fetch.Config{}, host(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, url+"/1", http.StatusFound) }))
	refused(t, err, fetch.Forbidden, "more than 5 redirects")
}

func TestRedirectsOutOfBoundsAreNotFollowed(t *testing.T) {
	t.Parallel()
	// the host itself is allowed, but not all of loopback
	only := []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	for target, hint := range map[string]string{
		"http://169.254.169.254/latest/meta-data/?secret": "KLINGWATCH_ARCHIVE_ALLOW_NETWORKS",
		"http://127.0.0.2/secret":                         "KLINGWATCH_ARCHIVE_ALLOW_NETWORKS",
		"http://[::1]/secret":                             "KLINGWATCH_ARCHIVE_ALLOW_NETWORKS",
		"/loop?secret":                                    "more than 5 redirects",
		"file:///etc/secret":                              "not http or https",
		"ftp://example.com/secret":                        "not http or https",
		"data:video/mp4;base64,AAAA":                      "not http or https",
		"https://":                                        "not http or https",
	} {
		url := host(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", target)
			w.WriteHeader(http.StatusFound)
		})
		_, _, err := fetched(t, fetch.Config{AllowNetworks: only}, url)
		refused(t, err, fetch.Forbidden, hint)
	}
	_, _, err := fetched(t, fetch.Config{}, raw(t, says("HTTP/1.1 302 Found\r\nLocation: http://%zz/secret\r\n\r\n")))
	refused(t, err, fetch.Trouble, "not a URL")
}

// The file could be replaced on its way, and the signature in its URL be read.
func TestARedirectFromHTTPSToHTTPIsNotFollowed(t *testing.T) {
	t.Parallel()
	plain := host(t, serves(clip(1000)))
	secure := httptest.NewUnstartedServer(http.RedirectHandler(plain+"/?secret", http.StatusFound))
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	t.Cleanup(secure.Close)
	client := newClient(fetch.Config{})
	fetch.Trust(client, secure.Certificate())
	_, err := client.Fetch(t.Context(), fetch.Source{URL: secure.URL}, local(t), nil)
	refused(t, err, fetch.Forbidden, "from https to http")
	_, err = newClient(fetch.Config{}).Fetch(t.Context(), fetch.Source{URL: secure.URL}, local(t), nil)
	refused(t, err, fetch.Trouble, "certificate")
}

// visits are the requests of a host: path, key, Referer.
type visits struct {
	mu   sync.Mutex
	seen []string
}

func (v *visits) note(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v.mu.Lock()
		v.seen = append(v.seen, strings.TrimSpace(fmt.Sprintln(r.URL.Path, r.Header.Get("Authorization"), r.Header.Get("X-Api-Key"), r.Header.Get("Cookie"), r.Header.Get("Referer"))))
		v.mu.Unlock()
		next(w, r)
	}
}

func TestTheRelaysKeyStaysAtTheRelay(t *testing.T) {
	t.Parallel()
	var relay, cdn visits
	var relayURL string
	cdnURL := host(t, cdn.note(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, relayURL+"/back", http.StatusFound)
	}))
	relayURL = host(t, relay.note(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/file":
			http.Redirect(w, r, "/same", http.StatusFound)
		case "/same":
			http.Redirect(w, r, cdnURL+"/cdn", http.StatusFound)
		default:
			serves(clip(5000))(w, r)
		}
	}))
	source := fetch.Source{URL: relayURL + "/file?sig=1", Header: http.Header{"authorization": {"Bearer k"}, "X-Api-Key": {"k"}, "Cookie": {"c=1"}}}
	if _, err := newClient(fetch.Config{}).Fetch(t.Context(), source, local(t), nil); err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(relay.seen, "; "), "/file Bearer k k c=1; /same Bearer k k c=1; /back"; got != want {
		t.Errorf("the relay saw %q, want %q", got, want)
	}
	if got := strings.Join(cdn.seen, "; "); got != "/cdn" {
		t.Errorf("the other host saw %q", got)
	}
}
