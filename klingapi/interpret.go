package klingapi

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/klingwatch/klingwatch/outbound"
)

// interpret turns an answer into a Reply or an *Error, in the order of the package
// comment. relay is the host that was asked.
func interpret(ref Ref, res *http.Response, body []byte, relay string) (*Reply, error) {
	document, stored, err := parse(body)
	if err != nil {
		return nil, unreadable(res, body, err)
	}
	return read(ref, errorOf(res), document, stored, relay)
}

// read makes a Reply of a decoded answer, or completes answer, which has its status and
// headers, as the *Error.
func read(ref Ref, answer *Error, document any, stored json.RawMessage, relay string) (*Reply, error) {
	status := answer.HTTPStatus
	around := envelopes(document, ref)
	said := readEnvelopes(document, around, status)
	answer.take(said, document, ref)
	trouble := troubleOf(status, said)
	ofTask := said.ofTask && (trouble == "" || isServerError(said.code))
	good := status < 300 && trouble != NotFound && (!said.failed || ofTask)
	record, found := findRecord(document, ref, evidence{good: good, odd: status < 300 && trouble == "", around: around, relay: relay})

	if found && record.Status == "" && isLostWord(record.Word) {
		answer.Kind = NotFound
		return nil, answer
	}
	if found && (record.Status != "" || good) {
		reply := &Reply{HTTPStatus: status, RequestID: answer.RequestID, Record: record, Body: stored}
		if said.failed {
			reply.Code = answer.Code
		}
		return reply, nil
	}
	return nil, answer.describe(around, trouble)
}

// take adds what the body says of the exchange. The request id of the header stays, since
// it is the one that the relay's operator knows.
func (e *Error) take(said envelope, document any, ref Ref) {
	e.Code, e.Message = said.code, said.message
	e.RequestID = cmp.Or(e.RequestID, findRequestID(document, ref))
}

// describe completes the error of an answer without a record. What the outermost
// envelope does not say, an inner one may.
func (e *Error) describe(around []object, trouble ErrorKind) *Error {
	for _, o := range around {
		if trouble != "" {
			break
		}
		said := readEnvelope(o, e.HTTPStatus)
		said.wrong = true // no record, although nothing is reported: the message may say why
		if trouble = cmp.Or(troubleOf(e.HTTPStatus, said), kindOfFamily(said.code)); trouble != "" {
			e.Code, e.Message = cmp.Or(said.code, e.Code), cmp.Or(said.message, e.Message)
		}
	}
	if trouble == "" && reportsNoTask(around, e.HTTPStatus) {
		trouble, e.Message = NotFound, cmp.Or(e.Message, "an answer without the task in it")
	}
	e.Kind = cmp.Or(trouble, Unreadable)
	if e.Kind == Unreadable && e.Message == "" {
		e.Message = "JSON without a task in it"
	}
	return e
}

// errorOf returns an *Error with what status and headers say.
func errorOf(res *http.Response) *Error {
	return &Error{
		HTTPStatus: res.StatusCode,
		RequestID:  requestIDOf(res.Header),
		RetryAfter: outbound.RetryAfter(res.Header, time.Now(), MaxRetryAfter),
	}
}

// unreadable is the error of an answer that is not one JSON document.
func unreadable(res *http.Response, body []byte, err error) *Error {
	answer := errorOf(res)
	answer.Kind = kindOfText(res.StatusCode, body)
	answer.Message = describeText(res, body, err)
	return answer
}

// tooLarge is the error of a body beyond MaxBody.
func tooLarge(res *http.Response) *Error {
	err := errorOf(res)
	err.Kind, err.Message = Unreadable, fmt.Sprintf("the body is larger than %d bytes", MaxBody)
	return err
}

// findRequestID looks through the wrappers, from the outermost inwards.
func findRequestID(document any, ref Ref) string {
	v := document
	for range maxNesting {
		o, ok := embedded(v).(object)
		if !ok {
			return ""
		}
		if id := o.text("request_id"); id != "" && id != ref.TaskID {
			return outbound.Truncate(outbound.Line(id), maxRequestID)
		}
		if v = o["data"]; v == nil {
			v = o["response"]
		}
	}
	return ""
}

// requestIDOf reads the headers that gateways use.
func requestIDOf(header http.Header) string {
	return outbound.Truncate(outbound.Line(cmp.Or(header.Get("X-Oneapi-Request-Id"), header.Get("X-Request-Id"))), maxRequestID)
}

// describeText says what the relay sent instead of JSON, without repeating a whole
// page.
func describeText(res *http.Response, body []byte, err error) string {
	switch {
	case res.StatusCode >= 300 && res.StatusCode < 400:
		return "the relay redirects, and redirects are not followed: check its address"
	case len(bytes.TrimSpace(body)) == 0:
		return "the body is empty"
	case isHTML(body):
		if kindOfText(res.StatusCode, body) == Misconfigured {
			return "an HTML page instead of JSON: check the address and the form of path, and whether the relay serves this path"
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
