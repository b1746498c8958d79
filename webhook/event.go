package webhook

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// The types of events.
const (
	TaskSubmitted  = "task.submitted"
	TaskProcessing = "task.processing"
	TaskSucceeded  = "task.succeeded"
	TaskFailed     = "task.failed"
	TaskExpired    = "task.expired"
	TaskNotFound   = "task.not_found"
	TaskCanceled   = "task.canceled"

	// About the files of a task that succeeded, where they are kept.
	TaskArchived      = "task.archived"       // all are safe
	TaskArchiveFailed = "task.archive_failed" // some could not be had

	// About a receiver, sent to the other receivers that subscribe to them.
	EndpointFailing  = "endpoint.failing"  // it will be disabled if it goes on failing
	EndpointDisabled = "endpoint.disabled" // its webhooks wait until it is enabled

	// Test is sent on request, to see whether a receiver can be reached. Nobody can
	// subscribe to it.
	Test = "webhook-test"
)

// Types are all event types that a receiver can subscribe to: those of tasks in the
// order of a task's life, then those of endpoints.
var Types = []string{
	TaskSubmitted, TaskProcessing, TaskSucceeded, TaskFailed, TaskExpired, TaskNotFound, TaskCanceled,
	TaskArchived, TaskArchiveFailed, EndpointFailing, EndpointDisabled,
}

// CallbackTypes are what the callback_url of a task gets if it asks: it always gets the
// terminal event.
var CallbackTypes = []string{TaskSubmitted, TaskProcessing, TaskArchived, TaskArchiveFailed}

// TerminalTypes are the events that end a task. An endpoint gets these unless it
// subscribes to others.
var TerminalTypes = []string{TaskSucceeded, TaskFailed, TaskExpired, TaskNotFound, TaskCanceled}

// Event is the body of a webhook about a task.
type Event struct {
	Type      string    `json:"type"`      // task.succeeded and so on
	Timestamp time.Time `json:"timestamp"` // of the event, not of the attempt
	Data      Task      `json:"data"`
}

// Task is the state of a task at the time of the event. Every field is always
// there; event.schema.json describes them for consumers.
type Task struct {
	ID            int64           `json:"id"`      // klingwatch.tasks.id
	TaskID        string          `json:"task_id"` // the provider's id
	Relay         string          `json:"relay"`   // the relay that it was asked at
	Action        string          `json:"action"`
	Action2       string          `json:"action2"`
	Status        string          `json:"status"`
	EndedBy       *string         `json:"ended_by"`       // provider, relay, klingwatch or person; null unless terminal
	StatusMessage string          `json:"status_message"` // why; "" when there is nothing to say
	ExternalID    *string         `json:"external_id"`    // the caller's reference, null where none was given
	Metadata      json.RawMessage `json:"metadata"`       // the caller's JSON object
	Sequence      int             `json:"sequence"`       // of events of this task, from 1; a higher one replaces a lower one
	Outputs       []Output        `json:"outputs"`        // empty unless succeeded
	Result        json.RawMessage `json:"result"`         // of a task that makes no file (an element, a voice); null else
	CreatedAt     time.Time       `json:"created_at"`     // insertion of the task
	FinishedAt    *time.Time      `json:"finished_at"`    // null unless terminal
}

// Output is one file of a succeeded task.
type Output struct {
	Kind            string       `json:"kind"`             // image, video, audio
	Position        int          `json:"position"`         // from 0 within the kind
	URL             string       `json:"url"`              // at the provider, until expires_at
	UpstreamID      *string      `json:"upstream_id"`      // the provider's id of the file, which video-extend and lip-sync ask for; null where it gave none
	DurationSeconds *json.Number `json:"duration_seconds"` // null where the provider gave none
	WatermarkURL    *string      `json:"watermark_url"`    // the same file with a watermark; null where there is none
	ExpiresAt       *time.Time   `json:"expires_at"`       // when the file is gone; null where unknown
	NeedsKey        bool         `json:"needs_key"`        // true for a link that answers only with the relay's key
	Archive         *Archive     `json:"archive"`          // the kept file, in events about it; null in all others
}

