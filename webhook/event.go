package webhook

import (
	"encoding/json"
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
)

// Types are all event types, in the order of a task's life.
var Types = []string{TaskSubmitted, TaskProcessing, TaskSucceeded, TaskFailed, TaskExpired, TaskNotFound, TaskCanceled}

// TerminalTypes are the types that end a task; what an endpoint gets unless it
// asks for others.
var TerminalTypes = []string{TaskSucceeded, TaskFailed, TaskExpired, TaskNotFound, TaskCanceled}

// Event is the body of a webhook.
type Event struct {
	Type      string    `json:"type"`      // task.succeeded and so on
	Timestamp time.Time `json:"timestamp"` // of the event, not of the attempt
	Data      Task      `json:"data"`
}

// Task is the state of a task at the time of the event.
type Task struct {
	ID            int64           `json:"id"`      // klingwatch.tasks.id
	TaskID        string          `json:"task_id"` // the provider's id
	Action        string          `json:"action"`
	Action2       string          `json:"action2"`
	Status        string          `json:"status"`
	StatusMessage string          `json:"status_message"` // why; "" when there is nothing to say
	ExternalID    *string         `json:"external_id"`    // the caller's reference, null where none was given
	Metadata      json.RawMessage `json:"metadata"`       // the caller's JSON object
	Sequence      int             `json:"sequence"`       // of events of this task, from 1; a higher one replaces a lower one
	Outputs       []Output        `json:"outputs"`        // empty unless succeeded
	CreatedAt     time.Time       `json:"created_at"`     // insertion of the task
	FinishedAt    *time.Time      `json:"finished_at"`    // null unless terminal
}

// Output is one file of a succeeded task.
type Output struct {
	Kind            string       `json:"kind"`     // image, video, audio
	Position        int          `json:"position"` // from 0 within the kind
	URL             string       `json:"url"`
	DurationSeconds *json.Number `json:"duration_seconds"` // null where the provider told none
	WatermarkURL    *string      `json:"watermark_url,omitempty"`
	ExpiresAt       *time.Time   `json:"expires_at"` // when the provider clears the file
}
