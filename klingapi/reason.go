package klingapi

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// errorFields are where a failure is explained, the most telling first; reasonFields
// may as well comment on a success.
var (
	errorFields = []string{
		"fail_reason", "err_reason", "error", "errors", "error_message", "error_msg", "err_msg", "failure_reason", "failed_reason", "failure", "fail_msg", "failure_message",
		"error_reason", "error_detail", "error_details",
	}
	reasonFields = []string{"status_message", "status_msg", "status_reason", "status_detail", "reason", "detail", "details"}
	codeFields   = []string{"fail_code", "failure_code", "error_code", "err_code", "error_type"}
)

// wellWords are what envelopes say when nothing is wrong with them; nothings are what
// they put where there is nothing to say.
var (
	wellWords = set("success", "succeed", "succeeded", "successful", "ok", "okay", "request success", "request succeeded", "completed", "done", "no error", "no errors", "正常")
	nothings  = set("", "none", "null", "nil", "undefined", "n/a", "-", "0", "200", "false", "无")
)

// isPhrase reports whether a text says nothing, or no more than that all is well.
func isPhrase(text string) bool { return nothings[trimmed(text)] || saysWell(text) }

func trimmed(text string) string {
	return strings.ToLower(strings.Trim(strings.TrimSpace(text), ".!。！"))
}

// saysWell reports whether a text says that all is well: "Task completed
// successfully", "查询成功".
func saysWell(text string) bool {
	text = trimmed(text)
	switch {
	case wellWords[text]:
		return true
	case strings.HasSuffix(text, "successfully"):
		return !strings.Contains(text, "not ") && !strings.Contains(text, "n't ") && !strings.Contains(text, "fail")
	case strings.HasSuffix(text, "成功"):
		return !strings.ContainsAny(text, "未不没失败")
	}
	return false
}

// reasonIn returns the reason in one field: a text, {"message": ...}, or the first of
// a list.
func reasonIn(o object, key string) string {
	v := o[key]
	if v == nil || v == "" {
		return ""
	}
	text := reasonOf(embedded(v), maxNesting)
	if isPhrase(text) {
		return ""
	}
	return text
}

func reasonOf(v any, depth int) string {
	if depth == 0 {
		return ""
	}
	switch v := v.(type) {
	case object:
		for _, key := range []string{"message", "msg", "detail", "reason", "error", "raw_message", "code", "type"} {
			if text := reasonOf(v[key], depth-1); !isPhrase(text) {
				return text
			}
		}
	case []any:
		if len(v) > 0 {
			return reasonOf(v[0], depth-1)
		}
	}
	return textOf(v)
}

// firstReason returns the reason in the first node, and the first of its fields, that
// gives one.
func firstReason(nodes []node, fields ...string) string {
	for _, n := range nodes {
		for _, key := range fields {
			if text := reasonIn(n.object, key); text != "" {
				return line(text)
			}
		}
	}
	return ""
}

// ownReason is a reason that the task's own fields give.
func ownReason(nodes []node) string {
	return firstReason(nodes, slices.Concat([]string{"task_status_msg"}, errorFields, reasonFields)...)
}

// explainsItself reports whether a failure gives a reason that is not the envelope's.
func explainsItself(nodes []node) bool {
	if ownReason(nodes) != "" || firstReason(nodes, "url", "result_url") != "" {
		return true
	}
	return slices.ContainsFunc(nodes, func(n node) bool {
		code := firstReason([]node{n}, codeFields...)
		return n.nested && reasonIn(n.object, "message") != "" || code != "" && codes[strings.ToLower(code)] == "" && code != "429" && !isServerError(code)
	})
}

// isPassing reports whether a code is that of a trouble that passes.
func isPassing(code string) bool {
	kind := codes[strings.ToLower(code)]
	return kind == Throttled || kind == Unavailable || code == "429"
}

// isServerError reports whether a code is 500 to 599: relays write that of a task as
// well.
func isServerError(code string) bool {
	n, err := strconv.Atoi(code)
	return err == nil && n >= 500 && n < 600
}

// hasPassingError reports whether the error of a record is one that passes: then it
// may be about the request.
func hasPassingError(n node) bool {
	inner, ok := embedded(n.object["error"]).(object)
	return ok && isPassing(inner.text("code"))
}

// reason returns why a task failed. In the last resort it is the message of the
// envelope, a code, or what stands where the URL of a success would.
func reason(nodes []node, around []object) string {
	return cmp.Or(ownReason(nodes), remark(nodes, around), firstReason(nodes, codeFields...), firstReason(nodes, "url", "result_url"))
}

// outward adds the envelopes to the nodes, the innermost first.
func outward(nodes []node, around []object) []node {
	all := append(make([]node, 0, len(nodes)+len(around)), nodes...)
	for _, o := range slices.Backward(around) {
		all = append(all, node{object: o})
	}
	return all
}

// remark is what the messages of the nodes, and of the envelopes, say beyond phrases.
func remark(nodes []node, around []object) string {
	return firstReason(outward(nodes, around), "message", "msg")
}

// contradiction is an error told beside a success: in a field that is for errors
// only, or as a code of the record.
func contradiction(nodes []node, around []object) string {
	for _, n := range outward(nodes, around) {
		if text := n.errorBeside(); text != "" {
			return line(text)
		}
	}
	if code := firstReason(nodes, codeFields...); code != "" {
		return cmp.Or(remark(nodes, around), code)
	}
	return ""
}

// errorBeside is the text in the first field of a node that is for errors. A fail_reason
// that is a URL is the file of old builds of new-api; Kling writes task_status_msg
// beside any status.
func (n node) errorBeside() string {
	if n.status() == Failed {
		if text := reasonIn(n.object, "task_status_msg"); text != "" {
			return text
		}
	}
	for _, key := range errorFields {
		if text := reasonIn(n.object, key); text != "" && !(key == "fail_reason" && isFileURL(text)) {
			return text
		}
	}
	return ""
}
