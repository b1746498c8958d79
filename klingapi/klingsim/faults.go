package klingsim

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"time"
)

const (
	movedPath     = "/moved/" // the target of redirects
	hugeBody      = 64 << 20  // bytes of `huge`
	hangTime      = 30 * time.Second
	smallSlowness = time.Second // the slow answer among the random faults
)

// fault answers a query wrongly.
type fault func(*query)

// fault returns what goes wrong with this query, or nil: by the words of the id, else by chance.
func (q *query) fault() fault {
	if word := q.faultWord(); word != "" && (q.batch == nil || word != "weird") { // in a batch only one record is weird
		return faultByWord[word]
	}
	if rate := q.relay.config.FaultRate; rate > 0 && share(q.chance("fault")) < rate {
		return smallFaults[q.chance("which fault")%uint64(len(smallFaults))]
	}
	return nil
}

// faultWord is the word of the id that spoils this query, empty: none.
func (q *query) faultWord() string {
	if q.seen.answered <= faultyQueries || q.words[groupRepeat] == "always" {
		return q.words[groupFault]
	}
	return ""
}

// smallFaults happen at random and do not last. None of them can be taken for a verdict.
var smallFaults = []fault{
	refusal(codeInternal),
	func(q *query) { q.refuse(codeRateTooHigh, "1") },
	(*query).cut,
	(*query).truncate,
	func(q *query) {
		if q.wait(smallSlowness) {
			q.reply().write(q.w)
		}
	},
}

// faultByWord has the fault words of the vocabulary.
var faultByWord = func() map[string]fault {
	byWord := map[string]fault{
		"throttle": func(q *query) { q.refuse(codeRateTooHigh, "1") },
		"throttledate": func(q *query) {
			q.refuse(codeRateTooHigh, time.UnixMilli(q.now).Add(2*time.Second).UTC().Format(http.TimeFormat))
		},
		"throttleodd": func(q *query) {
			odd := []string{"-5", "99999999999", "soon"}
			q.refuse(1303, odd[int(q.seen.answered-1)%len(odd)])
		},
		"error500":     refusal(codeInternal),
		"denied":       refusal(1103),
		"arrears":      refusal(1101),
		"badgateway":   page(http.StatusBadGateway, badGatewayHTML).asFault(),
		"garbage":      page(http.StatusOK, cloudflareHTML).asFault(),
		"htmlnotfound": notFoundPage.asFault(),
		"blank":        reply{status: http.StatusOK, headers: [][2]string{{"Content-Type", jsonType}}}.asFault(),
		"truncated":    (*query).truncate,
		"trailing": func(q *query) {
			p := q.reply()
			p.body = append(p.body, "\n<!-- served from cache -->"...)
			p.write(q.w)
		},
		"cut": (*query).cut,
		"hang": func(q *query) {
			if q.wait(hangTime) {
				page(http.StatusGatewayTimeout, statusHTML(http.StatusGatewayTimeout)).write(q.w)
			}
		},
		"huge":     (*query).flood,
		"redirect": (*query).redirect,
		"mislabelled": func(q *query) {
			p := q.reply().with("Content-Type", "text/plain")
			p.status = http.StatusInternalServerError
			p.write(q.w)
		},
		"weird": func(q *query) {
			if !q.known() {
				q.unknown().write(q.w)
				return
			}
			q.record(q.weirdView()).write(q.w)
		},
		"weakerror": func(q *query) {
			jsonReply(http.StatusOK, item{"status": "error", "task_id": q.taskID(), "error": "rate limit, retry later"}).write(q.w)
		},
		"weakfail": func(q *query) {
			record := item{"task_id": q.taskID(), "task_status": "failed", "task_status_msg": ""}
			jsonReply(http.StatusTooManyRequests, item{"code": codeRateTooHigh, "message": "rate too high", "data": record}).write(q.w)
		},
		"frontend":     frontEndPage.asFault(),
		"invalidurl":   func(q *query) { invalidURL(q.req.URL.EscapedPath()).write(q.w) },
		"gateway":      gatewayError(http.StatusServiceUnavailable, "model_not_found", "No available channel for model kling-v1"),
		"gatewaykey":   gatewayError(http.StatusUnauthorized, "", "Invalid token"),
		"gatewayquota": gatewayError(http.StatusForbidden, "insufficient_user_quota", "User quota is not enough"),
	}
	for _, status := range []int{http.StatusUnauthorized, http.StatusPaymentRequired, http.StatusTooManyRequests, http.StatusInternalServerError} {
		byWord[fmt.Sprintf("body%d", status)] = jsonReply(http.StatusOK, item{"code": status, "msg": http.StatusText(status), "data": nil}).asFault()
	}
	for _, e := range errorTable {
		byWord[fmt.Sprintf("e%d", e.code)] = refusal(e.code)
	}
	return byWord
}()

