package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/operate"
	"github.com/klingwatch/klingwatch/webhook"
)

// Task is a task as the API shows it: the columns of klingwatch.tasks.
type Task struct {
	ID                int64      `json:"id" doc:"Our id."`
	Relay             string     `json:"relay" doc:"Where it is asked about."`
	App               string     `json:"app" doc:"Whose it is; empty: from before there were apps."`
	TaskID            string     `json:"task_id" doc:"The provider's id."`
	Action            string     `json:"action" doc:"First part of the query path, like videos."`
	Action2           string     `json:"action2" doc:"Second part of the query path, like text2video."`
	ExternalID        *string    `json:"external_id" doc:"The caller's own reference."`
	CallbackURL       *string    `json:"callback_url" doc:"Gets the terminal event."`
	CallbackEvents    []string   `json:"callback_events" nullable:"false" doc:"What callback_url gets beside the terminal event."`
	Archive           *bool      `json:"archive" doc:"Whether its files are kept; null: as its relay says, or the deployment."`
	Metadata          Object     `json:"metadata" doc:"The caller's."`
	Status            string     `json:"status" enum:"pending,submitted,processing,succeeded,failed,expired,not_found,canceled" doc:"The last five end a task. Only the provider's word makes it succeeded or failed."`
	UpstreamStatus    *string    `json:"upstream_status" doc:"The provider's word, as received."`
	StatusMessage     string     `json:"status_message" doc:"Why it ended so."`
	EndedBy           *string    `json:"ended_by" doc:"Who ended it: provider, relay, klingwatch or person; null while it is open."`
	ErrorCode         *string    `json:"error_code" doc:"The relay's code of a failure."`
	RequestID         *string    `json:"request_id" doc:"The relay's id of the last answer, for its support."`
	UnitDeduction     *Number    `json:"unit_deduction" doc:"Units charged by the provider; null where it told none."`
	Polls             int        `json:"polls" doc:"Questions to the relay, as of the last write."`
	LastError         *string    `json:"last_error" doc:"What went wrong with the last question; null when it was answered."`
	LastPolledAt      *time.Time `json:"last_polled_at" doc:"As of the last write."`
	NextPollAt        *time.Time `json:"next_poll_at" doc:"null: none is planned, or only its process knows."`
	CreatedAt         time.Time  `json:"created_at" doc:"When it was tracked."`
	SubmittedAt       *time.Time `json:"submitted_at" doc:"When it was first seen waiting at the provider."`
	ProcessingAt      *time.Time `json:"processing_at" doc:"When it was first seen being worked on."`
	UpstreamCreatedAt *time.Time `json:"upstream_created_at" doc:"The provider's."`
	UpstreamUpdatedAt *time.Time `json:"upstream_updated_at" doc:"The provider's."`
	DeadlineAt        *time.Time `json:"deadline_at" doc:"When it becomes expired, unless it has ended; null until the first write."`
	FinishedAt        *time.Time `json:"finished_at" doc:"When it ended; null while it is open."`
	Result            *Any       `json:"result,omitempty" doc:"The relay's last answer as received; not in lists."`
	Outputs           *[]Output  `json:"outputs,omitempty" doc:"The files of a task that succeeded; in lists with expand=outputs."`
	Events            *[]Event   `json:"events,omitempty" doc:"With expand=events."`
}

// taskOf shows a row.
func taskOf(t db.Task) Task {
	task := Task{
		ID: t.ID, Relay: t.Relay, App: t.App, TaskID: t.TaskID, Action: t.Action, Action2: t.Action2, ExternalID: t.ExternalID, CallbackURL: t.CallbackURL,
		CallbackEvents: t.CallbackEvents, Archive: t.Archive,
		Metadata: Object(t.Metadata), Status: t.Status, UpstreamStatus: t.UpstreamStatus, StatusMessage: t.StatusMessage, EndedBy: t.EndedBy,
		ErrorCode: t.ErrorCode, RequestID: t.RequestID, Polls: t.Polls, LastError: t.LastError, LastPolledAt: t.LastPolledAt, NextPollAt: t.NextPollAt,
		CreatedAt: t.CreatedAt, SubmittedAt: t.SubmittedAt, ProcessingAt: t.ProcessingAt, UpstreamCreatedAt: t.UpstreamCreatedAt,
		UpstreamUpdatedAt: t.UpstreamUpdatedAt, UnitDeduction: (*Number)(t.UnitDeduction), DeadlineAt: t.DeadlineAt, FinishedAt: t.FinishedAt,
	}
	if t.Result != nil {
		result := Any(t.Result)
		task.Result = &result
	}
	return task
}

