package klingapi

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/klingwatch/klingwatch/outbound"
)

// answer is what the relay sent, with its body.
type answer struct {
	*http.Response
	body   []byte
	buffer *[]byte // that the body was read into
}

// buffers are for bodies: most are read, understood and forgotten.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, usualBody); return &b }}

const (
	// usualBody is room for the body of most answers, in bytes.
	usualBody = 2 << 10
	// maxPooled is the largest buffer that is kept.
	maxPooled = 64 << 10
)

// forget lets the buffer be used again; then the body is gone.
func (a answer) forget() {
	if cap(*a.buffer) <= maxPooled {
		buffers.Put(a.buffer)
	}
}

// ask asks for ids in the place of a ref. It returns an *Error, or the error of ctx
// when ctx ends.
func (c *Client) ask(ctx context.Context, ref Ref, ids ...string) (answer, error) {
	address, err := c.path.address(c.base, ref, ids...)
	if err != nil {
		return answer{}, &Error{Kind: Rejected, Message: misfit + ": " + err.Error(), Err: err}
	}
	exchange, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	a, err := c.exchange(exchange, address)
	if err != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	return a, err
}

// misfit is the message of an error that prevents the request.
const misfit = "the task's action, action2 or id does not fit into a URL"

// exchange sends the request and reads the body up to MaxBody, under one deadline.
func (c *Client) exchange(ctx context.Context, address string) (answer, error) {
	token, err := c.credential.Token()
	if err != nil {
		return answer{}, &Error{Kind: Refused, Message: err.Error(), Err: err}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return answer{}, &Error{Kind: Rejected, Message: misfit, Err: err}
	}
	req.Header = c.headers.with(token)
	res, err := c.send(req)
	if err != nil {
		return answer{}, c.unreachable(ctx, 0, err)
	}
	defer res.Body.Close()
	a := answer{Response: res, buffer: buffers.Get().(*[]byte)}
	body, more, err := readBody(res, a.buffer)
	switch {
	case err != nil:
		err = c.unreachable(ctx, res.StatusCode, err)
	case more:
		err = tooLarge(res)
	default:
		a.body = redactToken(body, token)
		return a, nil
	}
	a.forget()
	return answer{}, err
}

// headers are those of all requests with one token. Nobody may change them: neither
// transports nor http.Client do.
type headers struct {
	userAgent string
	last      atomic.Pointer[headersOfToken]
}

type headersOfToken struct {
	token  string
	fields http.Header
}

func (h *headers) with(token string) http.Header {
	last := h.last.Load()
	if last == nil || last.token != token {
		last = &headersOfToken{token, http.Header{
			"Content-Type": {"application/json"}, "Accept": {"application/json"},
			"Authorization": {"Bearer " + token}, "User-Agent": {h.userAgent},
		}}
		h.last.Store(last)
	}
	return last.fields
}

// send sends a request. What does not end in a plain answer is left to http.Client,
// which copies every request for the sake of redirects that hardly ever come.
func (c *Client) send(req *http.Request) (*http.Response, error) {
	res, err := c.transport.RoundTrip(req)
	if err == nil && (res.StatusCode < 300 || res.StatusCode >= 400) {
		return res, nil
	}
	rest := http.Client{Transport: &begun{c.transport, res, err, false}, CheckRedirect: followSlash}
	return rest.Do(req)
}

// begun is a transport whose first request has been sent already.
type begun struct {
	http.RoundTripper
	res  *http.Response
	err  error
	told bool
}

// RoundTrip returns how the first request ended, then sends others.
func (b *begun) RoundTrip(req *http.Request) (*http.Response, error) {
	if b.told {
		return b.RoundTripper.RoundTrip(req)
	}
	b.told = true
	return b.res, b.err
}

// followSlash follows one redirect to the same host and path plus or minus a slash,
// as routers send it. No other place must receive the key.
func followSlash(next *http.Request, before []*http.Request) error {
	last := before[len(before)-1].URL
	if len(before) > 1 || next.URL.Scheme != last.Scheme || next.URL.Host != last.Host || next.URL.RawQuery != last.RawQuery ||
		strings.TrimRight(next.URL.EscapedPath(), "/") != strings.TrimRight(last.EscapedPath(), "/") {
		return http.ErrUseLastResponse
	}
	return nil
}