func refusal(code int) fault {
	return func(q *query) { q.refuse(code, "") }
}

func (p reply) asFault() fault {
	return func(q *query) { p.write(q.w) }
}

// refuse answers with a row of the error table. retryAfter is the value of a header, empty: none.
func (q *query) refuse(code int, retryAfter string) {
	e := errorByCode(code)
	p := q.errorReply(e.status, e.code, e.message)
	if retryAfter != "" {
		p = p.with("Retry-After", retryAfter)
	}
	p.write(q.w)
}

func (q *query) errorReply(status, code int, message string) reply {
	return jsonReply(status, envelope{Code: code, Message: &message, RequestID: q.requestID()})
}

func gatewayError(status int, code, message string) fault {
	return func(q *query) { q.gatewayReply(status, code, message).write(q.w) }
}

// gatewayReply is an error of new-api itself, in the shape of OpenAI's.
func (q *query) gatewayReply(status int, code, message string) reply {
	id := q.requestID()
	return jsonReply(status, item{"error": item{
		"message": message + " (request id: " + id + ")",
		"type":    "new_api_error",
		"param":   "",
		"code":    code,
	}}).with("X-Oneapi-Request-Id", id)
}

// weirdView is a state that no client knows.
func (q *query) weirdView() *view {
	return &view{phase: weird, created: q.seen.first, updated: q.seen.first}
}

// truncate sends half of the answer as if it were complete.
func (q *query) truncate() {
	p := q.reply()
	p.body = p.body[:len(p.body)/2]
	p.write(q.w)
}

// cut closes the connection: for odd queries before the answer, for even ones in the middle of it.
func (q *query) cut() {
	if q.seen.answered%2 == 1 {
		q.hangUp("")
		return
	}
	body := q.reply().body
	q.hangUp(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", jsonType, len(body), body[:len(body)/2]))
}

// hangUp closes the connection after some last bytes. Where it cannot take over the connection (HTTP/2, recorders), it
// answers 502.
func (q *query) hangUp(last string) {
	conn, _, err := http.NewResponseController(q.w).Hijack()
	if err != nil {
		page(http.StatusBadGateway, badGatewayHTML).write(q.w)
		return
	}
	_, _ = conn.Write([]byte(last))
	_ = conn.Close()
}

// flood sends JSON of hugeBody bytes, until the caller goes away.
func (q *query) flood() {
	q.w.Header().Set("Content-Type", jsonType)
	_, _ = q.w.Write([]byte(`{"code":0,"message":"`))
	chunk := bytes.Repeat([]byte("x"), 64<<10)
	for range hugeBody / len(chunk) {
		if _, err := q.w.Write(chunk); err != nil {
			return
		}
	}
}

// redirect leads to a path outside the API on the same host, to which http.Client would send the key.
func (q *query) redirect() {
	p := page(http.StatusFound, statusHTML(http.StatusFound))
	p.with("Location", movedPath+strings.TrimPrefix(q.req.URL.EscapedPath(), "/")).write(q.w)
}