// Archive is the kept file of an output.
type Archive struct {
	State        string  `json:"state"`         // stored, lost or skipped
	URL          *string `json:"url"`           // at klingwatch, for as long as the file is kept, with an API key; a path where KLINGWATCH_PUBLIC_URL is not set; null unless stored
	ThumbnailURL *string `json:"thumbnail_url"` // a small picture; null where there is none
	Bytes        *int64  `json:"bytes"`         // null unless stored
	SHA256       *string `json:"sha256"`        // hex; null unless stored
	ContentType  *string `json:"content_type"`  // null unless stored
	Width        *int    `json:"width"`         // in pixels; null where unknown
	Height       *int    `json:"height"`        // in pixels; null where unknown
	Error        *string `json:"error"`         // why the file is not kept; null when it is stored
}

// ContentPath is where klingwatch serves the kept file of an output.
func ContentPath(task int64, kind string, position int) string {
	return fmt.Sprintf("/v1/outputs/%d/%s/%d/content", task, kind, position)
}

// ThumbnailPath is where klingwatch serves the small picture of the kept file of an output.
func ThumbnailPath(task int64, kind string, position int) string {
	return fmt.Sprintf("/v1/outputs/%d/%s/%d/thumbnail", task, kind, position)
}

// EndpointEvent is the body of a webhook about a receiver.
type EndpointEvent struct {
	Type      string    `json:"type"`      // endpoint.failing, endpoint.disabled
	Timestamp time.Time `json:"timestamp"` // of the event, not of the attempt
	Data      Endpoint  `json:"data"`
}

// Endpoint is the state of a receiver at the time of the event.
type Endpoint struct {
	ID           int64      `json:"id"`            // klingwatch.webhook_endpoints.id
	URL          string     `json:"url"`           // where its events are sent
	FailingSince *time.Time `json:"failing_since"` // the first failure since the last success; null if there is none
	DisabledAt   *time.Time `json:"disabled_at"`   // null while it is enabled
	Reason       string     `json:"reason"`        // why, in plain English
}

// TestEvent is the body of a test webhook, which has no data.
type TestEvent struct {
	Type      string    `json:"type"` // webhook-test
	Timestamp time.Time `json:"timestamp"`
	Data      struct{}  `json:"data"`
}

// ThinEvent is the body of a webhook about a task for a thin endpoint.
type ThinEvent struct {
	Type      string    `json:"type"`
	Timestamp time.Time `json:"timestamp"`
	Data      ThinTask  `json:"data"`
}

// ThinTask is the data of a thin event: what identifies the task, and its status;
// the fields as in Task. Receivers get the rest from the database or the API.
type ThinTask struct {
	ID         int64   `json:"id"`
	TaskID     string  `json:"task_id"`
	Relay      string  `json:"relay"` // two relays may have tasks with the same task_id
	Action     string  `json:"action"`
	Action2    string  `json:"action2"`
	Status     string  `json:"status"`
	EndedBy    *string `json:"ended_by"` // whether the status is the provider's verdict
	ExternalID *string `json:"external_id"`
	Sequence   int     `json:"sequence"`
}

// Thin returns the body of a task event as a ThinEvent, and the body of any other
// event unchanged. It returns an error for a body that is not an event.
func Thin(body []byte) ([]byte, error) {
	var event struct {
		Type      string          `json:"type"`
		Timestamp time.Time       `json:"timestamp"`
		Data      json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(body, &event); err != nil {
		return nil, fmt.Errorf("reading an event: %w", err)
	}
	if !strings.HasPrefix(event.Type, "task.") {
		return body, nil
	}
	thin := ThinEvent{Type: event.Type, Timestamp: event.Timestamp}
	thin.Data.Relay = "default" // events of before there were relays do not name it
	if err := json.Unmarshal(event.Data, &thin.Data); err != nil {
		return nil, fmt.Errorf("reading the data of an event: %w", err)
	}
	return json.Marshal(thin)
}
