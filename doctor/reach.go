package doctor

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"time"

	"github.com/klingwatch/klingwatch/klingapi"
)

// reached is what asking the relay for its start page came to.
type reached struct {
	err            error
	sent, answered time.Time
	date           time.Time // the relay's clock, in whole seconds; zero: it sends none
	steps          string    // how long those of DNS, connect and TLS took that were needed
}

var errNoBaseURL = errors.New("KLING_BASE_URL is not set")

// reachRelay asks without a key and without following redirects.
func (x *examination) reachRelay(ctx context.Context) (r reached) {
	if x.BaseURL == "" {
		return reached{err: errNoBaseURL}
	}
	// only to find out what is wrong with the two settings
	if _, r.err = klingapi.New(klingapi.Config{BaseURL: x.BaseURL, TaskPath: x.TaskPath, Credential: klingapi.StaticKey("")}); r.err != nil {
		return r
	}
	ctx, cancel := context.WithTimeout(ctx, x.relayTimeout())
	defer cancel()
	watch := &steps{begun: map[string]time.Time{}, took: map[string]time.Duration{}}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, watch.trace()), http.MethodHead, strings.TrimRight(x.BaseURL, "/")+"/", nil)
	if err != nil {
		return reached{err: err}
	}
	req.Header.Set("User-Agent", x.UserAgent)
	transport := http.DefaultTransport.(*http.Transport).Clone()
	defer transport.CloseIdleConnections()
	r.sent = time.Now()
	res, err := transport.RoundTrip(req)
	r.answered = time.Now()
	if r.err = err; err != nil {
		return r
	}
	defer res.Body.Close()
	r.date, _ = http.ParseTime(res.Header.Get("Date"))
	r.steps = watch.String()
	return r
}

// steps notes how long the steps to a connection take; net/http calls its hooks
// from several goroutines.
type steps struct {
	mu    sync.Mutex
	begun map[string]time.Time
	took  map[string]time.Duration
}

func (s *steps) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		DNSStart:          func(httptrace.DNSStartInfo) { s.begin("DNS") },
		DNSDone:           func(httptrace.DNSDoneInfo) { s.end("DNS", nil) },
		ConnectStart:      func(string, string) { s.begin("connect") },
		ConnectDone:       func(_, _ string, err error) { s.end("connect", err) },
		TLSHandshakeStart: func() { s.begin("TLS") },
		TLSHandshakeDone:  func(_ tls.ConnectionState, err error) { s.end("TLS", err) },
	}
}

// begin keeps the first time: several addresses may be tried.
func (s *steps) begin(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, again := s.begun[name]; !again {
		s.begun[name] = time.Now()
	}
}

func (s *steps) end(name string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.took[name] = time.Since(s.begun[name])
	}
}

// String lists the steps that were made.
func (s *steps) String() (text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range []string{"DNS", "connect", "TLS"} {
		if took, made := s.took[name]; made {
			text += fmt.Sprintf("%s %s, ", name, milliseconds(took))
		}
	}
	return text
}
