package klingapi

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// maxNesting bounds the search through envelopes: new-api nests the official body
// once, and every further instance in a chain once more.
const maxNesting = 8

// node is an object of the reply that describes the task.
type node struct {
	object
	word     string // its status word
	generic  bool   // the word stands in "status" or "state", where gateways put the outcome of the request as well
	nameless bool   // nothing but a file, or a field for one, says that it is a record
	asked    bool   // its id is the one that was asked for
	nested   bool   // it stands in an envelope, so that its message is its own
	strength strength
}

// strength says how sure it is that a node is about the task, and not the request.
type strength int

const (
	faint  strength = iota // nothing but a word that says that something runs
	weak                   // an id, which errors repeat as well, or a file
	strong                 // a field that only tasks have
)

// status is the node's word as the table has it.
func (n node) status() Status { return ParseStatus(n.word) }

func (n node) runs() bool { return n.status() == Submitted || n.status() == Processing }

// wrappers are the fields in which envelopes put the record, or the list that it is in,
// with their rank.
var wrappers = ranked(
	"data", "task", "response", "resp", "result", "results", "output", "body", "json", "job", "record", "prediction", "generation", "video",
	"tasks", "jobs", "records", "list", "items", "rows", "generations", "detail", "info", "item", "content",
)

func isWrapper(key string) bool {
	_, is := wrappers[key]
	return is
}

// findNodes walks root, data, data.data and so on, outermost first.
func findNodes(document any, ref Ref) []node {
	nodes, _ := descend(document, ref, nil, false, maxNesting)
	return nodes
}

// descend adds the nodes in v to the outer ones, and reports whether there are any. page
// says that v is in a listing.
func descend(v any, ref Ref, nodes []node, page bool, depth int) ([]node, bool) {
	o, ok := pick(v, ref, len(nodes) == 0 && !page)
	if !ok || depth == 0 {
		return nodes, false
	}
	n, is := asNode(o, ref)
	if is = is && (n.strength > faint || depth < maxNesting || standsAlone(o)); is {
		n.nested = depth < maxNesting
		nodes = append(slices.DeleteFunc(slices.Clone(nodes), n.supersedes), n)
	}
	for _, inner := range wrapped(o, ref, is) {
		if more, found := descend(inner, ref, nodes, page || isPage(o), depth-1); found {
			return more, true
		}
	}
	return nodes, is
}

// supersedes reports whether an outer node was about the request, or a batch, since
// the task is found further in.
func (n node) supersedes(outer node) bool {
	return n.strength > faint && outer.strength == faint || n.asked && outer.strength == weak && !outer.asked
}

// wrapped lists what an object holds as an envelope. One that is not known as a record may
// hold one in a field of any name.
func wrapped(o object, ref Ref, known bool) []any {
	var inner []any
	if record, ok := embedded(o[ref.TaskID]).(object); ok { // records by their ids
		record = maps.Clone(record)
		record["task_id"] = cmp.Or(record.text("task_id"), ref.TaskID)
		inner = append(inner, record)
	}
	for _, key := range wrappersIn(o) {
		inner = append(inner, o[key])
	}
	if len(inner) > 0 || known {
		return inner
	}
	return oddlyWrapped(o, ref)
}

// wrappersIn lists the wrappers that an object has, in the order of wrappers. It asks for
// each field it has, since most objects have few.
func wrappersIn(o object) []string {
	var keys []string
	for key, v := range o {
		if v != nil && isWrapper(key) {
			keys = append(keys, key)
		}
	}
	if len(keys) > 1 {
		slices.SortFunc(keys, func(a, b string) int { return wrappers[a] - wrappers[b] })
	}
	return keys
}

// oddlyWrapped finds the record that was asked for in a field named after its type
// (Tencent), and what is in the only field (GraphQL: {"data":{"getTask":{...}}}).
func oddlyWrapped(o object, ref Ref) []any {
	fields := fieldsOf(o, func(key string, _ any) bool { return !noWrapper[key] })
	for _, key := range fields {
		if record, ok := o[key].(object); ok && !named(key).other && isRecord(record) && isAsked(record, ref) {
			return []any{record}
		}
	}
	if len(fields) == 1 && len(o) <= 2 { // with its twin in small letters
		return []any{o[fields[0]]}
	}
	return nil
}

// noWrapper are the fields that hold no answer, even where nothing else is there.
var noWrapper = set("error", "errors", "request", "input", "inputs", "params", "query", "message", "msg", "callback", "webhook")

// envelopes lists the objects around a record, outermost first, or all that there
// are where there is no record.
func envelopes(document any, ref Ref) []object {
	var around []object
	o, ok := pick(document, ref, true)
	for range maxNesting {
		if _, is := asNode(o, ref); !ok || is {
			return around
		}
		around = append(around, o)
		ok = false
		for _, inner := range wrapped(o, ref, false) {
			if o, ok = pick(inner, ref, true); ok {
				break
			}
		}
	}
	return around
}

// pageFields are fields of envelopes that page through tasks.
var pageFields = []string{"next", "next_cursor", "next_page", "cursor", "page", "page_num", "page_no", "page_size", "per_page", "limit", "offset"}

