package webhook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"code.dny.dev/ssrf"
)

const (
	// DefaultTimeout bounds one request: dial, TLS, body and answer.
	DefaultTimeout = 20 * time.Second
	// MaxResponse is how much of an answer is read and kept, in bytes.
	MaxResponse = 1024

	maxResponseHeaders = 32 << 10
)

// azureWireServer serves secrets to virtual machines from a public address.
var azureWireServer = netip.MustParsePrefix("168.63.129.16/32")

// Config sets up a Client; the zero value is usable.
type Config struct {
	Timeout       time.Duration  // of one request, everything included; 0: DefaultTimeout
	AllowNetworks []netip.Prefix // private networks that may be reached; others are refused at dial time
	UserAgent     string         // empty: klingwatch
}

// Client sends single requests. Addresses are checked after DNS, on every
// connection; redirects and proxies are not used, answers are not decompressed.
// It is safe for concurrent use.
type Client struct {
	timeout   time.Duration
	userAgent string
	http      *http.Client
}

// NewClient returns a client that may reach public addresses and the allowed networks.
func NewClient(cfg Config) *Client {
	var v4, v6 []netip.Prefix
	for _, network := range cfg.AllowNetworks {
		if network.Addr().Is4() {
			v4 = append(v4, network)
		} else {
			v6 = append(v6, network)
		}
	}
	guard := ssrf.New(ssrf.WithAnyPort(),
		ssrf.WithAllowedV4Prefixes(v4...), ssrf.WithAllowedV6Prefixes(v6...), ssrf.WithDeniedV4Prefixes(azureWireServer))
	dialer := &net.Dialer{Control: guard.Safe}
	c := &Client{timeout: cfg.Timeout, userAgent: cfg.UserAgent}
	if c.timeout <= 0 {
		c.timeout = DefaultTimeout
	}
	if c.userAgent == "" {
		c.userAgent = "klingwatch"
	}
	c.http = &http.Client{
		Transport: &http.Transport{
			DialContext:            dialer.DialContext,
			ForceAttemptHTTP2:      true,
			DisableCompression:     true, // no gzip bomb
			MaxResponseHeaderBytes: maxResponseHeaders,
			MaxIdleConns:           100,
			MaxIdleConnsPerHost:    10,
			IdleConnTimeout:        90 * time.Second,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c
}

// Close gives idle connections back.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Message is one webhook to send.
type Message struct {
	URL     string
	ID      string   // webhook-id
	Body    []byte   // the JSON, signed as it is
	Secrets []string // newest first
}

// Send makes one attempt. It does not return an error: what went wrong is part
// of the Result.
func (c *Client) Send(ctx context.Context, m Message) Result {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	now := time.Now()
	signature, err := Sign(m.Secrets, m.ID, now, m.Body)
	if err != nil {
		return Result{Error: ErrorSigning, Detail: err.Error()}
	}
	if err := CheckURL(m.URL); err != nil {
		return Result{Error: ErrorInvalidURL, Detail: err.Error()}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, m.URL, strings.NewReader(string(m.Body)))
	if err != nil {
		return Result{Error: ErrorInvalidURL, Detail: "the URL cannot be used"}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", c.userAgent)
	req.Header.Set("webhook-id", m.ID)
	req.Header.Set("webhook-timestamp", strconv.FormatInt(now.Unix(), 10))
	req.Header.Set("webhook-signature", signature)

	res, err := c.http.Do(req)
	if err != nil {
		return failure(ctx, err, c.timeout)
	}
	defer res.Body.Close()
	// The status has decided by now: a body that drips or breaks changes nothing.
	excerpt, _ := io.ReadAll(io.LimitReader(res.Body, MaxResponse))
	return answered(res, excerpt, now)
}

// CheckURL tells what is wrong with a receiver's URL: it must be absolute http
// or https, without user and fragment.
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
		return errors.New("it must hold no user or password: klingwatch signs instead")
	case u.Fragment != "":
		return errors.New("it must have no #fragment")
	}
	return nil
}

// ParseNetworks reads CIDRs separated by commas; a bare address is a network of one.
func ParseNetworks(list string) ([]netip.Prefix, error) {
	var networks []netip.Prefix
	for item := range strings.SplitSeq(list, ",") {
		item = strings.TrimSpace(item)
		if item == "" {
			continue
		}
		if addr, err := netip.ParseAddr(item); err == nil {
			networks = append(networks, netip.PrefixFrom(addr, addr.BitLen()))
			continue
		}
		network, err := netip.ParsePrefix(item)
		if err != nil {
			return nil, fmt.Errorf("%q is not a network like 10.0.0.0/8", item)
		}
		networks = append(networks, network.Masked())
	}
	return networks, nil
}
