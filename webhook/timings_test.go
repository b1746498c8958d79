package webhook_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"testing"

	"github.com/klingwatch/klingwatch/webhook"
)

func TestAConnectionIsReusedAndTimed(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(*httptest.Server){
		"http":   (*httptest.Server).Start,
		"https":  (*httptest.Server).StartTLS,
		"http/2": func(s *httptest.Server) { s.EnableHTTP2 = true; s.StartTLS() },
	} {
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = fmt.Fprint(w, r.Proto) }))
		start(server)
		defer server.Close()
		_, wantPort, _ := net.SplitHostPort(server.Listener.Addr().String())
		scheme, _, _ := strings.Cut(server.URL, ":")
		client := newClient(t, webhook.Config{Resolver: resolver(always("127.0.0.1"))})
		if server.Certificate() != nil {
			client.Trust(server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs)
		}
		url := scheme + "://hook.example.com:" + wantPort // the certificate is for *.example.com

		first, second := client.Send(t.Context(), message(url)), client.Send(t.Context(), message(url))
		wantTLS := scheme == "https"
		if d := first.Timings; !first.Delivered() || first.Reused || d.DNS <= 0 || d.Connect <= 0 || (d.TLS > 0) != wantTLS || d.FirstByte <= 0 || d.Total < d.DNS+d.Connect+d.TLS+d.FirstByte {
			t.Errorf("%s: %+v", name, first)
		}
		if d := second.Timings; !second.Delivered() || !second.Reused || d.DNS != 0 || d.Connect != 0 || d.TLS != 0 || d.FirstByte <= 0 || d.Total < d.FirstByte {
			t.Errorf("%s, again: %+v", name, second)
		}
		if want := "127.0.0.1:" + wantPort; first.RemoteAddr != want || second.RemoteAddr != want || (name == "http/2") != (first.Body == "HTTP/2.0") {
			t.Errorf("%s: connected to %s, %s by %s; want %s", name, first.RemoteAddr, second.RemoteAddr, first.Body, want)
		}
	}
}

// net/http dials on although its request has got another connection by then.
func TestADialThatGoesOnIsNotMeasured(t *testing.T) {
	t.Parallel()
	ours, theirs := net.Pipe()
	defer ours.Close()
	defer theirs.Close()
	own := func(hooks *httptrace.ClientTrace) {
		hooks.DNSStart(httptrace.DNSStartInfo{})
		hooks.DNSDone(httptrace.DNSDoneInfo{})
		hooks.ConnectStart("tcp", "192.0.2.1:443")
		hooks.ConnectDone("tcp", "192.0.2.1:443", nil)
		hooks.TLSHandshakeStart()
		hooks.TLSHandshakeDone(tls.ConnectionState{}, nil)
	}
	for name, c := range map[string]struct {
		events func(*httptrace.ClientTrace)
		remote string
		reused bool
	}{
		"an idle one came meanwhile": {func(hooks *httptrace.ClientTrace) {
			hooks.GetConn("receiver.example:443")
			own(hooks)
			hooks.GotConn(httptrace.GotConnInfo{Conn: ours, Reused: true})
		}, "pipe", true},
		"the dial ends later": {func(hooks *httptrace.ClientTrace) {
			hooks.GetConn("receiver.example:443")
			hooks.GotConn(httptrace.GotConnInfo{Conn: ours, Reused: true})
			own(hooks)
		}, "pipe", true},
		"the idle one was dead": {func(hooks *httptrace.ClientTrace) {
			hooks.GetConn("receiver.example:443")
			hooks.GotConn(httptrace.GotConnInfo{Conn: ours, Reused: true})
			hooks.GetConn("receiver.example:443")
		}, "", false},
		"no address answers": {func(hooks *httptrace.ClientTrace) {
			hooks.GetConn("receiver.example:443")
			hooks.ConnectDone("tcp", "192.0.2.1:443", errors.New("too early to count"))
		}, "", false},
	} {
		hooks, read := webhook.Stopwatch()
		c.events(hooks)
		timings, remote, reused := read()
		if timings != (webhook.Timings{}) || remote != c.remote || reused != c.reused {
			t.Errorf("%s: %+v, %q, %v", name, timings, remote, reused)
		}
		own(hooks) // after the end
		hooks.GotConn(httptrace.GotConnInfo{Conn: ours})
		if again, remote, _ := read(); again != timings || remote != c.remote {
			t.Errorf("%s: changed after the end: %+v", name, again)
		}
	}
}

// Of two addresses that are tried at the same time the first that answers counts.
func TestParallelConnectsAreOneStage(t *testing.T) {
	t.Parallel()
	hooks, read := webhook.Stopwatch()
	hooks.GetConn("receiver.example:443")
	hooks.ConnectStart("tcp", "[2001:db8::1]:443")
	hooks.ConnectStart("tcp", "192.0.2.1:443")
	hooks.ConnectDone("tcp", "192.0.2.1:443", nil)
	hooks.ConnectDone("tcp", "[2001:db8::1]:443", errors.New("called off"))
	hooks.TLSHandshakeStart()
	hooks.ConnectStart("tcp", "192.0.2.2:443") // as late as net.Dialer may be
	hooks.TLSHandshakeDone(tls.ConnectionState{}, errors.New("no common version"))
	timings, remote, reused := read()
	if remote != "192.0.2.1:443" || reused || timings.Connect <= 0 || timings.TLS <= 0 || timings.DNS != 0 || timings.FirstByte != 0 {
		t.Errorf("%+v, %q, %v", timings, remote, reused)
	}
}
