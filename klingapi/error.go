package klingapi

import (
	"bytes"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
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

// successCodes are the values of code that report no error.
var successCodes = map[string]bool{"": true, "0": true, "0.0": true, "200": true, "success": true, "succeed": true, "ok": true}

// troubleOf decides what an answer in JSON reports: by its code, then by what its
// message says of the task, then by the HTTP status, also where that is written as
// the code. "" for an answer that reports nothing.
func troubleOf(status int, code, message string) ErrorKind {
	code = strings.ToLower(code)
	if status >= 400 || !successCodes[code] {
		switch {
		case code == "1203", code == "410", notFoundCodes.MatchString(code), noModel.MatchString(message):
			return NotFound
		case unrouted.MatchString(message):
			return Misconfigured
		case code == "404", unknownTask.MatchString(message) && (codes[code] == "" || code == "1201" || code == "1202"):
			return NotFound
		case status == http.StatusNotFound && bareNotFound.MatchString(message):
			return Misconfigured // said of any path that is not served
		}
	}
	if kind := codes[code]; kind != "" {
		return kind
	}
	if status < 300 && len(code) == 3 {
		if n, err := strconv.Atoi(code); err == nil && n >= 400 {
			status = n // written as the code, under HTTP 200
		}
	}
	if status < 300 {
		return ""
	}
	return kindOfStatus(status)
}

// unknownTask matches what relays say of an id that they do not know. It takes a
// word for the task: "not found" alone is said of paths, keys and models as well.
var unknownTask = regexp.MustCompile(`(?i)\b(task|job|record|generation|prediction)(_?id)?\b[^.;]{0,80}?(not[ _-]?(found|exists?)|does ?n[o']t exist|no longer (exists|available)|was removed|been removed|been deleted|unknown)` +
	`|\b(video|image|request|id)\b['"]?\s+(\S+\s+)?(was |is |has been )?(not[ _-]?(found|exists?)|does ?n[o']t exist)` +
	`|\b(no such|unknown|non-?existent|invalid|cannot find|can't find|could not find|couldn't find|did not find)( the| this| any)? ?(task|job|record|generation|prediction)\b` +
	`|\bno (task|job|record|generation)s? (was |were )?found` +
	`|\bnot found by id` +
	`|(任务|记录|作业|任務|記錄)[^。；]{0,40}?(不存在|未找到|找不到|没有找到|已过期|已删除|無法找到)|(不存在|未找到|找不到|没有找到|查无)[^。；]{0,20}?(任务|记录|作业|任務|記錄)`)

// notFoundCodes match codes of the same meaning.
var notFoundCodes = regexp.MustCompile(`^(task|job|record|video|generation|prediction)_?(id_)?(is_)?(not_?found|not_?exists?|does_not_exist|unknown|missing|gone)(_error)?$|^(no_such|unknown|missing)_(task|job|record)$`)

// noModel matches what new-api says of an id that it does not know to a token with
// model limits: the model's name is empty.
var noModel = regexp.MustCompile(`(?i)no access to model\s*(\(|$)`)

// unrouted matches what gateways say of a path that they do not serve: new-api
// ("Invalid URL (GET /v1/x)"), Express, Gin, Spring.
var unrouted = regexp.MustCompile(`(?i)invalid url \(|no route|route not found|path not found|no handler|cannot get /|unknown (path|route|endpoint|url)|(endpoint|api|page|url|path|route) (was |is )?not found|no static resource`)

// bareNotFound matches the same without a word more: FastAPI, net/http.
var bareNotFound = regexp.MustCompile(`(?i)^\s*(404:? )?(page )?not found\.?\s*$`)

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
	case status == http.StatusNotFound && unknownTask.Match(body[:min(len(body), maxMessage)]) && !isHTML(body):
		return NotFound
	case status == http.StatusNotFound, status >= 300 && status < 400, status < 300 && isHTML(body):
		return Misconfigured
	}
	return Unreadable
}

func isHTML(body []byte) bool { return bytes.HasPrefix(bytes.TrimSpace(body), []byte("<")) }
