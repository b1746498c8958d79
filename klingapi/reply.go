package klingapi

import (
	"encoding/json"
	"time"
)

// OutputLifetime is how long Kling keeps output files (document-api: cleared after
// 30 days). Relays may keep them for a shorter time.
const OutputLifetime = 30 * 24 * time.Hour

// Kind says what an output file is.
type Kind string

// The kinds of outputs.
const (
	Image Kind = "image"
	Video Kind = "video"
	Audio Kind = "audio"
)

// Reply is an answer of the relay that describes the task.
type Reply struct {
	HTTPStatus int             // as received
	RequestID  string          // the relay's id of this exchange, "" where it gave none
	Code       string          // the body's code unless it means success, else ""
	Record     Record          // the task
	Body       json.RawMessage // the whole body; what Postgres cannot store in jsonb is replaced
}

// Record is the state of the task in a Reply.
type Record struct {
	TaskID        string    // as in the reply; may differ from the one asked for
	Word          string    // the status word as received
	Status        Status    // "" for an unknown word
	Message       string    // why it failed, in the provider's words; "" where it gave none
	Outputs       []Output  // in order, positions counted per kind
	UnitDeduction string    // decimal number, "" where absent
	CreatedAt     time.Time // by the provider's clock; zero where absent or before 2001
	UpdatedAt     time.Time // likewise
}

// Output is one file of a succeeded task.
type Output struct {
	Kind            Kind   // Image, Video or Audio
	Position        int    // from 0 within the kind
	URL             string // never empty
	UpstreamID      string // "" where absent
	DurationSeconds string // decimal number, "" where absent
	WatermarkURL    string // "" where absent
}
