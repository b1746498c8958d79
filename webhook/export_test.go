package webhook

import (
	"crypto/x509"
	"net/http"
	"net/http/httptrace"
	"time"
)

// What the tests need and callers do not.

// Answered reads an answer whose body began with an excerpt.
var Answered = resultOf

// SetBodyTimeout bounds the reading of an answer's body.
func (c *Client) SetBodyTimeout(d time.Duration) { c.bodyTimeout = d }

// Trust replaces the certificate authorities of the system.
func (c *Client) Trust(roots *x509.CertPool) { c.Transport().TLSClientConfig.RootCAs = roots }

// Transport returns the transport that sends.
func (c *Client) Transport() *http.Transport { return c.http.Transport.(*http.Transport) }

// Stopwatch returns the hooks that net/http calls, and what ends the measurement.
func Stopwatch() (*httptrace.ClientTrace, func() (timings Timings, remote string, reused bool)) {
	watch := &stopwatch{}
	return watch.trace(), watch.read
}
