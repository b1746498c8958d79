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
	weak bool   // the word may be the outcome of the request, which gateways put into "status" as well
}

// status is the node's word as the table has it.
func (n node) status() Status { return ParseStatus(n.word) }

// wrappers are the fields in which envelopes put the record.
var wrappers = []string{"data", "task"}

// findNodes walks root, data, data.data and so on, outermost first.
func findNodes(v any, ref Ref) []node {
	var nodes []node
	for range maxNesting {
		o, ok := embedded(v).(object)
		if !ok {
			if o, ok = findInList(embedded(v), ref, nodes); !ok {
				return nodes
			}
		}
		if n, ok := asNode(o, ref); ok {
			nodes = append(nodes, n)
		}
		if v = wrapped(o); isListing(o, v) {
			return nodes
		}
	}
	return nodes
}

// wrapped is what an envelope holds; nil where it is none.
func wrapped(o object) any {
	for _, key := range wrappers {
		if inner := o[key]; inner != nil {
			return inner
		}
	}
	return nil
}

// isListing reports whether an envelope pages through tasks, whatever was asked for:
// then a lone record in it is no answer.
func isListing(o object, inner any) bool {
	if _, list := embedded(inner).([]any); !list {
		return false
	}
	more, _ := o["has_more"].(bool)
	total := cmp.Or(o.text("total"), o.text("total_count"))
	return more || o.text("next_cursor") != "" || total != "" && total != "1" && total != "0"
}

// embedded decodes a value that is JSON in a string.
func embedded(v any) any {
	text, ok := v.(string)
	if !ok {
		return v
	}
	text = strings.TrimSpace(text)
	if !strings.HasPrefix(text, "{") && !strings.HasPrefix(text, "[") {
		return v
	}
	inner, _, err := parse([]byte(text))
	if err != nil {
		return v
	}
	return inner
}

// statusFields say how the task is; stateFields may as well say how the request went.
var (
	statusFields = []string{"task_status", "task_state"}
	stateFields  = []string{"status", "state"}
)

// taskFields are fields that only tasks have.
var taskFields = []string{
	"task_result", "result_url", "result_urls", "result_json", "fail_reason", "err_reason", "failure_reason", "fail_msg", "progress", "outputs", "works",
	"video_result", "image_result", "audio_result", "task_info", "final_unit_deduction", "external_task_id",
}

// asNode reports whether an object describes a task. A field "status" alone is not
// enough, because gateways put the outcome of the request there: it takes a field
// that only tasks have. An id, which errors repeat as well, or a file makes a weak
// node.
func asNode(o object, ref Ref) (node, bool) {
	for _, key := range statusFields {
		if word, ok := o[key].(string); ok {
			return node{object: o, word: word}, true
		}
	}
	for _, key := range stateFields {
		word, ok := o[key].(string)
		if !ok {
			continue
		}
		if slices.ContainsFunc(taskFields, func(field string) bool { _, ok := o[field]; return ok }) {
			return node{object: o, word: word}, true
		}
		if o.text("task_id") != "" || isAsked(o, ref) || len(findFiles(o, ref)) > 0 {
			return node{object: o, word: word, weak: true}, true
		}
	}
	return node{}, false
}

// idOf is the id of a record, "" where it has none.
func idOf(o object) string { return cmp.Or(o.text("task_id"), o.text("id")) }

// isAsked reports whether a record is the one that was asked for, by the provider's
// id or by the caller's own.
func isAsked(o object, ref Ref) bool {
	info, _ := o["task_info"].(object)
	for _, id := range []string{o.text("task_id"), o.text("id"), o.text("external_task_id"), o.text("external_id"), info.text("external_task_id")} {
		if id == ref.TaskID {
			return true
		}
	}
	return false
}

// findInList finds the task in a list of records: the one that was asked for, or the
// only one. Relays answer with ids of their own, so another id speaks against the
// only one just where it says that it is another task.
func findInList(v any, ref Ref, outer []node) (object, bool) {
	list, ok := v.([]any)
	if !ok {
		return nil, false
	}
	var records []object
	for _, item := range list {
		o, ok := embedded(item).(object)
		if !ok {
			continue
		}
		if isAsked(o, ref) {
			return o, true
		}
		if _, ok := asNode(o, ref); ok {
			records = append(records, o)
		}
	}
	if len(records) != 1 || len(list) != 1 || len(outer) > 0 {
		return nil, false
	}
	return records[0], true
}

// snakeCase returns a tree whose keys are written like task_id where the relay wrote
// taskId. A tree without capitals is returned as it is.
func snakeCase(v any) any {
	switch v := v.(type) {
	case object:
		for key, value := range v {
			v[key] = snakeCase(value)
		}
		for _, key := range capitalKeys(v) {
			if name := snake(key); v[name] == nil {
				v[name] = v[key]
			}
		}
		return v
	case []any:
		for i, value := range v {
			v[i] = snakeCase(value)
		}
	}
	return v
}

// capitalKeys lists the keys with capitals, sorted.
func capitalKeys(o object) []string {
	var keys []string
	for key := range o {
		if strings.ContainsFunc(key, isCapital) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

func isCapital(r rune) bool { return r >= 'A' && r <= 'Z' }

// snake writes resultUrls, ResultURLs or RESULT_URLS as result_urls.
func snake(key string) string {
	var b strings.Builder
	for i, r := range key {
		if isCapital(r) {
			afterSmall := i > 0 && key[i-1] >= 'a' && key[i-1] <= 'z'
			beforeSmall := i > 0 && i+1 < len(key) && key[i+1] >= 'a' && key[i+1] <= 'z' && isCapital(rune(key[i-1]))
			if afterSmall || beforeSmall {
				b.WriteByte('_')
			}
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}