// listedTask shows a row without the relay's answer, which may be long.
func listedTask(t db.Task) Task {
	t.Result = nil
	return taskOf(t)
}

// Output is a file of a task that succeeded.
type Output struct {
	Kind            string     `json:"kind" enum:"image,video,audio" doc:"What it is."`
	Position        int        `json:"position" doc:"From 0, among those of its kind."`
	URL             string     `json:"url" doc:"Where the provider keeps it."`
	UpstreamID      *string    `json:"upstream_id" doc:"The provider's id."`
	DurationSeconds *Number    `json:"duration_seconds" doc:"Of videos and audio, where the provider told it."`
	WatermarkURL    *string    `json:"watermark_url" doc:"The same with a watermark."`
	ExpiresAt       *time.Time `json:"expires_at" doc:"Until when the URL works."`
	NeedsKey        bool       `json:"needs_key" doc:"The URL wants the relay's key."`
	ArchiveState    *string    `json:"archive_state" doc:"Whether klingwatch keeps the file: pending, it is to be fetched; stored, it is safe; lost, it could not be had in time; skipped, it is larger than what is kept; null, it was not asked for."`
	ArchiveError    *string    `json:"archive_error" doc:"Why the last try failed, or the file is lost or skipped."`
	ArchivedAt      *time.Time `json:"archived_at" doc:"When the file was stored; null unless it is, as the following."`
	ContentURL      *string    `json:"content_url" doc:"Where klingwatch serves the file; a path where KLINGWATCH_PUBLIC_URL is not set."`
	ThumbnailURL    *string    `json:"thumbnail_url" doc:"Where klingwatch serves a small picture of the file; null where there is none."`
	Bytes           *int64     `json:"bytes" doc:"Its size."`
	SHA256          *string    `json:"sha256" doc:"In hexadecimal digits."`
	ContentType     *string    `json:"content_type" doc:"By its content."`
	Width           *int       `json:"width" doc:"In pixels; null where unknown, and of audio."`
	Height          *int       `json:"height" doc:"In pixels; null where unknown, and of audio."`
}

// outputOf shows a row.
func (a *API) outputOf(o db.Output) Output {
	shown := Output{
		Kind: o.Kind, Position: o.Position, URL: o.URL, UpstreamID: o.UpstreamID, DurationSeconds: (*Number)(o.DurationSeconds),
		WatermarkURL: o.WatermarkURL, ExpiresAt: o.ExpiresAt, NeedsKey: o.NeedsKey,
		ArchiveState: o.ArchiveState, ArchiveError: o.ArchiveError, ArchivedAt: o.ArchivedAt, Bytes: o.Bytes, SHA256: o.SHA256,
		ContentType: o.ContentType, Width: o.Width, Height: o.Height,
	}
	if o.ArchiveKey != nil {
		shown.ContentURL = new(a.PublicURL + webhook.ContentPath(o.Task, o.Kind, o.Position))
	}
	if o.ThumbnailKey != nil {
		shown.ThumbnailURL = new(a.PublicURL + webhook.ThumbnailPath(o.Task, o.Kind, o.Position))
	}
	return shown
}

// etagOf tells states of a task apart.
func etagOf(t Task) string {
	text, _ := json.Marshal(t) // our own type: it cannot fail
	sum := sha256.Sum256(text)
	return `"` + hex.EncodeToString(sum[:16]) + `"`
}

