package webhook_test

import (
	"bufio"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/klingwatch/klingwatch/webhook"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// newClient returns a client that may reach loopback, unless cfg says otherwise.
func newClient(t *testing.T, cfg webhook.Config) *webhook.Client {
	t.Helper()
	if cfg.AllowNetworks == nil {
		cfg.AllowNetworks = loopback
	}
	client := webhook.NewClient(cfg)
	t.Cleanup(client.Close)
	return client
}

func message(url string) webhook.Message {
	return webhook.Message{URL: url, ID: webhook.NewEventID(), Body: []byte(`{"type":"task.succeeded"}`), Secrets: []string{webhook.NewSecret()}}
}

// receiver answers with a handler of net/http, at the URL that it returns.
func receiver(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Start()
	t.Cleanup(server.Close)
	return server.URL
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

// header answers with a status and one header.
func header(code int, name string, values ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for _, value := range values {
			w.Header().Add(name, value)
		}
		w.WriteHeader(code)
	}
}

// bare is a receiver whose answer has the bare connection, which is closed when answer
// returns.
func bare(t *testing.T, answer func(net.Conn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer conn.Close()
				answer(conn)
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		running.Wait()
	})
	return "http://" + listener.Addr().String()
}

// readRequest takes the whole request, so that a close does not break it off.
func readRequest(conn net.Conn) {
	if req, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
		_, _ = io.Copy(io.Discard, req.Body)
	}
}

// says answers a request with this text and ends.
func says(text string) func(net.Conn) {
	return func(conn net.Conn) {
		readRequest(conn)
		_, _ = io.WriteString(conn, text)
	}
}

// port returns the port of a receiver's URL, for another spelling of its host.
func port(url string) string { return url[strings.LastIndex(url, ":")+1:] }
