package klingapi

import (
	"bytes"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"
)

// ErrorKind classifies the outcomes of GetTask and GetTasks that do not describe the task.
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
	Misconfigured ErrorKind = "misconfigured" // what answers is not a relay: HTML 404, redirect, 1202; check BaseURL and TaskPath
)

// Error is an outcome of GetTask or GetTasks that does not describe the task.
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

// unknownTask matches what relays say of an id that they do not know. It takes a
// word for the task: "not found" alone is said of paths, keys and models as well.
var unknownTask = regexp.MustCompile(`(?i)\b(task|job|record|generation|prediction|entity)(_?id)?\b[^.;]{0,80}?(not[ _-]?(found|exists?)|does ?n[o']t exist|no longer (exists|available)|was removed|been removed|been deleted|unknown)` +
	`|\b(video|request|id)\b['"]?\s+((with|id|was|is|has|been|\S*[0-9]\S*|'[^']*'|"[^"]*")\s+){0,4}(not[ _-]?(found|exists?)|does ?n[o']t exist)` +
	`|\b(no such|unknown|non-?existent|invalid|cannot find|can't find|could not find|couldn't find|did not find)( the| this| any)? ?(task|job|record|generation|prediction)\b` +
	`|\bno (task|job|record|generation)s? (was |were )?(found|match)` +
	`|\bnot found by id` +
	`|\bno query results for \S+ \S*(task|job|record|generation|video)` + // Laravel
	`|(任务|记录|作业|数据|任務|記錄)[^。；，]{0,40}?(不存在|未找到|找不到|没有找到|已过期|已删除|已被删除|無法找到)|(不存在|未找到|找不到|没有找到|查无)[^。；，]{0,20}?(任务|记录|作业|任務|記錄)` +
	`|タスク.{0,20}(見つかりません|存在しません)|작업.{0,20}(찾을 수 없|존재하지 않)|задач\S{0,3}.{0,40}не (найден|существует)` +
	`|(tarea|trabajo).{0,40}no (existe|encontrad|se encontr)|tarefa.{0,40}não (existe|encontrad|foi encontrad)|t[âa]che.{0,40}(introuvable|n'existe pas|non trouvée)|(aufgabe|auftrag).{0,40}nicht (gefunden|vorhanden)`)

// otherThing matches what else may be missing, in a sentence with the word for the
// task.
var otherThing = regexp.MustCompile(`(?i)\b(model|user|account|token|key|channel|group|path|route|url|endpoint|page|type|file|template|voice|element|provider|plan|project|organi[sz]ation|app|queue|` +
	`webhook|callback|source|input|origin|original|reference|image|audio|field|parameter)s?\b|模型|用户|账号|渠道|令牌|密钥|接口|路径|图片`)

// saysUnknownTask reports whether a message says that the task is not there, and not
// something else that belongs to it.
func saysUnknownTask(message string) bool {
	for _, at := range unknownTask.FindAllStringIndex(message, -1) {
		begin := strings.LastIndexAny(message[:at[0]], ".:;!?,。；：，！\n") + 1
		if clause := message[begin:at[1]]; strings.Contains(clause, "query results") || !otherThing.MatchString(clause) {
			return true
		}
	}
	return false
}

// saysNoTask reports the same of a text that is no JSON: a message, or a bare code.
func saysNoTask(text string) bool {
	return saysUnknownTask(text) || isUnknownWord(strings.TrimSpace(text))
}

// unknownWords match codes and status words of the same meaning.
var unknownWords = regexp.MustCompile(`^(task|job|record|video|generation|prediction)_?(id_)?(is_)?(not_?found|not_?exists?|does_not_exist|unknown|missing|gone)(_error)?$|^(no_such|unknown|missing)_(task|job|record)$`)

// notFoundCodes match codes that leave open what is not found.
var notFoundCodes = regexp.MustCompile(`^(resource_?|entity_?)?(not_?found|not_?exists?)(_error)?$`)

// isUnknownWord reports whether a code or a status word says that the task is not
// known.
func isUnknownWord(word string) bool {
	return unknownWords.MatchString(separators.Replace(strings.ToLower(word)))
}

// isLostWord reports the same of a word in the status of a record.
func isLostWord(word string) bool {
	return isUnknownWord(word) || notFoundCodes.MatchString(separators.Replace(strings.ToLower(word)))
}

// noModel matches what new-api says of an id that it does not know to a token with
// model limits: the model's name is empty.
var noModel = regexp.MustCompile(`(?i)(no access to model|无权(访问|使用)模型)[：:\s]*(\(|（|$)`)

// unrouted matches what gateways say of a path that they do not serve: new-api
// ("Invalid URL (GET /v1/x)"), Express, Fastify, Gin, Laravel, Spring, AWS.
var unrouted = regexp.MustCompile(`(?i)invalid url \(|no route|route (\S+ )?(was |is |could )?not (be )?found|path not found|no handler|cannot get /|unknown (path|route|endpoint|url)|` +
	`(endpoint|api|page|url|path|route) (was |is )?not found|no static resource|no message available|^missing authentication token$`)

// bareNotFound matches the same without a word more: FastAPI, net/http.
var bareNotFound = regexp.MustCompile(`(?i)^\s*(404:? )?(page )?not found\.?\s*$`)