// readBody reads an answer up to MaxBody into a buffer. gzip is read although it was not
// asked for: some gateways compress whatever they are told.
func readBody(res *http.Response, buffer *[]byte) (body []byte, more bool, err error) {
	body, more, err = outbound.AppendBody((*buffer)[:0], res.Body, MaxBody)
	*buffer = body
	if err != nil || more || !bytes.HasPrefix(body, []byte("\x1f\x8b")) {
		return body, more, err
	}
	unzip, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return body, false, nil // it only looks like gzip
	}
	return outbound.ReadBody(unzip, MaxBody)
}

// minHidden is the length of the shortest token that is hidden in replies: shorter
// ones would occur by chance.
const minHidden = 8

// redactToken keeps a key that the relay repeats out of tables and logs.
func redactToken(body []byte, token string) []byte {
	if len(token) < minHidden || !bytes.Contains(body, []byte(token)) {
		return body
	}
	return bytes.ReplaceAll(body, []byte(token), []byte("[key]"))
}

// unreachable names the cause without the URL, which people know, and which would
// make the error of every task a different one.
func (c *Client) unreachable(ctx context.Context, status int, err error) *Error {
	message := err.Error()
	var urlErr *url.Error
	if errors.As(err, &urlErr) {
		message = urlErr.Err.Error()
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		message = fmt.Sprintf("no complete answer within %s", c.timeout)
	} else if errors.Is(err, io.ErrUnexpectedEOF) {
		message = "the connection was closed before the answer was complete"
	}
	return &Error{Kind: Unreachable, HTTPStatus: status, Message: line(message), Err: err}
}

// Known remembers an answer that says plainly that a task runs, in a few bytes. The zero
// Known remembers none.
type Known struct {
	word   string // of the record
	digest uint64 // of the body without ids of requests
}

// knownOf remembers the answer behind a reply. Any answer but one that says plainly that
// the task runs is read each time.
func knownOf(ref Ref, a answer, reply *Reply) Known {
	r := reply.Record
	plain := a.StatusCode == http.StatusOK && reply.Code == "" && (r.Status == Submitted || r.Status == Processing) && ParseStatus(r.Word) == r.Status
	if !plain {
		return Known{}
	}
	return Known{word: r.Word, digest: digest(a.body, ref)}
}

// isAnswer reports whether an answer says what the known one said.
func (k Known) isAnswer(ref Ref, a answer) bool {
	return k.word != "" && a.StatusCode == http.StatusOK && digest(a.body, ref) == k.digest
}

// reply is what is known.
func (k Known) reply() *Reply {
	return &Reply{HTTPStatus: http.StatusOK, Known: k, Record: Record{Word: k.word, Status: ParseStatus(k.word)}}
}

// seed keeps relays from making up bodies of one digest.
var seed = maphash.MakeSeed()

// digest is the same for bodies that differ in nothing but ids of requests: most relays
// give each answer one of its own.
func digest(body []byte, ref Ref) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	cuts := byte(0)
	for {
		before, value, after := cutRequestID(body)
		_, _ = h.Write(before)
		switch {
		case value == nil:
			_ = h.WriteByte(cuts) // so that no other body can look like one that was cut
			return h.Sum64()
		case string(value) == ref.TaskID: // it names the task
			_, _ = h.Write(value)
		default:
			_ = h.WriteByte(0) // in JSON, no string holds it
			cuts++
		}
		body = after
	}
}

var requestIDField = []byte(`"request_id"`)

// cutRequestID finds the first id of a request that cannot be anything else: in valid
// JSON, the name with a colon behind it is that of a field, and a value of letters,
// digits and hyphens is neither a link nor JSON in a string, nor is it empty. The quotes
// around it stay in before and after. A nil value: there is none.
func cutRequestID(body []byte) (before, value, after []byte) {
	for from := 0; ; {
		at := bytes.Index(body[from:], requestIDField)
		if at < 0 {
			return body, nil, nil
		}
		from += at + len(requestIDField)
		begin := skip(body, skip(body, skip(body, from, isSpace), isColon), isSpace)
		if begin == len(body) || body[begin] != '"' {
			continue
		}
		begin++
		end := skip(body, begin, isIDCharacter)
		if end > begin && end < len(body) && body[end] == '"' {
			return body[:begin], body[begin:end], body[end:]
		}
	}
}

// skip returns the first place from at on that does not hold such a character.
func skip(body []byte, at int, such func(byte) bool) int {
	for at < len(body) && such(body[at]) {
		at++
	}
	return at
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

func isColon(c byte) bool { return c == ':' }

func isIDCharacter(c byte) bool { return isLetterOrDigit(rune(c)) || c == '-' || c == '_' }
