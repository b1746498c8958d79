package archive

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"
)

// stall is how long a connection may move no byte in either direction. A file that
// takes hours is fine as long as it moves.
const stall = time.Minute

// newTransport makes connections that end when they stall. It speaks HTTP/1, where a
// connection carries one request.
func newTransport(stall time.Duration) *http.Transport {
	dialer := &net.Dialer{Timeout: 15 * time.Second}
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return &movingConn{Conn: conn, stall: stall}, nil
		},
		MaxIdleConnsPerHost: 16,
		IdleConnTimeout:     stall,
		TLSHandshakeTimeout: 15 * time.Second,
		WriteBufferSize:     64 << 10, // instead of 4 kB: fewer system calls and TLS records
		DisableCompression:  true,
	}
}

// movingConn gives both directions more time whenever one moves: while a file is sent,
// the answer is waited for as well.
type movingConn struct {
	net.Conn
	stall   time.Duration
	stalled atomic.Bool
}

// Read waits for as long as anything moves.
func (c *movingConn) Read(p []byte) (int, error) { return c.move(c.Conn.Read, p) }

// Write waits for as long as anything moves.
func (c *movingConn) Write(p []byte) (int, error) { return c.move(c.Conn.Write, p) }

// move keeps the reason: of two directions that stall, one is told that the connection
// was closed because of the other.
func (c *movingConn) move(do func([]byte) (int, error), p []byte) (int, error) {
	_ = c.SetDeadline(time.Now().Add(c.stall)) // it fails only where do fails as well
	n, err := do(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.stalled.Store(true)
	}
	if err != nil && c.stalled.Load() {
		err = os.ErrDeadlineExceeded
	}
	return n, err
}

// body is the piece of a local file that a request sends.
type body struct {
	file         *os.File
	offset, size int64
}

type bodyKey struct{}

// reader reads the piece, at a place of its own.
func (b body) reader() *io.SectionReader { return io.NewSectionReader(b.file, b.offset, b.size) }

// sending hands the body of a PUT to the transport. The client has one reader for all
// tries, and rewinds it when a server has answered before it had the whole file; but the
// connection of that try may still be reading then. So each try gets its own.
func sending(ctx context.Context, b body) context.Context {
	return context.WithValue(ctx, bodyKey{}, b)
}

func withOwnBody(request *http.Request) *http.Request {
	b, found := request.Context().Value(bodyKey{}).(body)
	if !found || request.Method != http.MethodPut || b.size == 0 {
		return request
	}
	request = request.WithContext(request.Context()) // a copy
	request.Body = io.NopCloser(b.reader())
	return request
}

// shortBody is sent in no time to speak of.
const shortBody = 64 << 10

// serverClock compares the clocks with each answer.
type serverClock struct {
	http.RoundTripper
	difference atomic.Int64
}

// RoundTrip takes the time of the answer as the server's word for the middle between
// question and answer.
func (c *serverClock) RoundTrip(request *http.Request) (*http.Response, error) {
	asked := time.Now()
	response, err := c.RoundTripper.RoundTrip(withOwnBody(request))
	if err != nil {
		return nil, err
	}
	if request.ContentLength > shortBody {
		return response, nil // who knows when the server took the time
	}
	if date, err := http.ParseTime(response.Header.Get("Date")); err == nil {
		middle := asked.Add(time.Since(asked) / 2)
		c.difference.Store(int64(date.Add(time.Second / 2).Sub(middle))) // a Date has whole seconds
	}
	return response, nil
}

// ahead is how far the server's clock is ahead of ours, 0 below two seconds.
func (c *serverClock) ahead() time.Duration {
	if d := time.Duration(c.difference.Load()); d.Abs() >= 2*time.Second {
		return d
	}
	return 0
}
