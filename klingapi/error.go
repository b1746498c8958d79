package klingapi

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// ErrorKind classifies the outcomes of GetTask that do not describe the task.
type ErrorKind string

// The kinds of errors. None of them is a verdict on the task; NotFound may become
// one when it lasts.
const (
	Unreachable   ErrorKind = "unreachable"   // no complete answer: dial, TLS, timeout, connection closed
	Unreadable    ErrorKind = "unreadable"    // the answer is not one JSON document with a task in it
	Unavailable   ErrorKind = "unavailable"   // the relay or the provider fails: 5xx, 5000-5002
	Throttled     ErrorKind = "throttled"     // too many requests: 429, 1302, 1303
	Refused       ErrorKind = "refused"       // the key, account or address is not accepted: 401, 1000-1002, 1100-1103, 1304
	TokenTime     ErrorKind = "token_time"    // the token is not valid yet or has expired, because clocks differ or renewal is due: 1003, 1004
	NotFound      ErrorKind = "not_found"     // the relay does not know the task: 1201 with its message, 1203, task_not_exist
	Rejected      ErrorKind = "rejected"      // the relay does not understand or allow the request: 1200, 1201, 1300, 1301, other 4xx
	Misconfigured ErrorKind = "misconfigured" // what answers is not a relay: HTML 404, redirect, 1202; check KLING_BASE_URL and KLING_PATH_PREFIX
)

// Error is an outcome of GetTask that does not describe the task.
type Error struct {
	Kind       ErrorKind     // what it means
	HTTPStatus int           // 0 without an answer
	Code       string        // the body's code, "" where absent
	Message    string        // for people, one line, without secrets
	RequestID  string        // the relay's id of the exchange; "" where it gave none
	RetryAfter time.Duration // from 0 to MaxRetryAfter; 0 where the relay asked for no wait
	Err        error         // the cause; nil without one
}

// Error returns kind, HTTP status, code and message as one line.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(string(e.Kind))
	if e.HTTPStatus != 0 {
		fmt.Fprintf(&b, ": HTTP %d", e.HTTPStatus)
	}
	if e.Code != "" {
		fmt.Fprintf(&b, ", code %s", e.Code)
	}
	if e.Message != "" {
		b.WriteString(": " + e.Message)
	}
	return b.String()
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// codes is the vendor's error table (document-api, error-codes) and the string
// codes of new-api and OpenAI-shaped gateways. 1201 is decided by its message.
var codes = map[string]ErrorKind{
	"1000": Refused, "1001": Refused, "1002": Refused,
	"1003": TokenTime, "1004": TokenTime,
	"1100": Refused, "1101": Refused, "1102": Refused, "1103": Refused,
	"1200": Rejected, "1201": Rejected, "1202": Misconfigured, "1203": NotFound,
	"1300": Rejected, "1301": Rejected,
	"1302": Throttled, "1303": Throttled, "1304": Refused,
	"5000": Unavailable, "5001": Unavailable, "5002": Unavailable,

	"task_not_exist":          NotFound, // new-api, relay/relay_task.go; other spellings: notFoundCodes
	"invalid_api_key":         Refused,  // OpenAI
	"invalid_token":           Refused,
	"access_denied":           Refused,
	"insufficient_quota":      Refused,
	"insufficient_user_quota": Refused, // new-api
	"rate_limit_exceeded":     Throttled,
}

// kindOfStatus decides by the HTTP status of an answer in JSON.
func kindOfStatus(status int) ErrorKind {
	switch {
	case status >= 500, status == http.StatusRequestTimeout:
		return Unavailable
	case status == http.StatusTooManyRequests:
		return Throttled
	case status == http.StatusUnauthorized, status == http.StatusPaymentRequired, status == http.StatusForbidden:
		return Refused
	case status == http.StatusGone:
		return NotFound
	case status >= 400:
		return Rejected
	case status >= 300:
		return Misconfigured
	}
	return Unreadable
}

// kindOfText decides about an answer that is not JSON. A page under 200 or 404 is
// that of some other server, or the front end of the relay; under 403 that of a
// gateway that blocks us, which says nothing about the key.
func kindOfText(status int, body []byte) ErrorKind {
	switch {
	case status >= 500, status == http.StatusForbidden, status == http.StatusRequestTimeout:
		return Unavailable
	case status == http.StatusTooManyRequests:
		return Throttled
	case status == http.StatusUnauthorized:
		return Refused
	case status == http.StatusGone:
		return NotFound
	case status >= 400 && !isHTML(body) && saysNoTask(string(body[:min(len(body), maxMessage)])):
		return NotFound
	case status == http.StatusNotFound, status >= 300 && status < 400, status < 300 && isHTML(body):
		return Misconfigured
	}
	return Unreadable
}

func isHTML(body []byte) bool { return bytes.HasPrefix(bytes.TrimSpace(body), []byte("<")) }
