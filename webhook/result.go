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

// The classes of failures, as they stand in delivery_attempts.error.
const (
	ErrorBlockedAddress    = "blocked_address"    // the name leads to a private or reserved address
	ErrorDNS               = "dns_error"          // the name cannot be resolved
	ErrorConnectionRefused = "connection_refused" // nothing listens there
	ErrorTLS               = "tls_error"          // certificate or handshake
	ErrorTimeout           = "timeout"            // no answer in time
	ErrorNetwork           = "network_error"      // the connection broke, or what came is not HTTP
	ErrorRedirectRefused   = "redirect_refused"   // 3xx: the answer names another place, which is not followed
	ErrorHTTPStatus        = "http_status"        // any other status than 2xx
	ErrorInvalidURL        = "invalid_url"        // nothing was sent
	ErrorSigning           = "signing_error"      // nothing was sent
)

// MaxRetryAfter caps what a receiver may ask for with Retry-After.
const MaxRetryAfter = 24 * time.Hour

// Result is what one attempt came to.
type Result struct {
	StatusCode int           // 0 when no answer came
	Error      string        // class of the failure; "" for a 2xx
	Detail     string        // the reason in plain words, one line
	Body       string        // first MaxResponse bytes of the answer, made valid UTF-8 without NUL
	RetryAfter time.Duration // what the receiver asked for; 0 to MaxRetryAfter
	Abort      bool          // the receiver wants no more attempts of this message; false for a 2xx
	Disable    bool          // the receiver wants no more webhooks at all; with any status
	RemoteAddr string        // host:port that was connected to; "" when none was
	Reused     bool          // the connection had served an earlier attempt
	Timings    Timings
}

// Delivered reports whether the receiver accepted the webhook.
func (r Result) Delivered() bool { return r.Error == "" }

// Gone reports whether the receiver said that it wants no more webhooks (410).
func (r Result) Gone() bool { return r.StatusCode == http.StatusGone }

// BlamesReceiver reports whether a circuit breaker should count the failure
// against the receiver as a whole: not when the receiver refuses only this
// message, and not when nothing was sent.
func (r Result) BlamesReceiver() bool {
	switch {
	case r.Delivered(), r.Abort, r.Error == ErrorSigning, r.Error == ErrorInvalidURL:
		return false
	}
	switch r.StatusCode {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
		return false
	}
	return true
}

// Reason joins class and detail for people; "" for a 2xx.
func (r Result) Reason() string {
	if r.Detail == "" {
		return r.Error
	}
	return r.Error + ": " + r.Detail
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

// deliveryControl reads the header webhook-delivery, by which a receiver controls what
// it gets (https://docs.svix.com/receiving/delivery-control). Unknown words are
// ignored.
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
		return ": the receiver failed; look into its own log"
	}
	return ""
}

var hints = map[int]string{
	http.StatusBadRequest:            ": the receiver cannot read the request; its answer may say why",
	http.StatusUnauthorized:          ": the receiver wants its own authentication, or its signature check failed; klingwatch signs, it does not log in",
	http.StatusForbidden:             ": the receiver, or a firewall in front of it, refuses; check its signature check and its rules",
	http.StatusNotFound:              ": nothing serves this path; check the URL",
	http.StatusMethodNotAllowed:      ": the path does not accept POST; check the URL",
	http.StatusGone:                  ": the receiver wants no more webhooks",
	http.StatusRequestEntityTooLarge: ": the receiver's body limit is too small",
	http.StatusUnsupportedMediaType:  ": the receiver does not accept application/json",
	http.StatusUnprocessableEntity:   ": the receiver does not accept this content; its answer may say why",
	http.StatusTooManyRequests:       ": the receiver limits its rate; it is asked again later",
	http.StatusBadGateway:            ": a gateway stands there, but the receiver behind it failed",
	http.StatusServiceUnavailable:    ": the receiver is overloaded or down for now",
	http.StatusGatewayTimeout:        ": a gateway stands there, but the receiver behind it is too slow",
}

// redirectTarget shows where a redirect leads without its query, which may hold secrets.
func redirectTarget(location string) string {
	u, err := url.Parse(location)
	if err != nil || location == "" {
		return "nowhere"
	}
	u.User, u.RawQuery, u.ForceQuery, u.Fragment = nil, "", false, ""
	return strconv.QuoteToGraphic(safe(u.String()))
}
