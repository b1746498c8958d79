package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/klingwatch/klingwatch/outbound"
)

// Reason is what a caller decides by after a fetch has failed.
type Reason string

// The reasons why there is no file.
const (
	// Gone: the host refuses this URL, and will again. A fresh URL is worth asking for.
	Gone Reason = "gone"
	// Forbidden: our own guard refuses the URL: a private address, a scheme that is
	// not http or https, too many redirects, or one from https to http.
	Forbidden Reason = "forbidden"
	// TooLarge: the file is larger than Config.MaxBytes.
	TooLarge Reason = "too_large"
	// NotAFile: what came is empty, an error page, or of another kind than announced.
	NotAFile Reason = "not_a_file"
	// Trouble: the network or the host fails; it may work later.
	Trouble Reason = "trouble"
)

// Error is a failure that the host or its file is to blame for. Errors of another
// type are our own: a full disk, or a context that ended.
type Error struct {
	Reason     Reason
	Text       string        // one line for people, without the URL's path and query
	Status     int           // of HTTP; 0: there was no answer
	RetryAfter time.Duration // how long the host asks us to stay away; 0: it does not say
}

// Error is the text for people.
func (e *Error) Error() string { return e.Text }

// ReasonOf returns the reason of an Error; "" for all other errors.
func ReasonOf(err error) Reason {
	var failure *Error
	if errors.As(err, &failure) {
		return failure.Reason
	}
	return ""
}

const (
	maxText = 300 // of an error, in characters: part of it may come from the host
	// maxRetryAfter bounds how long a host can make us stay away.
	maxRetryAfter = time.Hour
)

// fail makes an Error about a host.
func fail(reason Reason, host, format string, args ...any) *Error {
	text := host + ": " + fmt.Sprintf(format, args...)
	return &Error{Reason: reason, Text: outbound.Truncate(outbound.LogLine(text), maxText)}
}

// refusal says what a status means that brings no file.
func refusal(res *http.Response, host string, now time.Time) *Error {
	code := res.StatusCode
	reason, hint := Trouble, ""
	switch {
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		reason, hint = Gone, ": the URL has expired, or wants a key"
	case code == http.StatusRequestTimeout, code == http.StatusTooEarly, code == http.StatusTooManyRequests, code == http.StatusRequestedRangeNotSatisfiable:
	case code >= 400 && code < 500:
		reason, hint = Gone, ": the host no longer has the file under this URL"
	case code >= 300 && code < 400:
		hint = ": a redirect that leads nowhere"
	}
	e := fail(reason, host, "the host answered HTTP %d%s", code, hint)
	e.Status = code
	if reason == Trouble {
		e.RetryAfter = outbound.RetryAfter(res.Header, now, maxRetryAfter)
	}
	return e
}

// exchangeError judges an exchange that brought no answer, or broke within one.
func exchangeError(ctx context.Context, err error, host string) *Error {
	if cause := context.Cause(ctx); cause != nil {
		err = cause // what ended the attempt, not how it showed
	}
	var (
		dns     *net.DNSError
		timeout net.Error
	)
	switch {
	case errors.Is(err, outbound.ErrBlocked):
		return fail(Forbidden, host, "the address is private or reserved; see KLINGWATCH_ARCHIVE_ALLOW_NETWORKS")
	case errors.As(err, &dns) && dns.IsNotFound:
		return fail(Trouble, host, "the host name does not exist")
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return fail(Trouble, host, "the host closed the connection before the end of the file")
	case errors.Is(err, syscall.ECONNRESET):
		return fail(Trouble, host, "the host reset the connection")
	case errors.Is(err, syscall.ECONNREFUSED):
		return fail(Trouble, host, "nothing listens there")
	case errors.As(err, &timeout) && timeout.Timeout():
		return fail(Trouble, host, "the host does not answer")
	}
	return fail(Trouble, host, "%v", err)
}
