package klingapi

import (
	"cmp"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/klingwatch/klingwatch/outbound"
)

// envelope is what an object says of the exchange.
type envelope struct {
	code    string // "" for none
	message string // for people
	failed  bool   // the code reports an error
	wrong   bool   // the code does, or another field
	ofTask  bool   // the code stands in the error of a record
	edge    bool   // Cloudflare answers, not the relay
}

// readEnvelope reads the official envelope, the OpenAI shape
// {"error":{"message","type","code"}}, {"detail":...} as FastAPI writes it, and what
// other gateways call the same. status is that of HTTP.
func readEnvelope(o object, status int) envelope {
	e := envelope{code: o.firstText("code", "ret_code", "retcode", "errno", "errcode")}
	if successCodes[strings.ToLower(e.code)] && status < 300 {
		e.code = cmp.Or(statusCode(o), e.code)
	}
	e.message = cmp.Or(o.firstText("message", "msg", "error_msg", "err_msg", "errmsg", "error_message", "error_description"), textOf(o["error"]))
	for _, inner := range []any{o["error"], o["detail"]} {
		if inner, ok := embedded(inner).(object); ok {
			e.take(o, inner.text("code"), inner.text("type"), inner.text("status"))
			e.message = cmp.Or(inner.firstText("message", "msg"), e.message)
		}
	}
	if code := o.firstText("error_code", "err_code"); code != "" {
		e.take(o, code)
	}
	if word := o.text("status"); successCodes[strings.ToLower(e.code)] && isLostWord(word) {
		e.code = word
	}
	e.message = cmp.Or(e.message, reasonIn(o, "errors"), reasonIn(o, "detail"), o.text("title"))
	e.failed = !successCodes[strings.ToLower(e.code)] && (codes[e.code] != "" || status >= 300 || !saysWell(e.message))
	if e.failed && e.message == "" {
		e.message = o.text("data")
	}
	e.wrong = e.failed || o["success"] == false || o["error"] == true || reasonIn(o, "error") != "" || reasonIn(o, "errors") != "" || ParseStatus(o.text("status")) == Failed
	e.edge = o["cloudflare_error"] == true
	e.code, e.message = outbound.Truncate(outbound.Line(e.code), maxCode), line(e.message)
	return e
}

// take replaces the code by a more telling one of the error in o.
func (e *envelope) take(o object, inner ...string) {
	if code := tellingCode(append(inner, e.code)...); code != e.code {
		e.code, e.ofTask = code, isRecord(o)
	}
}

// tellingCode returns the first code that means something to us, else the first that
// reports an error at all, else the last.
func tellingCode(given ...string) string {
	for _, telling := range []func(code string) bool{
		func(code string) bool { return codes[code] != "" || isUnknownWord(code) },
		func(code string) bool { return !successCodes[code] },
	} {
		for _, code := range given {
			if telling(strings.ToLower(code)) {
				return code
			}
		}
	}
	return given[len(given)-1]
}

// readEnvelopes returns what the outermost envelope says, or the outermost that
// reports an error by its code.
func readEnvelopes(document any, around []object, status int) envelope {
	root, _ := document.(object)
	said := readEnvelope(root, status)
	if said.failed {
		return said
	}
	if root != nil && len(around) > 0 {
		around = around[1:] // the first is the root
	}
	for _, o := range around {
		if inner := readEnvelope(o, status); inner.failed {
			return inner
		}
	}
	return said
}

// firstText returns the first of the fields that holds a text.
func (o object) firstText(keys ...string) string {
	for _, key := range keys {
		if text := o.text(key); text != "" {
			return text
		}
	}
	return ""
}

// statusCode is an HTTP status that is written into the body; "" for none.
func statusCode(o object) string {
	for _, key := range []string{"status_code", "http_status", "status"} {
		text := o.text(key)
		if text == "" {
			continue
		}
		if n, err := strconv.Atoi(text); err == nil && n >= 400 && n < 600 {
			return strconv.Itoa(n)
		}
	}
	return ""
}

// successCodes are the values of code that report no error.
var successCodes = set("", "0", "0.0", "200", "201", "202", "00000", "success", "succeed", "succeeded", "ok")

// troubleOf decides what an answer in JSON reports: by its code, then by what its
// message says of the task, then by the HTTP status, also where that is written as
// the code. "" for an answer that reports nothing.
func troubleOf(status int, e envelope) ErrorKind {
	code := strings.ToLower(e.code)
	if status >= 400 || e.wrong {
		if kind := troubleInWords(status, code, e.message); kind != "" {
			return kind
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
	switch {
	case status < 300:
		return ""
	case status == http.StatusForbidden && e.edge:
		return Unavailable // says nothing about the key
	}
	return kindOfStatus(status)
}

// troubleInWords decides by codes and messages that say what is not there: the task,
// the path, or something else.
func troubleInWords(status int, code, message string) ErrorKind {
	switch {
	case code == "1203", code == "410", isUnknownWord(code), noModel.MatchString(message):
		return NotFound
	case unrouted.MatchString(message):
		return Misconfigured
	case status == http.StatusUnauthorized, status == http.StatusPaymentRequired, status == http.StatusTooManyRequests:
		return "" // whatever is not there, the task was not looked for
	case saysUnknownTask(message) && (codes[code] == "" || code == "1201" || code == "1202"):
		return NotFound
	case code == "404", notFoundCodes.MatchString(code):
		if otherThing.MatchString(message) {
			return Rejected
		}
		return NotFound
	case status == http.StatusNotFound && bareNotFound.MatchString(message):
		return Misconfigured // said of any path that is not served
	}
	return ""
}

// families are the codes of clouds and gateways, which have many of each: what they
// report where there is no record.
var families = []struct {
	form *regexp.Regexp
	kind ErrorKind
}{
	{regexp.MustCompile(`(?i)throttl|rate_?limit|too_?many_?requests|request_?limit`), Throttled},
	{regexp.MustCompile(`(?i)^(auth_?fail|authenti|authori|unauthori[sz]ed|forbidden|access_?denied|permission_?denied|arrear|insufficient_?(.*_)?(quota|balance|funds|credits?)$|invalid_?(api_?)?(key|token)$)`), Refused},
	{regexp.MustCompile(`(?i)^(internal|service_?unavailable|server_?error|bad_?gateway|gateway_?time_?out|upstream|overloaded)`), Unavailable},
}

func kindOfFamily(code string) ErrorKind {
	for _, family := range families {
		if family.form.MatchString(code) {
			return family.kind
		}
	}
	return ""
}

// reportsNoTask reports whether envelopes that are content hold nothing: an id that
// the relay does not know is left out.
func reportsNoTask(around []object, status int) bool {
	return status == http.StatusOK && len(around) > 0 && saysNothing(around, status) && slices.ContainsFunc(around, holdsNothing)
}

// saysNothing reports whether envelopes say nothing but that all is well.
func saysNothing(around []object, status int) bool {
	return !slices.ContainsFunc(around, func(o object) bool {
		e := readEnvelope(o, status)
		return e.wrong || !isPhrase(e.message)
	})
}

// holdsNothing reports whether an envelope has a null, or an empty list, where the
// record would be.
func holdsNothing(o object) bool {
	for _, key := range []string{"data", "tasks", "jobs", "records", "list", "items", "rows"} {
		v, there := o[key]
		switch v := embedded(v).(type) {
		case nil:
			if there && key == "data" {
				return true
			}
		case string:
			if strings.TrimSpace(v) == "" && key == "data" {
				return true
			}
		case []any:
			if len(v) == 0 {
				return true
			}
		}
	}
	return false
}
