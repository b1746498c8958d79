package klingapi

import (
	"cmp"
	"slices"
	"strings"
)

// maxNesting bounds the search through wrappers: new-api nests the official body
// once, and every further instance in a chain once more.
const maxNesting = 8

// node is an object of the reply that describes the task.
type node struct {
	object
	word string // its status word
	weak bool   // the word is in "status", where gateways also put the outcome of the request
}

// findRecord collects the nodes that describe the task, outermost first, and makes
// one Record of them. The outermost known status wins: new-api may give up (FAILURE)
// while the inner body still says processing. good means that neither HTTP status
// nor code reports an error: only then a weak node counts.
func findRecord(document any, ref Ref, good bool) (Record, bool) {
	nodes := findNodes(document, ref)
	if !good {
		nodes = slices.DeleteFunc(nodes, func(n node) bool { return n.weak })
	}
	if len(nodes) == 0 {
		return Record{}, false
	}
	verdict := decide(nodes)
	record := Record{Word: line(verdict.word), Status: ParseStatus(verdict.word)}
	for _, n := range nodes {
		record.TaskID = cmp.Or(record.TaskID, n.text("task_id"), n.text("id"))
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
		record.Message = reason(document, nodes)
	case Succeeded:
		record.Outputs = findOutputs(nodes, ref)
		if verdict.weak && len(record.Outputs) == 0 {
			record.Status = "" // the request succeeded; the task may not have
		}
	}
	return record, true
}

// decide picks the node whose word counts: the outermost strong one with a known
// word, else the outermost weak one with a known word, else the outermost.
func decide(nodes []node) node {
	for _, weak := range []bool{false, true} {
		for _, n := range nodes {
			if n.weak == weak && ParseStatus(n.word) != "" {
				return n
			}
		}
	}
	return nodes[0]
}

// findNodes walks root, data, data.data and so on.
func findNodes(v any, ref Ref) []node {
	var nodes []node
	for range maxNesting {
		o, ok := v.(object)
		if !ok {
			if o, ok = findInList(v, ref); !ok {
				return nodes
			}
		}
		if n, ok := asNode(o, ref); ok {
			nodes = append(nodes, n)
		}
		v = o["data"]
	}
	return nodes
}

// asNode reports whether an object describes a task. A field "status" alone is not
// enough, because gateways put the outcome of the request there: it takes a field
// that only tasks have. An id, which errors repeat as well, or a file makes a weak
// node.
func asNode(o object, ref Ref) (node, bool) {
	if word, ok := o["task_status"].(string); ok {
		return node{object: o, word: word}, true
	}
	word, ok := o["status"].(string)
	if !ok {
		return node{}, false
	}
	for _, key := range []string{"task_result", "result_url", "fail_reason", "progress"} {
		if _, ok := o[key]; ok {
			return node{object: o, word: word}, true
		}
	}
	if o.text("task_id") != "" || o.text("id") == ref.TaskID || isURL(o.text("url")) {
		return node{object: o, word: word, weak: true}, true
	}
	return node{}, false
}

// findInList finds the task in a list of records: the one with the id that was asked
// for, or the only one.
func findInList(v any, ref Ref) (object, bool) {
	list, ok := v.([]any)
	if !ok {
		return nil, false
	}
	var records []object
	for _, item := range list {
		o, ok := item.(object)
		if !ok {
			continue
		}
		if _, ok := asNode(o, ref); !ok {
			continue
		}
		if cmp.Or(o.text("task_id"), o.text("id")) == ref.TaskID {
			return o, true
		}
		records = append(records, o)
	}
	if len(records) == 1 {
		// With another id it may be another task, whose end is no verdict on ours.
		n, _ := asNode(records[0], ref)
		id := cmp.Or(records[0].text("task_id"), records[0].text("id"))
		return records[0], id == "" || !ParseStatus(n.word).Ended()
	}
	return nil, false
}

// reason returns why a task failed: in the last resort the message of the envelope,
// unless that says SUCCEED.
func reason(document any, nodes []node) string {
	for _, n := range nodes {
		text := cmp.Or(n.text("task_status_msg"), n.text("fail_reason"), n.text("status_message"), n.text("failure_reason"), n.text("reason"), n.text("error_message"))
		if text == "" {
			text = errorText(n.object)
		}
		if text != "" && !isURL(text) {
			return line(text)
		}
	}
	root, _ := document.(object)
	for _, text := range []string{nodes[0].text("message"), nodes[0].text("msg"), root.text("message"), root.text("msg")} {
		if !successCodes[strings.ToLower(text)] {
			return line(text)
		}
	}
	return ""
}

// errorText reads {"error": "..."} and {"error": {"message": "..."}}.
func errorText(o object) string {
	if inner, ok := o["error"].(object); ok {
		return cmp.Or(inner.text("message"), inner.text("msg"), inner.text("code"))
	}
	return o.text("error")
}
