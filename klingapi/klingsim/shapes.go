package klingsim

import (
	"encoding/json"
	"net/http"
	"strconv"
)

// phase is the state of a task.
type phase int

const (
	submitted phase = iota
	processing
	succeeded
	failed
	canceled
	weird  // a status that no client knows
	gaveUp // at the relay; the provider goes on
	phases
)

// reasons are the messages of failed tasks.
var reasons = []string{
	"Image pixel is invalid",
	"Failure to pass the risk control system",
	"The generation service is busy, please try again later",
}

// timeoutReason is what new-api says when it gives up.
const timeoutReason = "任务超时（1440分钟）"

// view is the content of an answer, in whatever form.
type view struct {
	phase            phase
	reason           string // of a failure; "" for none
	created, updated int64  // unix ms
	result           json.RawMessage
	files            []madeFile
	url              string // of the first file
}

// madeFile is an output, for forms other than the official one.
type madeFile struct {
	kind    string // image, video, audio
	id, url string
	seconds string // "" for images
}

// item is a JSON object whose fields vary.
type item = map[string]any

// envelope is the outer object of a reply, official or of new-api.
type envelope struct {
	Code      any     `json:"code,omitempty"`
	Message   *string `json:"message,omitempty"`
	RequestID string  `json:"request_id,omitempty"`
	Data      any     `json:"data,omitempty"`
	Extra     any     `json:"relay_note,omitempty"`
}

// official is the record of Kling itself.
type official struct {
	TaskID    any             `json:"task_id"`
	Status    string          `json:"task_status"`
	StatusMsg string          `json:"task_status_msg"`
	TaskInfo  item            `json:"task_info,omitempty"`
	Result    json.RawMessage `json:"task_result,omitempty"`
	Units     any             `json:"final_unit_deduction,omitempty"`
	Error     item            `json:"error,omitempty"`
	CreatedAt any             `json:"created_at"`
	UpdatedAt any             `json:"updated_at"`
	Extra     any             `json:"relay_note,omitempty"`
}

// flatRecord is the record of relays that send only one URL.
type flatRecord struct {
	Error    item   `json:"error"`
	Format   string `json:"format"`
	Metadata any    `json:"metadata"`
	Status   string `json:"status"`
	TaskID   any    `json:"task_id"`
	URL      string `json:"url"`
	Extra    any    `json:"relay_note,omitempty"`
}

// The words for the phases. Flat relays have several; a task always uses the same.
var (
	officialWords = [phases]string{"submitted", "processing", "succeed", "failed", "canceled", "reviewing", "timeout"}
	flatWords     = [phases][]string{
		{"queued", "pending", "submitted"}, {"processing", "running", "in_progress"},
		{"succeeded", "success", "completed"}, {"failed", "failure", "error"}, {"cancelled", "canceled"}, {"reviewing"}, {"timeout"},
	}
)

// record returns the answer with the view, in the form that the words choose.
func (q *query) record(v *view) reply {
	switch q.words[groupForm] {
	case "newapi", "newapiold", "disagree":
		return q.newAPIReply(q.newAPIBody(v, q.storedBody(v)))
	case "newapi2":
		return q.newAPIReply(q.newAPIBody(v, q.newAPIBody(v, q.storedBody(v))))
	case "flat":
		return jsonReply(http.StatusOK, q.envelope("success", "", q.flatBody(v)))
	case "flatlist":
		return jsonReply(http.StatusOK, q.flatListBody(v))
	case "":
	default:
		return jsonReply(http.StatusOK, forms[q.words[groupForm]](q, v))
	}
	if q.newAPI() { // the words imply it
		return q.newAPIReply(q.newAPIBody(v, q.storedBody(v)))
	}
	body := q.officialBody(v)
	body.RequestID = q.requestID()
	return jsonReply(http.StatusOK, body)
}

// envelope wraps a record, with the details that the words choose.
func (q *query) envelope(ok any, message string, record any) envelope {
	if q.words[groupData] == "arraydata" && !q.newAPI() {
		record = []any{record}
	}
	if q.words[groupData] == "stringdata" && !q.newAPI() {
		record = string(jsonReply(0, record).body)
	}
	e := envelope{Code: ok, Message: &message, Data: record, Extra: q.extra()}
	if q.words[groupCode] == "nocode" {
		e.Code, e.Message = nil, nil
	}
	return e
}

