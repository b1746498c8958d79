package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"github.com/klingwatch/klingwatch/outbound"
)

const (
	// DefaultTimeout bounds one request: DNS, dial, TLS, body and answer.
	DefaultTimeout = 20 * time.Second
	// MaxResponse is how much of an answer's body is read and kept, in bytes.
	MaxResponse = 4096

	// bodyTimeout bounds the reading of an answer's body: the status decides, the
	// body is only for people.
	bodyTimeout = 2 * time.Second

	// MaxConcurrent is how many requests at the same time can use kept connections
	// to one receiver; more need new connections.
	MaxConcurrent = 64
	// idleTimeout bounds the number of connections: one that is idle for so long is
	// closed.
	idleTimeout = 30 * time.Second

	maxResponseHeaders = 32 << 10
	// A webhook is sent in one write, so that a receiver that answers before it has
	// read the body (413, 401) is understood, instead of breaking the pipe.
	writeBuffer = 32 << 10
)

// Config sets up a Client; the zero value is usable.
type Config struct {
	Timeout       time.Duration  // of one request, everything included; 0: DefaultTimeout
	AllowNetworks []netip.Prefix // private networks that may be reached; others are refused at dial time
	UserAgent     string         // empty: klingwatch
	Resolver      *net.Resolver  // for host names; nil: the system's
}

// Client sends single requests. It checks the address of every connection after
// DNS, follows no redirect, uses no proxy and decompresses no answer. It is safe
// for concurrent use.
type Client struct {
	timeout     time.Duration
	bodyTimeout time.Duration
	userAgent   string
	http        *http.Client
}

// NewClient returns a client that may reach public addresses and the allowed networks.
func NewClient(cfg Config) *Client {
	c := &Client{timeout: cfg.Timeout, bodyTimeout: bodyTimeout, userAgent: cfg.UserAgent}
	if c.timeout <= 0 {
		c.timeout = DefaultTimeout
	}
	if c.userAgent == "" {
		c.userAgent = "klingwatch"
	}
	// net/http lets a dial outlive its request: these two timeouts end it.
	dialer := &net.Dialer{Control: outbound.Guard(cfg.AllowNetworks), Resolver: cfg.Resolver, Timeout: c.timeout}
	c.http = &http.Client{
		Transport: &http.Transport{
			Proxy:                  nil, // not the one of the environment: it would dial in our place, unguarded
			DialContext:            dialer.DialContext,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    c.timeout,
			ForceAttemptHTTP2:      true,
			DisableCompression:     true, // no gzip bomb
			MaxResponseHeaderBytes: maxResponseHeaders,
			WriteBufferSize:        writeBuffer,
			// No limit for all hosts together: to keep it, net/http may close a connection
			// whose answer has just arrived, and report that request as failed.
			MaxIdleConns:        0,
			MaxIdleConnsPerHost: MaxConcurrent,
			IdleConnTimeout:     idleTimeout,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c
}

// Close closes idle connections. Requests under way go on.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Message is one webhook to send.
type Message struct {
	URL     string   // of the receiver, see CheckURL
	ID      string   // webhook-id
	Body    []byte   // JSON, sent and signed unchanged
	Secrets []string // whsec_ and whsk_ keys, newest first

	Traceparent string // lets the receiver join a trace (W3C Trace Context); "": none
	Connected   func() // called when the request has a connection to its receiver, sometimes again on another one; nil: nobody is told
}

// Send makes one attempt. It returns no error: the Result says what went wrong.
func (c *Client) Send(ctx context.Context, m Message) Result {
	now := time.Now()
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	watch := &stopwatch{connection: m.Connected}
	req, class, err := c.request(httptrace.WithClientTrace(ctx, watch.trace()), m, now)
	if err != nil {
		return Result{Error: class, Detail: err.Error()}
	}
	result := c.exchange(req, cancel, watch)
	result.Connected = watch.reached() == waiting
	result.Timings, result.RemoteAddr, result.Reused = watch.read()
	result.Timings.Total = time.Since(now)
	return result
}

// request makes the signed request, or returns the class of the failure and the
// reason.
func (c *Client) request(ctx context.Context, m Message, now time.Time) (req *http.Request, class string, err error) {
	header, err := m.Header(c.userAgent, now)
	if err != nil {
		return nil, ErrorSigning, err
	}
	if err := CheckURL(m.URL); err != nil {
		return nil, ErrorInvalidURL, err
	}
	req, err = http.NewRequestWithContext(ctx, http.MethodPost, m.URL, bytes.NewReader(m.Body))
	if err != nil {
		return nil, ErrorInvalidURL, errors.New("the URL cannot be used")
	}
	req.Header = header
	return req, "", nil
}

// Header returns what a message is sent with at a time, signed; it fails only for a key
// that is none.
func (m Message) Header(userAgent string, at time.Time) (http.Header, error) {
	signature, err := Sign(m.Secrets, m.ID, at, m.Body)
	if err != nil {
		return nil, err
	}
	h := http.Header{}
	h.Set("Content-Type", "application/json")
	h.Set("User-Agent", userAgent)
	h.Set("webhook-id", m.ID)
	h.Set("webhook-timestamp", strconv.FormatInt(at.Unix(), 10))
	h.Set("webhook-signature", signature)
	if m.Traceparent != "" {
		h.Set("traceparent", m.Traceparent)
	}
	return h, nil
}

// exchange sends the request and reads the answer, but only the beginning of its
// body: a body that drips, breaks or does not end changes nothing. cancel ends req.
func (c *Client) exchange(req *http.Request, cancel context.CancelFunc, watch *stopwatch) Result {
	res, err := c.http.Do(req)
	if err != nil {
		late := errors.Is(req.Context().Err(), context.DeadlineExceeded)
		return failure(err, watch.reached(), late, c.timeout)
	}
	defer res.Body.Close()
	var excerpt []byte
	if res.StatusCode != http.StatusSwitchingProtocols { // there the body is a bare connection, which cancel does not end
		timer := time.AfterFunc(c.bodyTimeout, cancel)
		defer timer.Stop()
		excerpt, _, _ = outbound.ReadBody(res.Body, MaxResponse)
	}
	return resultOf(res, excerpt, time.Now())
}

// CheckURL returns an error that says what is wrong with a receiver's URL, without
// repeating it. A URL must be absolute, http or https, without user and fragment.
func CheckURL(raw string) error {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return errors.New("it is not a URL")
	case u.Scheme != "http" && u.Scheme != "https":
		return errors.New("it must begin with http:// or https://")
	case u.Hostname() == "":
		return errors.New("it has no host")
	case u.User != nil:
		return errors.New("it must not contain a user or password: klingwatch signs instead")
	case u.Fragment != "":
		return errors.New("it must not contain a #fragment")
	}
	return nil
}

// HostOf returns scheme and host of a receiver's URL, for logs and events and to
// recognise the receiver: path and query may contain secrets. All spellings of a
// host give the same text.
func HostOf(rawURL string) string {
	origin, err := outbound.Origin(rawURL)
	if err != nil {
		return "a URL that cannot be read"
	}
	return origin
}
