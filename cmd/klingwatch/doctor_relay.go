package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
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
	date           time.Time // the relay's clock, in whole seconds; zero: it does not tell
	steps          string    // what of DNS, connect and TLS was made took
}

var errNoBaseURL = errors.New("KLING_BASE_URL is not set")

// reachRelay asks without a key and without following redirects.
func reachRelay(ctx context.Context, s settings) (r reached) {
	if s.BaseURL == "" {
		return reached{err: errNoBaseURL}
	}
	// only to hear what is wrong with the settings
	if _, r.err = klingapi.New(klingapi.Config{BaseURL: s.BaseURL, PathPrefix: s.PathPrefix, Credential: klingapi.StaticKey("")}); r.err != nil {
		return r
	}
	ctx, cancel := context.WithTimeout(ctx, min(s.PollTimeout, relayLimit))
	defer cancel()
	watch := &steps{begun: map[string]time.Time{}, took: map[string]time.Duration{}}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, watch.trace()), http.MethodHead, strings.TrimRight(s.BaseURL, "/")+"/", nil)
	if err != nil {
		return reached{err: err}
	}
	req.Header.Set("User-Agent", userAgent())
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

// steps notes how long the ways to a connection take; net/http calls its hooks
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
			text += fmt.Sprintf("%s %s, ", name, milliseconds(took.Seconds()))
		}
	}
	return text
}

func (d *doctor) checkRelay(context.Context) (finding, error) {
	r := d.reach()
	if r.err == nil {
		return fine("answers: %swhole %s", r.steps, milliseconds(r.answered.Sub(r.sent).Seconds())), nil
	}
	return judgeUnreached(r.err), nil
}

// judgeUnreached says what to do about a relay that does not answer.
func judgeUnreached(err error) finding {
	dnsErr, isDNS := errors.AsType[*net.DNSError](err)
	certErr, isCert := errors.AsType[*tls.CertificateVerificationError](err)
	switch {
	case errors.Is(err, errNoBaseURL):
		return bad("give the scheme and host of the relay, like https://relay.example", "%s", err)
	case isDNS:
		return bad("check KLING_BASE_URL and this machine's DNS", "the name %s cannot be resolved: %s", dnsErr.Name, dnsErr.Err)
	case isCert:
		return bad("check KLING_BASE_URL, this machine's clock and its CA certificates", "its certificate is not accepted: %s", certErr.Err)
	case errors.Is(err, context.DeadlineExceeded):
		return bad("check the network and firewalls on the way", "no answer in time")
	}
	return bad("check KLING_BASE_URL, the network and firewalls on the way", "%s", err)
}

// webhookTolerance is how far a webhook's time may be off for Standard Webhooks
// receivers; a minute is left for the way and for their own clocks.
const webhookTolerance = 4 * time.Minute

func (d *doctor) checkRelayClock(context.Context) (finding, error) {
	r := d.reach()
	switch {
	case r.err != nil:
		return skipped("the relay was not reached; see relay"), nil
	case r.date.IsZero():
		return skipped("the relay does not tell its time"), nil
	}
	// the header is cut to whole seconds
	skew, within := skewOf(r.date.Add(time.Second/2), r.sent, r.answered)
	return judgeClock("the relay's", skew, within+time.Second/2, 5*time.Second, webhookTolerance), nil
}

// skewOf returns how far a clock is ahead of ours that was read between two
// moments, and how uncertain that is.
func skewOf(read, sent, answered time.Time) (skew, within time.Duration) {
	half := answered.Sub(sent) / 2
	return read.Sub(sent.Add(half)), half
}

// judgeClock compares a clock with this machine's.
func judgeClock(whose string, skew, within, warnAt, badAt time.Duration) finding {
	const todo = "set this machine's clock by NTP, if it is the one that is wrong: webhooks are signed with its time, and deadlines go by the database's"
	certain := max(skew.Abs()-within, 0)
	direction := "ahead of"
	if skew < 0 {
		direction = "behind"
	}
	switch {
	case certain > badAt:
		return bad(todo, "%s clock is %s %s this machine's", whose, short(skew), direction)
	case certain > warnAt:
		return warn(todo, "%s clock is %s %s this machine's", whose, short(skew), direction)
	}
	return fine("%s clock agrees with this machine's within %s", whose, max(certain+within, time.Millisecond).Round(time.Millisecond))
}

// checkKey asks about a task that does not exist: who is told so is let in. The
// simulated relay needs the first word of the id.
func (d *doctor) checkKey(ctx context.Context) (finding, error) {
	if d.BaseURL == "" {
		return skipped(errNoBaseURL.Error()), nil
	}
	s := d.settings
	s.PollTimeout = min(s.PollTimeout, relayLimit)
	client, err := s.relay()
	if err != nil {
		return bad("correct the setting; docs/settings.md lists them", "%s", err), nil
	}
	defer client.Close()
	unknown := klingapi.Ref{Action: "images", Action2: "generations", TaskID: "unknown-klingwatch-doctor-" + rand.Text()}
	_, err = client.GetTask(ctx, unknown)
	if apiErr, ok := errors.AsType[*klingapi.Error](err); ok && apiErr.Kind == klingapi.TokenTime {
		_, err = client.GetTask(ctx, unknown) // by the relay's clock, as the service would
	}
	return judgeKey(err), nil
}

// judgeKey says what an answer about an unknown task tells of the key.
func judgeKey(err error) finding {
	apiErr, isAPI := errors.AsType[*klingapi.Error](err)
	if err == nil || isAPI && apiErr.Kind == klingapi.NotFound {
		return fine("the relay accepts it")
	}
	if !isAPI {
		return bad("try again", "%s", err)
	}
	advice, known := keyAdvice[apiErr.Kind]
	if !known {
		advice = keyAdvice[klingapi.Unreadable]
	}
	return finding{State: advice.state, Found: apiErr.Error(), Todo: advice.todo}
}

// keyAdvice is what to do about each kind of answer.
var keyAdvice = map[klingapi.ErrorKind]struct{ state, todo string }{
	klingapi.Refused:       {stateBad, "check the key, the account's balance and the addresses it may be used from; a key in KLING_API_KEY_FILE may be replaced while the service runs"},
	klingapi.TokenTime:     {stateBad, "set this machine's clock by NTP: the token's times are not accepted"},
	klingapi.Misconfigured: {stateBad, "check KLING_BASE_URL and KLING_PATH_PREFIX: this is no answer of a relay"},
	klingapi.Unreachable:   {stateBad, "see relay; KLINGWATCH_POLL_TIMEOUT bounds the wait"},
	klingapi.Unreadable:    {stateBad, "check KLING_BASE_URL and KLING_PATH_PREFIX: the answer cannot be understood"},
	klingapi.Throttled:     {stateWarn, "lower KLINGWATCH_POLL_RATE, or ask the relay for a higher limit; whether it accepts the key is not known"},
	klingapi.Unavailable:   {stateWarn, "wait until the relay is well; whether it accepts the key is not known"},
	klingapi.Rejected:      {stateWarn, "try a task that exists: klingwatch track; the relay lets the key in but does not take the question"},
}
