package klingapi

import (
	"bytes"
	"cmp"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode"
)

// interpret turns an HTTP exchange into a Reply or an *Error, in the order of
// the package comment.
func interpret(ref Ref, res *http.Response, body []byte) (*Reply, error) {
	answer := &Error{
		HTTPStatus: res.StatusCode,
		RequestID:  requestIDOf(res.Header),
		RetryAfter: retryAfter(res.Header, time.Now()),
	}
	if len(body) > MaxBody {
		answer.Kind, answer.Message = Unreadable, fmt.Sprintf("the body is larger than %d bytes", MaxBody)
		return nil, answer
	}
	document, stored, err := parse(body)
	if err != nil {
		answer.Kind = kindOfStatus(res.StatusCode, false)
		answer.Message = describeText(res, body, err)
		return nil, answer
	}

	root, _ := document.(object)
	answer.Code, answer.Message = codeAndMessage(root)
	answer.RequestID = cmp.Or(findRequestID(root), answer.RequestID)
	failed := !successCodes[strings.ToLower(answer.Code)]
	record, found := findRecord(document, ref, !failed && res.StatusCode < 300)

	if found && (record.Status != "" || (!failed && res.StatusCode < 300)) {
		reply := &Reply{HTTPStatus: res.StatusCode, RequestID: answer.RequestID, Record: record, Body: stored}
		if failed {
			reply.Code = answer.Code
		}
		return reply, nil
	}
	answer.Kind = kindOfCode(answer.Code, answer.Message)
	if answer.Kind == "" {
		answer.Kind = kindOfStatus(res.StatusCode, true)
	}
	if answer.Kind == Unreadable && answer.Message == "" {
		answer.Message = "JSON without a task in it"
	}
	return nil, answer
}

// codeAndMessage reads the envelope of an error: the official one, or the
// OpenAI shape {"error":{"message","type","code"}}.
func codeAndMessage(root object) (code, message string) {
	code, message = root.text("code"), cmp.Or(root.text("message"), root.text("msg"))
	if inner, ok := root["error"].(object); ok {
		code = cmp.Or(inner.text("code"), inner.text("type"), code)
		message = cmp.Or(inner.text("message"), message)
	} else if reason := root.text("error"); reason != "" {
		message = cmp.Or(message, reason)
	}
	return cut(oneLine(code), maxCode), oneLine(message)
}

// findRequestID looks through the wrappers, outside first.
func findRequestID(node object) string {
	for range maxNesting {
		if id := node.text("request_id"); id != "" {
			return cut(oneLine(id), maxRequestID)
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
	return cut(oneLine(cmp.Or(header.Get("X-Request-Id"), header.Get("X-Oneapi-Request-Id"))), maxRequestID)
}

// describeText says what came instead of JSON, without repeating a whole page.
func describeText(res *http.Response, body []byte, err error) string {
	switch {
	case res.StatusCode >= 300 && res.StatusCode < 400:
		return "the relay redirects, which is not followed: check KLING_BASE_URL"
	case len(bytes.TrimSpace(body)) == 0:
		return "the body is empty"
	case bytes.HasPrefix(bytes.TrimSpace(body), []byte("<")):
		if res.StatusCode == http.StatusNotFound {
			return "an HTML page instead of JSON: check KLING_BASE_URL and KLING_PATH_PREFIX"
		}
		return "an HTML page instead of JSON"
	}
	return "not one JSON document: " + err.Error()
}

// Texts of the relay are cut to these lengths, in bytes.
const (
	maxMessage   = 1000
	maxCode      = 64
	maxRequestID = 200
)

// oneLine makes a text of the relay fit for a log line, a table cell and a
// terminal: white space is folded, control characters are dropped.
func oneLine(text string) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case unicode.IsControl(r):
			return -1
		}
		return r
	}, text)
	return cut(strings.Join(strings.Fields(text), " "), maxMessage)
}

// cut shortens a text to so many bytes and a few dots.
func cut(text string, length int) string {
	if len(text) <= length {
		return text
	}
	return strings.ToValidUTF8(text[:length], "") + "..."
}