func (q *query) officialBody(v *view) envelope {
	inner := *v
	if q.words[groupForm] == "disagree" && v.phase > processing || q.newAPI() && v.phase == gaveUp {
		inner = view{phase: processing, created: v.created, updated: v.updated}
	}
	r := official{
		TaskID:    q.taskID(),
		Status:    q.gaveUpWord(inner.phase, officialWords[inner.phase]),
		TaskInfo:  q.taskInfo(),
		Result:    q.resultOf(&inner),
		CreatedAt: q.time(inner.created),
		UpdatedAt: q.time(inner.updated),
		Extra:     q.extra(),
	}
	if q.newAPI() {
		r.TaskID = q.jobID()
	}
	if inner.phase == failed {
		r.StatusMsg = inner.reason
	} else if inner.reason != "" {
		r.Error = item{"code": "generation_failed", "message": inner.reason}
	}
	if inner.phase == succeeded {
		if q.words[groupSpelling] == "succeeded" {
			r.Status = "succeeded"
		}
		if q.kind.units != "" {
			r.Units = q.decimal(q.kind.units)
		}
	}
	var ok any = 0
	if q.words[groupCode] == "stringcode" {
		ok = "0"
	}
	return q.envelope(ok, "SUCCEED", r)
}

func (q *query) flatBody(v *view) flatRecord {
	words := flatWords[v.phase]
	r := flatRecord{
		Format: "mp4",
		Status: q.gaveUpWord(v.phase, words[q.taskChance("spelling")%uint64(len(words))]),
		TaskID: q.taskID(),
		URL:    v.url,
		Extra:  q.extra(),
	}
	if v.reason != "" {
		r.Error = item{"code": 500, "message": v.reason}
	}
	return r
}

func (q *query) flatListBody(v *view) any {
	words := [phases]string{"queued", "in_progress", "completed", "failed", "cancelled", "reviewing", "timeout"}
	body := item{"id": q.taskID(), "status": q.gaveUpWord(v.phase, words[v.phase]), "data": nil, "error": nil}
	if v.url != "" {
		body["data"] = []item{{"url": v.url}}
	}
	if v.reason != "" {
		body["error"] = v.reason
	}
	if extra := q.extra(); extra != nil {
		body["relay_note"] = extra
	}
	return body
}

// resultOf returns the task_result. Without outputs it is missing, null or empty.
func (q *query) resultOf(v *view) json.RawMessage {
	switch {
	case v.result != nil:
		return v.result
	case v.phase == failed:
		return json.RawMessage(`{}`)
	case v.phase == submitted:
		return nil
	case q.taskChance("null")%2 == 0:
		return json.RawMessage(`null`)
	}
	return json.RawMessage(`{}`)
}

func (q *query) taskInfo() item {
	info := item{}
	if q.seen.external != "" {
		info["external_task_id"] = q.seen.external
	}
	if q.kind.parent {
		info["parent_video"] = item{
			"id":       strconv.FormatUint(numericID(q.taskChance("parent")), 10),
			"url":      q.fileURL("parent.mp4", q.seen.first),
			"duration": q.decimal(videoSeconds),
		}
	}
	return info
}

// taskID is the id in an answer: the relay's own, also when the query named the external id.
func (q *query) taskID() any {
	if q.words[groupID] == "numericid" {
		return numericID(q.taskChance("number"))
	}
	return q.seen.id
}

// time returns a time given in unix ms as the words choose.
func (q *query) time(ms int64) any {
	if q.words[groupTimes] == "seconds" {
		ms /= 1000
	}
	if q.words[groupTypes] == "swapped" {
		return strconv.FormatInt(ms, 10)
	}
	return ms
}

// decimal returns a number that Kling sends as a string.
func (q *query) decimal(s string) any {
	if q.words[groupTypes] == "swapped" {
		return json.Number(s)
	}
	return s
}

func (q *query) extra() any {
	if q.words[groupFields] == "" {
		return nil
	}
	return item{"channel": 7, "tags": []string{"a", "b"}, "price": 0.1}
}
