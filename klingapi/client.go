package klingapi

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/klingwatch/klingwatch/outbound"
)

const (
	// DefaultTimeout bounds one exchange, body included.
	DefaultTimeout = 15 * time.Second
	// DefaultMaxConns bounds the connections to the relay.
	DefaultMaxConns = 1000
	// MaxBody is the largest body that is read, in bytes, after gzip: known replies are
	// below 20 kB, but an image inline takes megabytes.
	MaxBody = 8 << 20
	// MaxRetryAfter is the longest wait that a relay can ask for with Retry-After.
	MaxRetryAfter = time.Hour
)

// Config sets up a Client. BaseURL and Credential are required.
type Config struct {
	BaseURL string // scheme and host, and a path if there is one: https://relay.example
	// TaskPath is where the relay answers about tasks: path and query below the base
	// URL, with the placeholders {action}, {action2}, and one of {task_id} and
	// {task_ids}; the latter takes several ids, separated by commas. Empty:
	// DefaultTaskPath.
	TaskPath   string
	Credential Credential        // the bearer token of each request
	Timeout    time.Duration     // of one exchange, body included; 0: DefaultTimeout
	MaxConns   int               // connections to the relay; 0: DefaultMaxConns
	UserAgent  string            // empty: klingwatch
	RootCAs    *x509.CertPool    // vouch for a relay at https; nil: those of the system
	Transport  http.RoundTripper // replaces the default, RootCAs with it; it must neither follow redirects nor decompress
}

// Client sends requests to one relay. It is safe for concurrent use.
type Client struct {
	base       string
	path       taskPath
	host       string // of base
	account    account
	credential Credential
	timeout    time.Duration
	transport  http.RoundTripper
	headers    *headers
}

// New checks the configuration and returns a client, without connecting.
func New(cfg Config) (*Client, error) {
	base, err := url.Parse(cfg.BaseURL)
	if err != nil || (base.Scheme != "http" && base.Scheme != "https") || base.Host == "" {
		return nil, errors.New("the base URL must be like https://relay.example")
	}
	if base.User != nil || base.RawQuery != "" || base.Fragment != "" {
		return nil, errors.New("the base URL must have no user, query or fragment")
	}
	origin, err := outbound.Origin(cfg.BaseURL)
	if err != nil {
		return nil, errors.New("the base URL must be like https://relay.example")
	}
	path, err := parseTaskPath(cmp.Or(cfg.TaskPath, DefaultTaskPath))
	if err != nil {
		return nil, err
	}
	if cfg.Credential == nil {
		return nil, errors.New("a credential is required")
	}
	if key, ok := cfg.Credential.(StaticKey); ok {
		if err := CheckKey(string(key)); err != nil {
			return nil, err
		}
	}
	_, host, _ := strings.Cut(origin, "://")
	c := &Client{
		base:       strings.TrimRight(base.String(), "/"),
		path:       path,
		host:       base.Host,
		account:    account{host: host},
		credential: cfg.Credential,
		timeout:    cfg.Timeout,
		transport:  cfg.transport(),
	}
	if c.timeout <= 0 {
		c.timeout = DefaultTimeout
	}
	c.headers = &headers{userAgent: cmp.Or(cfg.UserAgent, "klingwatch")}
	return c, nil
}

// transport returns the given one, or one with the limits of the configuration.
func (cfg Config) transport() http.RoundTripper {
	if cfg.Transport != nil {
		return cfg.Transport
	}
	conns := cfg.MaxConns
	if conns <= 0 {
		conns = DefaultMaxConns
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConns, transport.MaxIdleConnsPerHost, transport.MaxConnsPerHost = conns, conns, conns
	transport.DisableCompression = true // MaxBody counts what is read, and the headers stay the documented ones
	transport.MaxResponseHeaderBytes = 64 << 10
	if cfg.RootCAs != nil {
		transport.TLSClientConfig = &tls.Config{RootCAs: cfg.RootCAs, MinVersion: tls.VersionTLS12}
	}
	return transport
}

// Close closes idle connections. Requests under way go on.
func (c *Client) Close() {
	if t, ok := c.transport.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}

// BaseURL is the one of the configuration, without a slash at its end.
func (c *Client) BaseURL() string { return c.base }

// TaskPath is the template of the configuration.
func (c *Client) TaskPath() string { return c.path.String() }

// Timeout bounds one exchange.
func (c *Client) Timeout() time.Duration { return c.timeout }

// At returns a client that asks the same relay, with the same credential and over the
// same connections, at addresses of another form.
func (c *Client) At(template string) (*Client, error) {
	path, err := parseTaskPath(template)
	if err != nil {
		return nil, err
	}
	return &Client{
		base: c.base, path: path, host: c.host, account: account{host: c.account.host}, credential: c.credential, timeout: c.timeout,
		transport: c.transport, headers: c.headers,
	}, nil
}

// GetTask asks for one task: GET {base}{task path}. It returns a Reply, or an *Error,
// or the error of ctx when ctx ends.
func (c *Client) GetTask(ctx context.Context, ref Ref) (*Reply, error) {
	return c.GetTaskAgain(ctx, ref, Known{})
}

// GetTaskAgain is GetTask about a task of which the last answer is known: one that says
// the same is not read again. Then the Reply has only what is known: HTTPStatus, Known, and
// Word and Status of its Record; its Body is nil.
func (c *Client) GetTaskAgain(ctx context.Context, ref Ref, known Known) (*Reply, error) {
	a, err := c.ask(ctx, ref, ref.TaskID)
	if err != nil {
		return nil, err
	}
	defer a.forget()
	if known.isAnswer(ref, a) {
		return known.reply(), nil
	}
	reply, err := interpret(ref, a.Response, a.body, c.host)
	if err != nil {
		c.learn(a.Response, err)
		return nil, err
	}
	reply.Known = knownOf(ref, a, reply)
	return reply, nil
}

// Batches reports whether the task path takes several ids, so that GetTasks asks for
// them in one request.
func (c *Client) Batches() bool { return c.path.batches }

// Place returns the path of a task without its id, as in /kling/v1/videos/text2video/
// or /tasks?task_ids=. Tasks of one place can be asked for together if Batches.
func (c *Client) Place(ref Ref) string { return c.path.fill("", ref) }

// Credential names the pair of the relay's host and the key in use without revealing
// the key: 8 hex digits. It changes when a key file does.
func (c *Client) Credential() string { return c.account.nameFor(c.credential.Fingerprint()) }

// KeyFor is the header that a link of the relay's own wants; nil for a link elsewhere,
// which must not have the key, and where there is no token.
func (c *Client) KeyFor(link string) http.Header {
	own, err := outbound.Origin(c.base)
	if err != nil {
		return nil
	}
	if origin, err := outbound.Origin(link); err != nil || origin != own {
		return nil
	}
	token, err := c.credential.Token()
	if err != nil {
		return nil
	}
	return http.Header{"Authorization": {"Bearer " + token}}
}

// learn sets the clock of a credential whose token came too early or too late.
func (c *Client) learn(res *http.Response, err error) {
	if apiErr, ok := errors.AsType[*Error](err); ok && apiErr.Kind == TokenTime {
		c.adjustClock(res)
	}
}

// adjustClock sets the clock of a credential whose tokens contain times by the
// relay's.
func (c *Client) adjustClock(res *http.Response) {
	if adjuster, ok := c.credential.(clockAdjuster); ok {
		relayTime, _ := http.ParseTime(res.Header.Get("Date")) // the zero time when absent
		adjuster.adjustClock(relayTime)
	}
}
