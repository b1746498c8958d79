package fetch

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/klingwatch/klingwatch/outbound"
)

// What a Client does where its Config does not say.
const (
	// DefaultMaxBytes is the largest file: a clip of ten minutes in 4K is smaller.
	DefaultMaxBytes = 1 << 30
	// DefaultStall is the time in which DefaultMinProgress bytes must arrive.
	DefaultStall = 30 * time.Second
	// DefaultMinProgress is about 70 kbit/s: less holds a turn that others wait for.
	DefaultMinProgress = 256 << 10
	// DefaultPause is waited after a cut, and doubles while nothing new comes.
	DefaultPause = 500 * time.Millisecond
)

const (
	connectTimeout     = 15 * time.Second // of one dial or TLS handshake
	maxResponseHeaders = 64 << 10
	// bufferSize is the memory of one download. It is filled before it is written:
	// TLS gives 16 kB at a time.
	bufferSize = 128 << 10
)

// Config sets up a Client; the zero value is usable.
type Config struct {
	AllowNetworks []netip.Prefix // private networks that may be reached; others are refused at dial time
	MaxBytes      int64          // of one file; 0: DefaultMaxBytes
	Stall         time.Duration  // an attempt ends when fewer than MinProgress bytes came in such a time; 0: DefaultStall
	MinProgress   int64          // 0: DefaultMinProgress
	Pause         time.Duration  // before the next attempt after a cut; 0: DefaultPause
	UserAgent     string         // empty: klingwatch
	Resolver      *net.Resolver  // for host names; nil: the system's
}

// Client fetches files. It is safe for concurrent use.
type Client struct {
	cfg       Config
	transport *http.Transport
}

// New returns a client that may reach public addresses and the allowed networks.
func New(cfg Config) *Client {
	cfg.MaxBytes = cmp.Or(cfg.MaxBytes, DefaultMaxBytes)
	cfg.Stall = cmp.Or(cfg.Stall, DefaultStall)
	cfg.MinProgress = cmp.Or(cfg.MinProgress, DefaultMinProgress)
	cfg.Pause = cmp.Or(cfg.Pause, DefaultPause)
	cfg.UserAgent = cmp.Or(cfg.UserAgent, "klingwatch")
	dialer := &net.Dialer{Control: outbound.Guard(cfg.AllowNetworks), Resolver: cfg.Resolver, Timeout: min(connectTimeout, cfg.Stall)}
	return &Client{cfg: cfg, transport: &http.Transport{
		Proxy:               nil, // not the one of the environment: it would dial in our place, unguarded
		DialContext:         dialer.DialContext,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12, ClientSessionCache: tls.NewLRUClientSessionCache(0)},
		TLSHandshakeTimeout: min(connectTimeout, cfg.Stall),
		// A connection for each request, and no HTTP/2: what a host does to one download
		// (a reset, bytes beyond the end, a full window) reaches no other, and what is
		// under way waits in the kernel, not in our memory.
		DisableKeepAlives:      true,
		Protocols:              http1(),
		DisableCompression:     true, // the bytes as they are, see decoded
		MaxResponseHeaderBytes: maxResponseHeaders,
	}}
}

func http1() *http.Protocols {
	var p http.Protocols
	p.SetHTTP1(true)
	return &p
}

// Source is a file to fetch.
type Source struct {
	URL    string      // http or https, or a small file as a data: URL
	Header http.Header // such as the relay's key: sent to the URL's own origin, never to another after a redirect
	Kind   string      // what was announced: image, video or audio; "": any of them
}

// File is what is known of a file; zero: unknown.
type File struct {
	Bytes         int64
	SHA256        string // hex
	ContentType   string // by the content, whatever the host called it
	Ext           string // for a file name, without a dot
	Width, Height int
	Duration      time.Duration
}

// Fetch writes the file of a source into a local one and returns what is known of
// it: all but its sizes and duration, which Tools.Measure finds. The local file
// holds nothing of worth after an error. progress, where not nil, is told of bytes
// that have arrived and of all that will, -1 where nobody knows.
func (c *Client) Fetch(ctx context.Context, s Source, into *os.File, progress func(have, total int64)) (File, error) {
	if progress == nil {
		progress = func(int64, int64) {}
	}
	d := &download{client: c, source: s, into: into, progress: progress, hash: sha256.New(), buffer: make([]byte, bufferSize)}
	if strings.HasPrefix(s.URL, "data:") {
		return d.inline()
	}
	left := tries{left: mostTries}
	for {
		err := d.attempt(ctx)
		if err == nil {
			return d.file(), nil
		}
		if ctx.Err() != nil {
			return File{}, context.Cause(ctx)
		}
		pause, again := left.after(err, d, c.cfg.Pause)
		if !again {
			return File{}, err
		}
		if err := sleep(ctx, pause); err != nil {
			return File{}, err
		}
	}
}

const (
	// mostTries in a row may bring nothing new before a download is given up.
	mostTries = 5
	// longestPause is how long a download that is cut waits for its host. Who is asked
	// to wait longer gives the turn to others.
	longestPause = 10 * time.Second
)

// tries says whether a download that was cut goes on. Bytes count once: a host that
// sends the same beginning again and again is left soon.
type tries struct {
	left, barren int   // tries that are left, and those since something new came
	reached      int64 // bytes that were there when left was full
}

func (t *tries) after(err error, d *download, pause time.Duration) (wait time.Duration, again bool) {
	var failure *Error
	if !d.answered || !errors.As(err, &failure) || failure.Reason != Trouble {
		return 0, false // the caller knows better when to come back
	}
	if d.most >= t.reached+step(d.total, d.client.cfg.MinProgress) {
		t.reached, t.left, t.barren = d.most, mostTries, 0
	}
	t.left--
	wait = max(pause<<t.barren, failure.RetryAfter)
	t.barren++
	return wait, t.left > 0 && wait <= longestPause
}

// step is how many new bytes make a try worth its while: a twentieth of a small file.
func step(total, most int64) int64 {
	if total == unknown {
		return most
	}
	return max(1, min(most, total/20))
}

// sleep waits, unless the context ends.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
