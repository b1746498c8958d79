package jobs

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// script is an asset that is worth compressing.
var script = strings.Repeat("export const answer = 42;\n", 1000)

// page stands for River's: it answers with itself in place of what it does not know.
func page(asked *int) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /jobs/assets/main-Bk0gM_NU.js", func(w http.ResponseWriter, r *http.Request) {
		*asked++
		http.ServeContent(w, r, "main.js", time.Time{}, strings.NewReader(script))
	})
	mux.HandleFunc("POST /jobs/api/jobs/cancel", func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); err != nil {
			http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		}
	})
	mux.HandleFunc("GET /jobs/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, "<!doctype html>"+strings.Repeat("<p>jobs</p>", 1000))
	})
	return mux
}

// browse sends a request as a browser would; header holds pairs.
func browse(h http.Handler, method, path, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://klingwatch.test"+path, strings.NewReader(body))
	r.Header.Set("Accept-Encoding", "gzip, deflate, br, zstd")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestOtherSitesCannotAct(t *testing.T) {
	t.Parallel()
	h := Handler(page(new(int)))
	const cancel = "/jobs/api/jobs/cancel"
	for _, test := range []struct {
		name   string
		header []string
		want   int
	}{
		{"our own page", []string{"Sec-Fetch-Site", "same-origin"}, http.StatusOK},
		{"another site", []string{"Sec-Fetch-Site", "cross-site", "Content-Type", "text/plain"}, http.StatusForbidden},
		{"a neighbor's host", []string{"Sec-Fetch-Site", "same-site"}, http.StatusForbidden},
		{"an old browser on another site", []string{"Origin", "https://evil.test"}, http.StatusForbidden},
		{"an old browser on our own page", []string{"Origin", "http://klingwatch.test"}, http.StatusOK},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if w := browse(h, http.MethodPost, cancel, `{"ids":["1"]}`, test.header...); w.Code != test.want {
				t.Errorf("%d, want %d", w.Code, test.want)
			}
		})
	}
	if w := browse(h, http.MethodPost, cancel, strings.Repeat("1", maxBody+1)); w.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("a body without end: %d", w.Code)
	}
}

func TestThePageMayLoadItsOwnPartsOnly(t *testing.T) {
	t.Parallel()
	h := Handler(page(new(int)))
	for _, path := range []string{"/jobs/", "/jobs/assets/main-Bk0gM_NU.js", "/nowhere"} {
		header := browse(h, http.MethodGet, path, "").Header()
		if got := header.Get("Content-Security-Policy"); !strings.HasPrefix(got, "default-src 'none'; script-src 'self';") || !strings.Contains(got, "frame-ancestors 'none'") {
			t.Errorf("%s may load: %q", path, got)
		}
		if header.Get("X-Content-Type-Options") != "nosniff" || header.Get("Referrer-Policy") != "same-origin" {
			t.Errorf("%s: %v", path, header)
		}
	}
}

func TestAssetsAreCompressedOnceAndKeptByBrowsers(t *testing.T) {
	t.Parallel()
	asked := 0
	h := Handler(page(&asked))
	for range 3 {
		w := browse(h, http.MethodGet, "/jobs/assets/main-Bk0gM_NU.js", "", "Range", "bytes=0-9")
		if w.Code != http.StatusOK || w.Header().Get("Cache-Control") != "public, max-age=31536000, immutable" || w.Header().Get("Vary") != "Accept-Encoding" {
			t.Errorf("%d %v", w.Code, w.Header())
		}
		if got := unpacked(t, w); got != script {
			t.Errorf("another script: %.40q", got)
		}
	}
	if asked != 1 {
		t.Errorf("compressed %d times", asked)
	}
	if w := browse(h, http.MethodGet, "/jobs/assets/main-Bk0gM_NU.js", "", "Accept-Encoding", "gzip;q=0"); w.Body.String() != script {
		t.Errorf("who cannot unpack gets %v", w.Header())
	}
}

func TestWhatChangesIsCompressedAndNotKept(t *testing.T) {
	t.Parallel()
	h := Handler(page(new(int)))
	for _, path := range []string{"/jobs/", "/jobs/assets/made-up.js"} {
		w := browse(h, http.MethodGet, path, "", "Accept-Encoding", "gzip")
		if got := unpacked(t, w); !strings.HasPrefix(got, "<!doctype html>") || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %.40q %v", path, got, w.Header())
		}
	}
	shelf := &shelf{page: page(new(int))}
	if shelf.asset(httptest.NewRequest(http.MethodGet, "/jobs/assets/made-up.js", nil)); len(shelf.assets) != 0 {
		t.Error("names that anybody can make up are kept")
	}
}

// unpacked is the body of a compressed answer.
func unpacked(t *testing.T, w *httptest.ResponseRecorder) string {
	t.Helper()
	reader, err := gzip.NewReader(w.Body)
	if err != nil {
		t.Fatalf("%v: %v", w.Header(), err)
	}
	text, err := io.ReadAll(reader)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
