// Package jobs is what stands before River's own page about jobs, which is written for a trusted
// network: it refuses what other sites send, says what the page may load, and compresses.
// Whom it lets in is the caller's to decide.
//
//	mux.Handle("/jobs/", admitted(jobs.Handler(page)))
package jobs

import (
	"net/http"

	"github.com/klauspost/compress/gzhttp"
)

// maxBody is more than the ids of a thousand jobs, the longest request of the page.
const maxBody = 64 << 10

// policy is what the page may load. It sets widths and colors on elements, for which there are
// neither hashes nor nonces.
const policy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// Handler returns River's page, given as it is, as it can be shown to the world.
func Handler(page http.Handler) http.Handler {
	compressed := gzhttp.GzipHandler(page)
	return http.NewCrossOriginProtection().Handler(http.MaxBytesHandler(withHeaders(&shelf{page: compressed}), maxBody))
}

// withHeaders adds what every answer has; assets change one of them.
func withHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}
