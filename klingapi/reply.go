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
	TaskID        string          // as in the reply; may differ from the one asked for
	Word          string          // the status word as received
	Status        Status          // "" for an unknown word
	Message       string          // why it failed, or what was said beside a success, in the provider's words; "" where nothing was
	Outputs       []Output        // in order, positions counted per kind
	Result        json.RawMessage // of a task that makes no file (an element, a voice); nil where there is none
	UnitDeduction string          // decimal number, "" where absent
	CreatedAt     time.Time       // by the provider's clock; zero where absent or before 2001
	UpdatedAt     time.Time       // likewise

	Unsure     bool // Failed, but the answer may be about the request: a second equal answer must confirm it
	Bare       bool // a success word that may be about the request, without a file; Status is ""
	ByRelay    bool // Failed or Stopped by the relay itself: the provider may still finish
	Incomplete bool // Succeeded, but a file's URL is still empty
	TooLarge   int  // files that were given as data: URLs beyond MaxInline and left out
}

// Output is one file of a succeeded task.
type Output struct {
	Kind            Kind      // Image, Video or Audio
	Position        int       // from 0 within the kind
	URL             string    // never empty; http, https or data, the latter up to MaxInline bytes
	UpstreamID      string    // "" where absent
	DurationSeconds string    // decimal number, "" where absent
	WatermarkURL    string    // "" where absent
	ExpiresAt       time.Time // as the URL says; zero where it does not
	NeedsKey        bool      // the relay's own link, which wants the relay's key
}
