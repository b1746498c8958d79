package standin

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"testing"

	"github.com/klingwatch/klingwatch/cmd/klingbench/process"
)

// The two servers of a relay start at once: whichever is first, HTTP/2 is served.
func TestEveryRelaySpeaksHTTP2(t *testing.T) {
	for range 30 {
		var (
			none process.None
			at   Addresses
		)
		relay := &relayServer{ctx: t.Context()}
		if err := relay.Listen(none, &at); err != nil {
			t.Fatal(err)
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(at.Secure.Authority)
		transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, at.Secure.URL+"/v1/videos/text2video/task-1", nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		transport.CloseIdleConnections()
		if res.ProtoMajor != 2 {
			t.Fatalf("the relay answered over %s", res.Proto)
		}
	}
}
