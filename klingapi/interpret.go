package klingapi

import (
	"bytes"
	"cmp"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/klingwatch/klingwatch/outbound"
)

// interpret turns an answer into a Reply or an *Error, in the order of the package
// comment. relay is the host that was asked.
func interpret(ref Ref, res *http.Response, body []byte, relay string) (*Reply, error) {
	answer := errorOf(res)
	document, stored, err := parse(body)
	if err != nil {
		answer.Kind = kindOfText(res.StatusCode, body)
		answer.Message = describeText(res, body, err)
		return nil, answer
	}

	root, _ := document.(object)
	answer.Code, answer.Message = codeAndMessage(root)
	answer.RequestID = cmp.Or(answer.RequestID, findRequestID(root)) // the relay's operator knows the one of the header
	trouble := troubleOf(res.StatusCode, answer.Code, answer.Message)
	failed := !successCodes[strings.ToLower(answer.Code)]
	record, found := findRecord(document, ref, evidence{
		good: !failed && res.StatusCode < 300, transient: trouble == Unavailable || trouble == Throttled, relay: relay,
	})

	if found && (record.Status != "" || (!failed && res.StatusCode < 300)) {
		reply := &Reply{HTTPStatus: res.StatusCode, RequestID: answer.RequestID, Record: record, Body: stored}
		if failed {
			reply.Code = answer.Code
		}
		return reply, nil
	}
	answer.Kind = trouble
	if answer.Kind == "" && isEmptyAnswer(root) {
		answer.Kind, answer.Message = NotFound, cmp.Or(answer.Message, "an answer without the task in it")
	}
	if answer.Kind == "" {
		answer.Kind = Unreadable
	}
	if answer.Kind == Unreadable && answer.Message == "" {
		answer.Message = "JSON without a task in it"
	}
	return nil, answer
}

// isEmptyAnswer reports whether an envelope that reports success holds nothing: an
// id that the relay does not know is left out.
func isEmptyAnswer(root object) bool {
	v, there := root["data"]
	if !there {
		return false
	}
	list, isList := embedded(v).([]any)
	return v == nil || isList && len(list) == 0
}

// errorOf returns an *Error with what status and headers say.
func errorOf(res *http.Response) *Error {
	return &Error{
		HTTPStatus: res.StatusCode,
		RequestID:  requestIDOf(res.Header),
		RetryAfter: outbound.RetryAfter(res.Header, time.Now(), MaxRetryAfter),
	}
}

// tooLarge is the error of a body beyond MaxBody.
func tooLarge(res *http.Response) *Error {
	err := errorOf(res)
	err.Kind, err.Message = Unreadable, fmt.Sprintf("the body is larger than %d bytes", MaxBody)
	return err
}

// codeAndMessage reads the envelope of an error: the official one, the OpenAI shape
// {"error":{"message","type","code"}}, or {"detail":...} as FastAPI writes it.
func codeAndMessage(root object) (code, message string) {
	code, message = cmp.Or(root.text("code"), root.text("error_code"), root.text("err_code")), cmp.Or(root.text("message"), root.text("msg"), root.text("error_msg"))
	if inner, ok := root["error"].(object); ok {
		code = cmp.Or(inner.text("code"), inner.text("type"), code)
		message = cmp.Or(inner.text("message"), message)
	} else if reason := root.text("error"); reason != "" {
		message = cmp.Or(message, reason)
	}
	if inner, ok := root["detail"].(object); ok {
		code, message = cmp.Or(inner.text("code"), inner.text("type"), code), cmp.Or(inner.text("message"), inner.text("msg"), message)
	}
	message = cmp.Or(message, root.text("detail"))
	return outbound.Truncate(outbound.Line(code), maxCode), line(message)
}

// findRequestID looks through the wrappers, from the outermost inwards.
func findRequestID(node object) string {
	for range maxNesting {
		if id := node.text("request_id"); id != "" {
			return outbound.Truncate(outbound.Line(id), maxRequestID)
		}
		next, ok := node["data"].(object)
		if !ok {
			return ""
		}
		node = next
	}
	return ""
}

// requestIDOf reads the headers that gateways use.
func requestIDOf(header http.Header) string {
	return outbound.Truncate(outbound.Line(cmp.Or(header.Get("X-Request-Id"), header.Get("X-Oneapi-Request-Id"))), maxRequestID)
}

// describeText says what the relay sent instead of JSON, without repeating a whole
// page.
func describeText(res *http.Response, body []byte, err error) string {
	switch {
	case res.StatusCode >= 300 && res.StatusCode < 400:
		return "the relay redirects, and redirects are not followed: check KLING_BASE_URL"
	case len(bytes.TrimSpace(body)) == 0:
		return "the body is empty"
	case isHTML(body):
		if kindOfText(res.StatusCode, body) == Misconfigured {
			return "an HTML page instead of JSON: check KLING_BASE_URL, KLING_PATH_PREFIX, and whether the relay serves this path"
		}
		return "an HTML page instead of JSON"
	}
	return line("not one JSON document: " + err.Error())
}

// The most characters that are kept of texts from the relay.
const (
	maxMessage   = 1000
	maxCode      = 64
	maxRequestID = 200
)

// line returns a short, safe line of a text from the relay.
func line(text string) string { return outbound.Truncate(outbound.Line(text), maxMessage) }
