package klingsim

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// newAPI is the record of new-api, which contains the official body.
type newAPI struct {
	*newAPIRow
	TaskID     any    `json:"task_id"`
	Status     string `json:"status"`
	FailReason string `json:"fail_reason"`
	ResultURL  string `json:"result_url,omitempty"`
	SubmitTime int64  `json:"submit_time"` // unix seconds
	StartTime  int64  `json:"start_time"`
	FinishTime int64  `json:"finish_time"`
	Progress   string `json:"progress"`
	Data       any    `json:"data"`
	Extra      any    `json:"relay_note,omitempty"`
}

// newAPIRow has the columns of new-api's own table that it shows as well. The numeric id beside task_id is a trap for
// clients: it names nothing that they can ask for.
type newAPIRow struct {
	ID         uint64 `json:"id"`
	CreatedAt  int64  `json:"created_at"` // unix seconds
	Platform   string `json:"platform"`
	UserID     int    `json:"user_id"`
	Quota      int    `json:"quota"`
	Action     string `json:"action"`
	Properties item   `json:"properties"`
}

var (
	newAPIWords = [phases]string{"SUBMITTED", "IN_PROGRESS", "SUCCESS", "FAILURE", "CANCELED", "UNKNOWN", "FAILURE"}
	progress    = [phases]string{"10%", "50%", "100%", "100%", "100%", "50%", "100%"}
)

// newAPI reports whether the answer has a form of new-api.
func (q *query) newAPI() bool { return q.words.newAPI() }

// newAPI reports whether words choose or imply a form of new-api.
func (b behaviour) newAPI() bool {
	return strings.HasPrefix(b[groupForm], "newapi") || b[groupForm] == "disagree" || b[groupOutcome] == "relaytimeout" ||
		strings.HasPrefix(b[groupLink], "placeholder")
}

// newAPIReply puts the request id into a header: new-api has no field for it.
func (q *query) newAPIReply(body envelope) reply {
	return jsonReply(http.StatusOK, body).with("X-Oneapi-Request-Id", q.requestID())
}

// storedBody is the official body as new-api has stored it. A whole new-api stores the id of its own request to Kling, too:
// its operator does not know that one.
func (q *query) storedBody(v *view) envelope {
	body := q.officialBody(v)
	if q.relay.config.Dialect == NewAPI {
		body.RequestID = opaqueID(q.taskChance("stored request"))
	}
	return body
}

func (q *query) newAPIBody(v *view, inner any) envelope {
	r := newAPI{
		TaskID:     q.taskID(),
		Status:     newAPIWords[v.phase],
		FailReason: v.reason,
		ResultURL:  v.url,
		SubmitTime: v.created / 1000,
		Progress:   progress[v.phase],
		Data:       inner,
		Extra:      q.extra(),
	}
	if v.phase >= processing {
		r.StartTime = (v.created + v.updated) / 2000
	}
	if v.reason != "" {
		r.ResultURL = v.reason // as new-api does
	}
	if link := q.placeholder(v); link != "" {
		r.ResultURL = link
	}
	if v.phase > processing && v.phase != weird {
		r.FinishTime = v.updated / 1000
	}
	if q.words[groupForm] == "newapiold" && v.url != "" {
		r.FailReason, r.ResultURL = v.url, ""
	}
	if q.relay.config.Dialect == NewAPI {
		q.addRow(&r, v)
	}
	return q.envelope("success", "", r)
}

// addRow adds what a whole new-api shows besides. Until it has asked Kling for the first time, its record is the one of
// the creation.
func (q *query) addRow(r *newAPI, v *view) {
	action := "textGenerate"
	if q.kind.action2 == "image2video" {
		action = "generate"
	}
	r.newAPIRow = &newAPIRow{
		ID: 1 + q.taskChance("row")%1_000_000, CreatedAt: v.created / 1000, Platform: "50", UserID: 1, Quota: 5000, Action: action,
		Properties: item{"input": "", "origin_model_name": "kling-v1"},
	}
	if v.phase == submitted {
		r.Status, r.Progress = "NOT_START", "0%"
	}
}

// newAPICreated answers a POST at new-api as OpenAI's video API does: the task_id in it is the one to ask for.
func newAPICreated(q *query, v *view) reply {
	return jsonReply(http.StatusOK, item{
		"id": q.taskID(), "task_id": q.taskID(), "object": "video", "model": "kling-v1", "status": "queued", "progress": 0, "created_at": v.created / 1000,
	})
}

// newAPIID is an id of new-api's own. It begins with "task_", which is no word of the vocabulary.
func newAPIID(h uint64) string {
	digits := strconv.FormatUint(mix(h), 16) + strconv.FormatUint(mix(h+1), 16) + strings.Repeat("0", 32)
	return "task_" + digits[:32]
}

// klingsOwn reports whether an id looks like one of Kling, which new-api does not show to anybody.
func klingsOwn(id string) bool {
	const digits = 18
	return len(id) >= digits && strings.Trim(id, "0123456789") == ""
}

// jobID returns the id that the provider behind new-api gave the task.
func (q *query) jobID() string { return strconv.FormatUint(numericID(q.taskChance("job")), 10) }

// Where new-api serves a file to its key: contentPath, the id of the task, contentSuffix.
const (
	contentPath   = "/v1/videos/"
	contentSuffix = "/content"
)

// newAPIAddress is what new-api calls itself until somebody sets its address: its links lead nowhere for other machines.
const newAPIAddress = "http://localhost:3000"

// placeholder returns new-api's own link to the file of a task that has succeeded, where the words ask for it: its relay
// serves it to its key.
func (q *query) placeholder(v *view) string {
	if v.phase != succeeded || !strings.HasPrefix(q.words[groupLink], "placeholder") {
		return ""
	}
	address := q.ownURL()
	if q.relay.config.Dialect == NewAPI {
		address = newAPIAddress
	}
	return address + contentPath + url.PathEscape(q.seen.id) + contentSuffix
}

// serveContent serves new-api's own link to a file, to those who have the key.
func (r *Relay) serveContent(w http.ResponseWriter, req *http.Request) {
	if code := r.refusal(req.Header.Get("Authorization"), target{}); code != 0 {
		status := http.StatusUnauthorized
		if r.config.Dialect == NewAPI && code == codeAuthInvalid {
			status = http.StatusForbidden
		}
		jsonReply(status, item{"error": item{"message": "Invalid token", "type": "new_api_error", "code": ""}}).write(w)
		return
	}
	r.serveFile(w, req, "output.mp4")
}

// newAPIPage is what new-api answers to everybody for a path that it does not route: its front end, with 200, and under
// /v1 an error.
func newAPIPage(_ *Relay, path string) reply {
	if path == "/v1" || strings.HasPrefix(path, "/v1/") {
		return invalidURL(path)
	}
	return frontEndPage
}

func invalidURL(path string) reply {
	message := "Invalid URL (GET " + path + ")"
	return jsonReply(http.StatusNotFound, item{"error": item{"message": message, "type": "invalid_request_error", "param": "", "code": ""}})
}

// newAPIRefusal is an error of new-api itself.
func newAPIRefusal(q *query, code int) reply {
	e := errorByCode(code)
	if e.status == http.StatusUnauthorized {
		return q.gatewayReply(e.status, "", "Invalid token")
	}
	return q.gatewayReply(e.status, "", e.message)
}
