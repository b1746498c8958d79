package klingapi

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
)

// evidence is what must be known of an answer to judge the nodes in it.
type evidence struct {
	good      bool // neither HTTP status nor code reports an error
	transient bool // they report trouble that passes: 429, 5xx, 1302, 5000
	relay     string
}

// findRecord makes one Record of the nodes that describe the task. The outermost
// known status wins: new-api may give up (FAILURE) while the inner body still says
// processing.
func findRecord(document any, ref Ref, a evidence) (Record, bool) {
	nodes := findNodes(document, ref)
	if !a.good {
		// of a weak node only a file is certain, since errors repeat ids, too
		nodes = slices.DeleteFunc(nodes, func(n node) bool {
			return n.weak && (n.status() != Succeeded || len(findFiles(n.object, ref)) == 0)
		})
	}
	if len(nodes) == 0 {
		return Record{}, false
	}
	verdict := decide(nodes)
	record := Record{Word: line(verdict.word), Status: verdict.status()}
	for _, n := range nodes {
		record.TaskID = cmp.Or(record.TaskID, idOf(n.object))
		record.UnitDeduction = cmp.Or(record.UnitDeduction, n.decimal("final_unit_deduction"))
		if record.CreatedAt.IsZero() {
			record.CreatedAt = firstTime(n.object, "created_at", "create_time", "submit_time")
		}
		if record.UpdatedAt.IsZero() {
			record.UpdatedAt = firstTime(n.object, "updated_at", "update_time", "finish_time")
		}
	}
	switch record.Status {
	case Failed:
		record.fail(document, nodes, verdict, a)
	case Stopped:
		record.Message, record.ByRelay = reason(document, nodes), true
	case Succeeded:
		record.succeed(document, nodes, verdict, ref, a)
	}
	return record, true
}

// fail judges a failure word. A failure of the relay's own stands around a record
// that has not failed. A failure is unsure where the answer may be about the request.
func (r *Record) fail(document any, nodes []node, verdict node, a evidence) {
	r.Status, r.Message = Failed, reason(document, nodes)
	r.ByRelay = slices.ContainsFunc(nodes, func(n node) bool { s := n.status(); return s == Submitted || s == Processing })
	r.Unsure = a.transient && ownReason(nodes) == "" || verdict.weak && strings.EqualFold(strings.TrimSpace(verdict.word), "error")
}

// succeed judges a success word: with files it is one, whatever else is said;
// without, an error beside it is the truth, and where nothing but a weak word is
// there, it may be about the request.
func (r *Record) succeed(document any, nodes []node, verdict node, ref Ref, a evidence) {
	files := chooseFiles(nodes, ref, a.relay)
	r.Outputs, r.Incomplete, r.TooLarge = files.outputs, files.incomplete, files.tooLarge
	failedInside := slices.ContainsFunc(nodes, func(n node) bool { return n.status() == Failed })
	switch {
	case len(r.Outputs) > 0 || r.TooLarge > 0:
		r.Message = contradiction(document, nodes)
	case failedInside || contradiction(document, nodes) != "":
		r.fail(document, nodes, verdict, a)
		r.Message = cmp.Or(contradiction(document, nodes), r.Message)
		r.ByRelay, r.Unsure = false, a.transient && r.Message == ""
	default:
		if !r.Incomplete {
			r.Result = resultWithoutFiles(nodes)
		}
		if r.Result != nil {
			return
		}
		r.Message = remark(document, nodes)
		if verdict.weak {
			r.Status, r.Bare = "", true
		}
	}
}

// decide picks the node whose word counts: the outermost strong one with a known
// word, else the outermost weak one with a known word, else the outermost.
func decide(nodes []node) node {
	for _, weak := range []bool{false, true} {
		for _, n := range nodes {
			if n.weak == weak && n.status() != "" {
				return n
			}
		}
	}
	return nodes[0]
}

// reasonFields are where a task's failure is explained, the most telling first.
var reasonFields = []string{
	"task_status_msg", "fail_reason", "err_reason", "error", "error_message", "error_msg", "failure_reason", "fail_msg", "status_message", "reason",
}

// phrases are what envelopes say when nothing is wrong with them.
var phrases = map[string]bool{
	"": true, "success": true, "succeed": true, "succeeded": true, "successful": true, "ok": true, "none": true, "null": true, "nil": true, "0": true,
	"request success": true, "completed": true, "成功": true, "操作成功": true, "请求成功": true, "查询成功": true,
}

func isPhrase(text string) bool {
	return phrases[strings.ToLower(strings.Trim(strings.TrimSpace(text), ".!。"))]
}

// reasonIn returns the reason in one field: a text, or {"message": ...}.
func reasonIn(o object, key string) string {
	text := o.text(key)
	if inner, ok := embedded(o[key]).(object); ok {
		text = cmp.Or(inner.text("message"), inner.text("msg"), inner.text("detail"), inner.text("reason"), inner.text("code"))
	}
	if isPhrase(text) {
		return ""
	}
	return text
}

// ownReason is a reason that the task's own fields give.
func ownReason(nodes []node) string {
	for _, n := range nodes {
		for _, key := range reasonFields {
			if text := reasonIn(n.object, key); text != "" {
				return line(text)
			}
		}
	}
	return ""
}

// reason returns why a task failed. Relays also put it where they put the URL of a
// success; in the last resort it is the message of the envelope.
func reason(document any, nodes []node) string {
	if text := ownReason(nodes); text != "" {
		return text
	}
	if text := remark(document, nodes); text != "" {
		return text
	}
	for _, n := range nodes {
		for _, key := range []string{"url", "result_url"} {
			if text := reasonIn(n.object, key); text != "" {
				return line(text)
			}
		}
	}
	return ""
}

// remark is what the messages of the nodes, and of the envelope, say beyond phrases.
func remark(document any, nodes []node) string {
	root, _ := document.(object)
	for _, n := range append(slices.Clone(nodes), node{object: root}) {
		for _, key := range []string{"message", "msg"} {
			if text := reasonIn(n.object, key); text != "" {
				return line(text)
			}
		}
	}
	return ""
}

// contradiction is an error told beside a success: in a field that is for errors
// only. A reason that is a URL is the file of old builds of new-api.
func contradiction(document any, nodes []node) string {
	root, _ := document.(object)
	for _, n := range append(slices.Clone(nodes), node{object: root}) {
		for _, key := range reasonFields {
			if key == "status_message" || key == "reason" {
				continue // also said of a success
			}
			text := reasonIn(n.object, key)
			if key == "task_status_msg" && n.status() != Failed {
				continue // Kling's own word on any status
			}
			if text != "" && !isFileURL(text) {
				return line(text)
			}
		}
	}
	return ""
}

// resultWithoutFiles is the result of a task that makes no file: an element, a
// voice, recognised subjects. nil where there is none.
func resultWithoutFiles(nodes []node) json.RawMessage {
	for _, n := range nodes {
		for _, key := range []string{"task_result", "result", "output", "outputs", "result_json"} {
			v := embedded(n.object[key])
			if !saysSomething(v) {
				continue
			}
			if result, err := encode(v); err == nil {
				return result
			}
		}
	}
	return nil
}

// saysSomething reports whether a result holds a value that is no status word and no
// file that is still missing.
func saysSomething(v any) bool {
	switch v := v.(type) {
	case object:
		for key, value := range v {
			if key != "url" && key != "status" && key != "type" && !slices.Contains(wrappers, key) && saysSomething(value) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(v, saysSomething)
	case string:
		return strings.TrimSpace(v) != "" && ParseStatus(v) == ""
	case json.Number:
		return true
	}
	return false
}
