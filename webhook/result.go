package webhook

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/klingwatch/klingwatch/outbound"
)

// The classes of failures, as in delivery_attempts.error.
const (
	ErrorBlockedAddress    = "blocked_address"    // the host is a private or reserved address
	ErrorDNS               = "dns_error"          // the name cannot be resolved
	ErrorConnectionRefused = "connection_refused" // nothing listens on that port
	ErrorTLS               = "tls_error"          // certificate or handshake
	ErrorTimeout           = "timeout"            // no complete answer in time
	ErrorNetwork           = "network_error"      // the connection broke, or the answer is not HTTP
	ErrorRedirectRefused   = "redirect_refused"   // 3xx; redirects are not followed
	ErrorHTTPStatus        = "http_status"        // neither 2xx nor 3xx
	ErrorInvalidURL        = "invalid_url"        // nothing was sent
	ErrorSigning           = "signing_error"      // nothing was sent
)

// MaxRetryAfter is the longest wait that a receiver can ask for with Retry-After.
const MaxRetryAfter = 24 * time.Hour

// Result is the outcome of one attempt.
type Result struct {
	StatusCode int           // 0 without an answer
	Error      string        // class of the failure; "" for a 2xx
	Detail     string        // the reason in plain English, one line
	Body       string        // the first MaxResponse bytes of the answer as valid UTF-8 without NUL
	RetryAfter time.Duration // what the receiver asked for; 0 to MaxRetryAfter
	Abort      bool          // the receiver wants no more attempts of this message; false for a 2xx
	Disable    bool          // the receiver wants no more webhooks at all; also with a 2xx
	Connected  bool          // there was a connection, TLS included: an answer could be expected
	RemoteAddr string        // host:port of the connection; "" without one
	Reused     bool          // the connection was kept from an earlier attempt
	Timings    Timings       // where the time went
}

// Delivered reports whether the receiver accepted the webhook.
func (r Result) Delivered() bool { return r.Error == "" }

// Sent reports whether a request was made, however far it came.
func (r Result) Sent() bool { return r.Error != ErrorSigning && r.Error != ErrorInvalidURL }

// Gone reports whether the receiver answered that it wants no more webhooks (410).
func (r Result) Gone() bool { return r.StatusCode == http.StatusGone }

// BlamesReceiver reports whether a circuit breaker should count the failure against
// the receiver as a whole: not when the receiver refused only this message, and not
// when nothing was sent.
func (r Result) BlamesReceiver() bool {
	if r.Delivered() || r.Abort || !r.Sent() {
		return false
	}
	switch r.StatusCode {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
		return false
	}
	return true
}

// Reason returns class and detail for people; "" for a 2xx.
func (r Result) Reason() string {
	if r.Detail == "" {
		return r.Error
	}
	return r.Error + ": " + r.Detail
}

// LogReason is Reason for logs and traces: without where a redirect leads, which is
// often the receiver's own path under another scheme and may be a secret.
func (r Result) LogReason() string {
	if r.Error == ErrorRedirectRefused {
		return fmt.Sprintf("%s: HTTP %d; redirects are not followed: the delivery tells where it leads", r.Error, r.StatusCode)
	}
	return r.Reason()
}

// resultOf judges an answer by its status and headers.
func resultOf(res *http.Response, excerpt []byte, now time.Time) Result {
	r := Result{
		StatusCode: res.StatusCode,
		Body:       strings.ReplaceAll(strings.ToValidUTF8(string(excerpt), "\uFFFD"), "\x00", "\uFFFD"),
		RetryAfter: outbound.RetryAfter(res.Header, now, MaxRetryAfter),
	}
	switch {
	case res.StatusCode >= 200 && res.StatusCode < 300:
	case res.StatusCode >= 300 && res.StatusCode < 400:
		r.Error = ErrorRedirectRefused
		r.Detail = fmt.Sprintf("HTTP %d to %s; redirects are not followed: give the final URL instead", res.StatusCode, redirectTarget(res.Header.Get("Location")))
	default:
		r.Error = ErrorHTTPStatus
		r.Detail = strings.TrimSpace(fmt.Sprintf("HTTP %d %s", res.StatusCode, http.StatusText(res.StatusCode))) + hint(res.StatusCode)
	}
	abort, disable := deliveryControl(res.Header.Values("webhook-delivery"))
	r.Abort, r.Disable = abort && !r.Delivered(), disable
	return r
}

// deliveryControl reads the header webhook-delivery, by which a receiver controls
// what it gets (https://docs.svix.com/receiving/delivery-control). It ignores
// unknown words.
func deliveryControl(headers []string) (abort, disable bool) {
	for word := range strings.SplitSeq(strings.Join(headers, ","), ",") {
		switch strings.ToLower(strings.TrimSpace(word)) {
		case "abort-message":
			abort = true
		case "disable":
			disable = true
		}
	}
	return abort, disable
}

// hint says what a receiver's status usually means to the person who reads it.
func hint(status int) string {
	if text, ok := hints[status]; ok {
		return text
	}
	if status >= 500 {
		return ": the receiver failed; see its log"
	}
	return ""
}

var hints = map[int]string{
	http.StatusBadRequest:            ": the receiver cannot read the request; its answer may say why",
	http.StatusUnauthorized:          ": the receiver requires its own authentication, or its signature check failed; klingwatch signs, it does not log in",
	http.StatusForbidden:             ": the receiver or a firewall in front of it refuses; look at its signature check and its rules",
	http.StatusNotFound:              ": nothing serves this path; check the URL",
	http.StatusMethodNotAllowed:      ": the path does not accept POST; check the URL",
	http.StatusGone:                  ": the receiver wants no more webhooks",
	http.StatusRequestEntityTooLarge: ": the receiver's body limit is too small",
	http.StatusUnsupportedMediaType:  ": the receiver does not accept application/json",
	http.StatusUnprocessableEntity:   ": the receiver does not accept this content; its answer may say why",
	http.StatusTooManyRequests:       ": the receiver limits the rate; klingwatch tries again later",
	http.StatusBadGateway:            ": a gateway answered, but the receiver behind it failed",
	http.StatusServiceUnavailable:    ": the receiver is overloaded or down for now",
	http.StatusGatewayTimeout:        ": a gateway answered, but the receiver behind it is too slow",
}

// redirectTarget returns where a redirect leads, without the query, which may
// contain secrets.
func redirectTarget(location string) string {
	u, err := url.Parse(location)
	if err != nil || location == "" {
		return "nowhere"
	}
	u.User, u.RawQuery, u.ForceQuery, u.Fragment = nil, "", false, ""
	return strconv.QuoteToGraphic(safe(u.String()))
}