// NewTask is a task about to be tracked.
type NewTask struct {
	TaskID         string     `json:"task_id" minLength:"1" maxLength:"255" pattern:"^[^\\s]+$" doc:"The provider's id." example:"CjMT7WdSwWcAAAAAALvB3g"`
	Action         string     `json:"action" minLength:"1" maxLength:"64" doc:"First part of the query path." example:"videos"`
	Action2        string     `json:"action2" minLength:"1" maxLength:"128" doc:"Second part of the query path, as at creation." example:"text2video"`
	Relay          string     `json:"relay,omitempty" maxLength:"64" doc:"Where it was created; left out: default."`
	App            string     `json:"app,omitempty" maxLength:"63" doc:"Whose it is; left out: the app of the key, or klingwatch's own role."`
	ExternalID     *string    `json:"external_id,omitempty" minLength:"1" maxLength:"255" doc:"The caller's own reference."`
	CallbackURL    *string    `json:"callback_url,omitempty" maxLength:"2048" doc:"Gets the terminal event: an absolute http or https URL."`
	CallbackEvents []string   `json:"callback_events,omitempty" nullable:"false" enum:"task.submitted,task.processing,task.archived,task.archive_failed" maxItems:"4" doc:"What callback_url gets beside the terminal event."`
	Archive        *bool      `json:"archive,omitempty" doc:"Whether its files are kept; left out: as its relay says, or the deployment."`
	Metadata       Object     `json:"metadata,omitempty" doc:"Anything of the caller's, at most 16 kB."`
	DeadlineAt     *time.Time `json:"deadline_at,omitempty" doc:"When it becomes expired; left out: after the deployment's KLINGWATCH_TASK_DEADLINE."`
}

// maxNewTasks bounds how many tasks one request tracks.
const maxNewTasks = 1000

// NewTasks is one task, or a list of them.
type NewTasks struct {
	list []NewTask
	many bool
}

// at is the place of a task in the body.
func (n *NewTasks) at(i int) string {
	if !n.many {
		return "body"
	}
	return fmt.Sprintf("body[%d]", i)
}

// located tells which task of the body an error is about, and which field.
func (n *NewTasks) located(err error) error {
	refused, ok := errors.AsType[*operate.Error](err)
	switch {
	case ok && refused.Code == operate.Differs:
		return problem(differs, "").at(n.at(refused.Place), "is tracked already, with another external_id, callback_url, callback_events, archive or metadata, or by another app")
	case ok && refused.Field != "":
		return problem(invalid, "").at(n.at(refused.Place)+"."+refused.Field, refused.Rule)
	}
	return err
}

// read reads either form. What has another form is for checkTasks to tell.
func (n *NewTasks) read(text []byte) {
	if n.many = startsList(text); n.many {
		_ = json.Unmarshal(text, &n.list)
		return
	}
	n.list = make([]NewTask, 1)
	_ = json.Unmarshal(text, &n.list[0])
}

func startsList(text []byte) bool { return bytes.HasPrefix(bytes.TrimSpace(text), []byte("[")) }

// newTasksForms are the schemas of either form.
func newTasksForms(r huma.Registry) (one, list *huma.Schema) {
	one = r.Schema(reflect.TypeFor[NewTask](), true, "NewTask")
	list = &huma.Schema{Type: huma.TypeArray, Items: one, MinItems: new(1), MaxItems: new(maxNewTasks)}
	list.PrecomputeMessages()
	return one, list
}

// Schema describes either form.
func (NewTasks) Schema(r huma.Registry) *huma.Schema {
	one, list := newTasksForms(r)
	return &huma.Schema{OneOf: []*huma.Schema{one, list}}
}

// checkTasks checks a body against the schema of its form: of two, huma can only tell
// that neither fits.
func (a *API) checkTasks(text []byte) error {
	var value any
	if json.Unmarshal(text, &value) != nil {
		return problem(badRequest, "")
	}
	registry := a.huma.OpenAPI().Components.Schemas
	schema, list := newTasksForms(registry)
	if startsList(text) {
		schema = list
	}
	place, checked := huma.NewPathBuffer(nil, 0), &huma.ValidateResult{}
	place.Push("body")
	if huma.Validate(registry, schema, place, huma.ModeWriteToServer, value, checked); len(checked.Errors) > 0 {
		return huma.NewError(http.StatusUnprocessableEntity, "", checked.Errors...).(*Problem)
	}
	return nil
}

// CreatedTasks answers in the form that was sent.
type CreatedTasks struct {
	one  bool
	Data []Task `json:"data"`
}

// form is what is written.
func (c CreatedTasks) form() any {
	if c.one {
		return c.Data[0]
	}
	return c
}

// Schema describes either form.
func (CreatedTasks) Schema(r huma.Registry) *huma.Schema {
	one := r.Schema(reflect.TypeFor[Task](), true, "Task")
	list := &huma.Schema{
		Type: huma.TypeObject, Required: []string{"data"},
		Properties: map[string]*huma.Schema{"data": {Type: huma.TypeArray, Items: one, Description: "In the order of the request."}},
	}
	return &huma.Schema{OneOf: []*huma.Schema{one, list}, Description: "A task for a task, a list for a list."}
}
