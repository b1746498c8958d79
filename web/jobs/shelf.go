package jobs

import (
	"bytes"
	"maps"
	"net/http"
	"strings"
	"sync"
)

// shelf keeps the compressed assets of the page, a megabyte of scripts that never changes while
// the process lives, so that each is compressed once.
type shelf struct {
	page http.Handler // it compresses

	mu     sync.Mutex
	assets map[string]*recording // by path
}

// ServeHTTP answers from the shelf what lies there, or is to lie there.
func (s *shelf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var asset *recording
	if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/assets/") && takesGzip(r) {
		asset = s.asset(r)
	}
	if asset == nil {
		s.page.ServeHTTP(w, r)
		return
	}
	maps.Copy(w.Header(), asset.header)
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable") // its name has a hash of it
	_, _ = w.Write(asset.body.Bytes())
}

// takesGzip is true of every browser. What weighs encodings is left to what compresses.
func takesGzip(r *http.Request) bool {
	accepted := r.Header.Get("Accept-Encoding")
	return strings.Contains(accepted, "gzip") && !strings.Contains(accepted, "q=0")
}

// asset returns the compressed answer to a request for an asset; nil: there is no such asset. The
// page answers with itself in place of one, which must not be kept: there are endless such names.
func (s *shelf) asset(r *http.Request) *recording {
	s.mu.Lock()
	defer s.mu.Unlock()
	if kept := s.assets[r.URL.Path]; kept != nil {
		return kept
	}
	whole := r.Clone(r.Context())
	whole.Header = http.Header{"Accept-Encoding": {"gzip"}}
	answer := &recording{header: http.Header{}, status: http.StatusOK}
	s.page.ServeHTTP(answer, whole)
	if answer.status != http.StatusOK || answer.header.Get("Content-Encoding") == "" || strings.HasPrefix(answer.header.Get("Content-Type"), "text/html") {
		return nil
	}
	if s.assets == nil {
		s.assets = map[string]*recording{}
	}
	s.assets[r.URL.Path] = answer
	return answer
}

// recording is an answer that is kept.
type recording struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header returns the header to fill in.
func (a *recording) Header() http.Header { return a.header }

// WriteHeader notes the status.
func (a *recording) WriteHeader(status int) { a.status = status }

// Write keeps a piece.
func (a *recording) Write(p []byte) (int, error) { return a.body.Write(p) }
