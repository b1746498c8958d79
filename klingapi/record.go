package klingapi

import (
	"cmp"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// evidence is what must be known of an answer to judge the nodes in it.
type evidence struct {
	good   bool     // neither HTTP status nor code reports an error
	odd    bool     // the HTTP status is good, and the code means nothing to us
	around []object // the envelopes, outermost first
	relay  string   // the host that was asked
}

// findRecord makes one Record of the nodes that describe the task.
func findRecord(document any, ref Ref, a evidence) (Record, bool) {
	nodes := findNodes(document, ref)
	if len(nodes) == 0 {
		return Record{}, false
	}
	verdict := decide(nodes)
	if !a.good && !a.odd {
		// of a weak node only a file is certain, since errors repeat ids, too
		doubtful := func(n node) bool {
			return n.strength < strong && (n.status() != Succeeded || len(findFiles(n.object, ref)) == 0)
		}
		if doubtful(verdict) {
			return Record{}, false
		}
		nodes = slices.DeleteFunc(nodes, doubtful)
	}
	record := describe(nodes)
	record.Word, record.Status = strings.Clone(line(verdict.word)), verdict.status() // whoever keeps the word does not keep the whole answer
	switch record.Status {
	case Failed:
		record.fail(nodes, verdict, a)
	case Stopped:
		record.Message, record.ByRelay = reason(nodes, a.around), true
	case Succeeded:
		record.succeed(nodes, verdict, ref, a)
	}
	return record, true
}

// describe reads what the nodes say of the task besides its state.
func describe(nodes []node) Record {
	var record Record
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
	return record
}

// decide picks the node whose word counts: the outermost strong one with a known
// word, since new-api may give up (FAILURE) while the inner body still says
// processing. Of words that may be about the request, one that says that the task
// runs is safe.
func decide(nodes []node) node {
	for _, counts := range []func(node) bool{
		func(n node) bool { return n.strength == strong && n.status() != "" || n.strength == weak && n.runs() },
		node.runs,
		func(n node) bool { return n.strength == strong }, // an unknown word counts as running
		func(n node) bool { return n.status() != "" },
	} {
		if i := slices.IndexFunc(nodes, counts); i >= 0 {
			return nodes[i]
		}
	}
	return nodes[0]
}

// fail judges a failure word. A failure of the relay's own stands around a record
// that has not failed.
func (r *Record) fail(nodes []node, verdict node, a evidence) {
	r.Status, r.Message = Failed, reason(nodes, a.around)
	r.ByRelay = slices.ContainsFunc(nodes, node.runs)
	r.Unsure = isUnsure(nodes, verdict, a)
}

// isUnsure reports whether a failure may be one of the request: the answer reports an
// error as well, the word is "error", or another word contradicts a weak one.
func isUnsure(nodes []node, verdict node, a evidence) bool {
	if verdict.generic && strings.EqualFold(strings.TrimSpace(verdict.word), "error") {
		return true
	}
	if verdict.strength == strong {
		return !a.good && !explainsItself(nodes)
	}
	return !a.good || verdict.nameless || hasPassingError(verdict) || slices.ContainsFunc(nodes, func(n node) bool { return n.status() != verdict.status() })
}

// succeed judges a success word: with files it is one, whatever else is said;
// without, an error beside it is the truth, and where nothing but a word is there
// that may be about the request, it is none.
func (r *Record) succeed(nodes []node, verdict node, ref Ref, a evidence) {
	files := chooseFiles(nodes, ref, a)
	r.Outputs, r.Incomplete, r.TooLarge = files.outputs, files.incomplete, files.tooLarge
	failedInside := slices.ContainsFunc(nodes, func(n node) bool { return n.status() == Failed })
	switch {
	case len(r.Outputs) > 0 || r.TooLarge > 0:
		r.Message = contradiction(nodes, a.around)
	case failedInside || contradiction(nodes, a.around) != "":
		r.fail(nodes, verdict, a)
		r.Message = cmp.Or(contradiction(nodes, a.around), r.Message)
		r.ByRelay, r.Unsure = false, r.Unsure || contradiction(nodes, nil) == "" || slices.ContainsFunc(nodes, hasPassingError)
	default:
		r.succeedWithoutFile(nodes, verdict, a)
	}
}

// succeedWithoutFile accepts a result that is no file. Without one, a success that
// comes with an error of the answer is none, and a word that may be about the request
// decides nothing.
func (r *Record) succeedWithoutFile(nodes []node, verdict node, a evidence) {
	if !r.Incomplete {
		r.Result = resultWithoutFiles(nodes)
	}
	if r.Result != nil {
		return
	}
	r.Message = remark(nodes, a.around)
	switch {
	case !a.good:
		r.Status = ""
	case verdict.strength < strong, verdict.generic && isUnderWay(nodes):
		r.Status, r.Bare = "", true
	}
}

// isUnderWay reports whether a node says that the task is partly done.
func isUnderWay(nodes []node) bool {
	return slices.ContainsFunc(nodes, func(n node) bool {
		text, percent := strings.CutSuffix(n.text("progress"), "%")
		done, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
		return err == nil && done < 100 && (percent || done != 0 && done != 1) // 0 may never have been set, 1 may be all
	})
}

// resultWithoutFiles is the result of a task that makes no file: an element, a
// voice, recognised subjects. nil where there is none.
func resultWithoutFiles(nodes []node) json.RawMessage {
	for _, n := range nodes {
		for _, key := range []string{"task_result", "result", "output", "outputs", "result_json"} {
			v := embedded(n.object[key])
			if _, text := v.(string); text && n.strength < strong || !saysSomething(v) {
				continue
			}
			if result, err := encode(v); err == nil && len(result) <= MaxInline {
				return result
			}
		}
	}
	return nil
}

// sayNothing are fields that a result may have beside what it is.
var sayNothing = set("url", "status", "state", "type", "code", "msg", "message", "success", "progress", "task_id", "id", "request_id", "index", "created_at", "updated_at",
	"create_time", "update_time", "cost", "credits", "usage", "duration", "width", "height", "size", "format", "seed", "model", "prompt", "video_id", "image_id", "audio_id", "file_id")

// saysSomething reports whether a result holds a value that is neither a remark nor
// a link: a cover alone is no result.
func saysSomething(v any) bool {
	switch v := v.(type) {
	case object:
		for key, value := range v {
			if inner, ok := value.(object); ok && isRecord(inner) {
				continue // a node of its own
			}
			if !sayNothing[key] && saysSomething(value) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(v, saysSomething)
	case string:
		return !isPhrase(v) && ParseStatus(v) == "" && !isLink(v)
	case json.Number:
		return true
	}
	return false
}
