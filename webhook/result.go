package webhook

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"code.dny.dev/ssrf"
)

// The classes of failures, as they stand in delivery_attempts.error.
const (
	ErrorBlockedAddress    = "blocked_address"    // the name leads to a private or reserved address
	ErrorDNS               = "dns_error"          // the name cannot be resolved
	ErrorConnectionRefused = "connection_refused" // nothing listens there
	ErrorTLS               = "tls_error"          // certificate or handshake
	ErrorTimeout           = "timeout"            // no answer in time
	ErrorNetwork           = "network_error"      // the connection broke
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
	Body       string        // first MaxResponse bytes of the answer, valid UTF-8
	RetryAfter time.Duration // what the receiver asked for; 0 to MaxRetryAfter
}

// Delivered tells whether the receiver accepted the webhook.
func (r Result) Delivered() bool { return r.Error == "" }

// Gone tells whether the receiver said that it wants no more webhooks (410).
func (r Result) Gone() bool { return r.StatusCode == http.StatusGone }

// Reason joins class and detail for people; "" for a 2xx.
func (r Result) Reason() string {
	if r.Detail == "" {
		return r.Error
	}
	return r.Error + ": " + r.Detail
}

func answered(res *http.Response, excerpt []byte, now time.Time) Result {
	r := Result{
		StatusCode: res.StatusCode,
		Body:       strings.ReplaceAll(strings.ToValidUTF8(string(excerpt), "\uFFFD"), "\x00", "\uFFFD"),
		RetryAfter: retryAfter(res.Header.Get("Retry-After"), now),
	}
	switch {
	case res.StatusCode >= 200 && res.StatusCode < 300:
	case res.StatusCode >= 300 && res.StatusCode < 400:
		r.Error = ErrorRedirectRefused
		r.Detail = fmt.Sprintf("HTTP %d to %s; give the final URL instead", res.StatusCode, place(res.Header.Get("Location")))
	default:
		r.Error = ErrorHTTPStatus
		r.Detail = fmt.Sprintf("HTTP %d %s%s", res.StatusCode, http.StatusText(res.StatusCode), hints[res.StatusCode])
	}
	return r
}

// hints say what a receiver's status usually means to the person who reads it.
var hints = map[int]string{
	http.StatusUnauthorized:          ": the receiver wants its own authentication; klingwatch signs, it does not log in",
	http.StatusForbidden:             ": the receiver, or a firewall in front of it, refuses; check its signature check and its rules",
	http.StatusNotFound:              ": nothing serves this path; check the URL",
	http.StatusMethodNotAllowed:      ": the path does not accept POST; check the URL",
	http.StatusGone:                  ": the receiver wants no more webhooks",
	http.StatusRequestEntityTooLarge: ": the receiver's body limit is too small",
}

// place shows where a redirect leads without its query, which may hold secrets.
func place(location string) string {
	u, err := url.Parse(location)
	if err != nil || location == "" {
		return "nowhere"
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return strconv.QuoteToGraphic(u.String())
}

// failure classifies an exchange without an answer by the types of its errors.
func failure(ctx context.Context, err error, timeout time.Duration) Result {
	var (
		dns       *net.DNSError
		timedOut  net.Error
		unknownCA *tls.CertificateVerificationError
		record    tls.RecordHeaderError
		alert     tls.AlertError
	)
	switch {
	case errors.Is(err, ssrf.ErrProhibitedIP), errors.Is(err, ssrf.ErrProhibitedNetwork):
		return Result{Error: ErrorBlockedAddress, Detail: "the host is a private or reserved address; see KLINGWATCH_WEBHOOK_ALLOW_NETWORKS"}
	case errors.Is(ctx.Err(), context.DeadlineExceeded), errors.As(err, &timedOut) && timedOut.Timeout():
		return Result{Error: ErrorTimeout, Detail: fmt.Sprintf("no answer within %s", timeout)}
	case errors.As(err, &dns):
		return Result{Error: ErrorDNS, Detail: "the host's name cannot be resolved"}
	case errors.Is(err, syscall.ECONNREFUSED):
		return Result{Error: ErrorConnectionRefused, Detail: "nothing listens there"}
	case errors.As(err, &unknownCA):
		return Result{Error: ErrorTLS, Detail: unknownCA.Err.Error()}
	case errors.As(err, &record):
		return Result{Error: ErrorTLS, Detail: "the receiver does not speak TLS on this port"}
	case errors.As(err, &alert):
		return Result{Error: ErrorTLS, Detail: alert.Error()}
	}
	var urlErr *url.Error
	if errors.As(err, &urlErr) {
		err = urlErr.Err // the URL may hold secrets
	}
	return Result{Error: ErrorNetwork, Detail: err.Error()}
}

func retryAfter(value string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	if seconds, err := strconv.ParseFloat(value, 64); err == nil {
		switch {
		case seconds > MaxRetryAfter.Seconds():
			return MaxRetryAfter
		case seconds > 0: // NaN is not
			return time.Duration(seconds * float64(time.Second))
		}
		return 0
	}
	if date, err := http.ParseTime(value); err == nil {
		return min(max(date.Sub(now), 0), MaxRetryAfter)
	}
	return 0
}
