package web

import (
	"context"
	"net/http"

	"github.com/klingwatch/klingwatch/webhook"
)

// Keys returns the public keys that sign webhooks now, as whpk_.
type Keys func(context.Context) ([]string, error)

// jwks serves the public keys of v1a signatures as a JSON Web Key Set (RFC 7517).
func jwks(keys Keys) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		public, err := keys(r.Context())
		var set []byte
		if err == nil {
			set, err = webhook.JWKS(public)
		}
		if err != nil {
			http.Error(w, "the keys cannot be read now", http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/jwk-set+json")
		w.Header().Set("Cache-Control", "public, max-age=300")
		_, _ = w.Write(set)
	}
}
