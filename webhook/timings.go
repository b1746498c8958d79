package webhook

import (
	"crypto/tls"
	"net/http/httptrace"
	"sync"
	"time"
)

// Timings say how long the stages of one attempt took. A stage that was not reached
// is 0, and so are DNS, Connect and TLS when the connection was reused.
type Timings struct {
	DNS       time.Duration // resolving the name; 0 if the URL contains an address
	Connect   time.Duration // TCP, over all addresses that were tried
	TLS       time.Duration // handshake; 0 for http
	FirstByte time.Duration // from having the connection to the first byte of the answer
	Total     time.Duration // everything, up to the excerpt of the body; 0 when nothing was sent
}

// stage is the point that an exchange has reached.
type stage int

const (
	preparing stage = iota
	resolving
	connecting
	handshaking
	waiting // connected: the request is being written or its answer awaited
)

// stopwatch measures one exchange. net/http calls its hooks from other
// goroutines, and some after the exchange: a dial goes on although its request has
// ended or got another connection. Such late calls are ignored.
type stopwatch struct {
	mu      sync.Mutex
	ended   bool
	stage   stage
	since   time.Time // when the stage began
	timings Timings
	remote  string // host:port; "" while not connected
	reused  bool

	connection func() // called when there is one; may be nil
}

// trace returns the hooks for httptrace.
func (w *stopwatch) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		GetConn:              func(string) { w.restart() },
		DNSStart:             func(httptrace.DNSStartInfo) { w.enter(resolving) },
		DNSDone:              func(httptrace.DNSDoneInfo) { w.measure(resolving, &w.timings.DNS) },
		ConnectStart:         func(string, string) { w.enter(connecting) },
		ConnectDone:          func(_, addr string, err error) { w.connected(addr, err) },
		TLSHandshakeStart:    func() { w.enter(handshaking) },
		TLSHandshakeDone:     func(tls.ConnectionState, error) { w.measure(handshaking, &w.timings.TLS) },
		GotConn:              w.got,
		GotFirstResponseByte: func() { w.measure(waiting, &w.timings.FirstByte) },
	}
}

// restart forgets an earlier connection: net/http takes another one when an
// idle one turns out to be dead.
func (w *stopwatch) restart() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.ended {
		w.stage, w.timings, w.remote, w.reused = preparing, Timings{}, "", false
	}
}

// enter begins a stage, unless it has begun: two connects may run in parallel.
func (w *stopwatch) enter(s stage) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.ended && s > w.stage {
		w.stage, w.since = s, time.Now()
	}
}

// measure stores how long the present stage has taken, if it is still s.
func (w *stopwatch) measure(s stage, took *time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.ended && s == w.stage {
		*took = time.Since(w.since)
	}
}

// connected measures until the first connection, with the failed ones before it.
func (w *stopwatch) connected(addr string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended || w.stage != connecting || w.remote != "" {
		return
	}
	w.timings.Connect = time.Since(w.since)
	if err == nil {
		w.remote = addr
	}
}

// got begins to wait for the answer.
func (w *stopwatch) got(info httptrace.GotConnInfo) {
	if w.connectedBy(info) && w.connection != nil {
		w.connection()
	}
}

// connectedBy notes the connection that the request is sent on, unless it is too late.
func (w *stopwatch) connectedBy(info httptrace.GotConnInfo) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return false
	}
	if w.reused = info.Reused; w.reused {
		w.timings = Timings{}
	}
	w.remote = info.Conn.RemoteAddr().String()
	w.stage, w.since = waiting, time.Now()
	return true
}

// reached returns the stage that the exchange has reached.
func (w *stopwatch) reached() stage {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stage
}

// read stops the watch and returns what it measured; the caller sets Total.
func (w *stopwatch) read() (timings Timings, remote string, reused bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	return w.timings, w.remote, w.reused
}