// isPage reports whether an envelope pages through tasks, whatever was asked for:
// then a lone record in it is no answer.
func isPage(o object) bool {
	for _, key := range []string{"pagination", "paging", "meta"} {
		if inner, ok := o[key].(object); ok && isPage(inner) {
			return true
		}
	}
	more, _ := o["has_more"].(bool)
	total := cmp.Or(o.text("total"), o.text("total_count"), o.text("count"))
	return more || total != "" && total != "1" && total != "0" || o.text("object") == "list" ||
		slices.ContainsFunc(pageFields, func(key string) bool { return o[key] != nil && o[key] != "" })
}

// pick returns an object as it is, and of a list of records the one that was asked
// for, or, where lone is set, the only one: relays answer with ids of their own.
func pick(v any, ref Ref, lone bool) (object, bool) {
	v = embedded(v)
	list, ok := v.([]any)
	if !ok {
		o, ok := v.(object)
		return o, ok
	}
	for _, item := range list {
		if o, ok := embedded(item).(object); ok && isAsked(o, ref) {
			return o, true
		}
	}
	if !lone || len(list) != 1 {
		return nil, false
	}
	return pick(list[0], ref, lone)
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
	inner, err := decode(text)
	if err != nil {
		return v
	}
	return inner.small()
}

// statusFields say how the task is; stateFields may as well say how the request went.
var (
	statusFields = []string{"task_status", "task_state", "job_status", "generation_status", "video_status"}
	stateFields  = []string{"status", "state"}
)

// wordIn returns the status word of the first of the fields that has one: a string,
// or {"state": ...}.
func wordIn(o object, fields []string) (word string, ok bool) {
	for _, field := range fields {
		switch v := o[field].(type) {
		case string:
			return v, true
		case object:
			if word := cmp.Or(v.text("state"), v.text("status"), v.text("name"), v.text("value"), v.text("code")); ParseStatus(word) != "" {
				return word, true
			}
		}
	}
	return "", false
}

// isRecord reports whether an object has a status word of its own.
func isRecord(o object) bool {
	_, status := wordIn(o, statusFields)
	_, state := wordIn(o, stateFields)
	return status || state
}

// taskFields are fields that only tasks have.
var taskFields = []string{
	"task_result", "result_url", "result_urls", "result_json", "fail_reason", "err_reason", "failure_reason", "fail_msg", "progress", "outputs", "works", "creations",
	"video_result", "image_result", "audio_result", "task_info", "final_unit_deduction", "external_task_id",
}

// asNode reports whether an object describes a task. A field "status" alone is not
// enough, because gateways put the outcome of the request there.
func asNode(o object, ref Ref) (node, bool) {
	if word, ok := wordIn(o, statusFields); ok {
		return node{object: o, word: word, asked: isAsked(o, ref), strength: strong}, true
	}
	word, ok := wordIn(o, stateFields)
	if !ok {
		return node{}, false
	}
	n := node{object: o, word: word, generic: true, asked: isAsked(o, ref)}
	switch {
	case slices.ContainsFunc(taskFields, func(field string) bool { _, ok := o[field]; return ok }):
		n.strength = strong
	case o.text("task_id") != "" || n.asked:
		n.strength = weak
	case hasFileField(o, ref) || n.status() == Succeeded && namesFile(o, ref): // beside a failure it is the request's
		n.strength, n.nameless = weak, true
	default:
		return n, n.runs()
	}
	return n, true
}

// hasFileField reports whether an object has a field for the URL of a result, which
// may be empty.
func hasFileField(o object, ref Ref) bool {
	for key := range o {
		if strings.Contains(key, "url") && named(key).kind != "" && isMadeBy(ref, named(key).kind) && !named(key).other {
			return true
		}
	}
	return false
}

// standsAlone reports whether an answer can be about a task, and not about the relay,
// although nothing but a word is in it: {"status":"running","version":"1"} is not.
func standsAlone(o object) bool {
	return o.firstText(slices.Concat(idFields, []string{"retry_after", "queue_position", "position", "eta"})...) != ""
}

// idFields name a record: by the provider's id, or by the caller's own.
var (
	idFields       = []string{"task_id", "id", "job_id", "generation_id", "prediction_id", "task_uuid", "request_id"}
	externalFields = []string{"external_task_id", "external_id"}
)

// idOf is the id of a record, "" where it has none.
func idOf(o object) string { return o.firstText("task_id", "id", "job_id", "task_uuid") }

// isAsked reports whether a record is the one that was asked for.
func isAsked(o object, ref Ref) bool {
	info, _ := o["task_info"].(object)
	bears := func(o object, fields []string) bool {
		return slices.ContainsFunc(fields, func(field string) bool { return o.text(field) == ref.TaskID })
	}
	return bears(o, idFields) || bears(o, externalFields) || bears(info, externalFields)
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
			beforeSmall := i > 0 && isCapital(rune(key[i-1])) && i+1 < len(key) && key[i+1] >= 'a' && key[i+1] <= 'z' && key[i+1:] != "s"
			if afterSmall || beforeSmall {
				b.WriteByte('_')
			}
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}
