package klingapi

import (
	"encoding/json"
	"strings"
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
	Body       json.RawMessage // the whole body, of an answer to several ids with this record only; what Postgres cannot store in jsonb is replaced
	Known      Known           // for Client.GetTaskAgain
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

// Status is the state of a task at the provider. The empty Status means a word that
// is not in the table: the task counts as still running.
type Status string

// The states of a task at the provider, and one of the relay.
const (
	Submitted  Status = "submitted"  // accepted, waiting
	Processing Status = "processing" // being worked on
	Succeeded  Status = "succeeded"  // ended with outputs
	Failed     Status = "failed"     // ended without; Record.Message has the reason
	Stopped    Status = "stopped"    // the relay stopped looking; the provider may still finish
)

// Ended reports whether the status is final.
func (s Status) Ended() bool { return s == Succeeded || s == Failed || s == Stopped }

// words is the closed table of status words, in lower case. No other word ends a
// task.
var words = map[string]Status{
	// Kling, legacy API (document-api: task_status) and the new one, which spells success "succeeded"
	"submitted":  Submitted,
	"processing": Processing,
	"succeed":    Succeeded,
	"succeeded":  Succeeded,
	"failed":     Failed,
	// new-api, model/task.go: NOT_START SUBMITTED QUEUED IN_PROGRESS SUCCESS FAILURE. Its UNKNOWN is left out on purpose.
	"not_start":   Submitted,
	"queued":      Submitted,
	"in_progress": Processing,
	"success":     Succeeded,
	"failure":     Failed,
	// flat relays
	"pending":   Submitted,
	"running":   Processing,
	"completed": Succeeded,
	"error":     Failed,
	"cancelled": Failed, // at the provider: there will be no outputs
	"canceled":  Failed,
	"fail":      Failed,    // ArcReel 1888, Kie (state)
	"rejected":  Failed,    // ArcReel 1889
	"finished":  Succeeded, // ArcReel 1888
	"done":      Succeeded,
	"complete":  Succeeded,
	"timeout":   Stopped, // ArcReel 1889: the gateway gave up, not the provider
	"timed_out": Stopped,
	"expired":   Stopped,
	// Qiniu; PiAPI; Kie; Replicate; fal; MiniMax, Vidu; Tencent; Higgsfield
	"initializing": Submitted,
	"staged":       Submitted,
	"waiting":      Submitted,
	"queuing":      Submitted,
	"in_queue":     Submitted,
	"starting":     Submitted,
	"created":      Submitted,
	"generating":   Processing,
	"preparing":    Submitted, // MiniMax
	"queueing":     Submitted, // MiniMax, Vidu
	"wait":         Submitted, // Tencent: WAIT, RUN, FAIL, DONE; of VOD WAITING, PROCESSING, FINISH, ABORTED
	"run":          Processing,
	"finish":       Succeeded,
	"aborted":      Failed, // Tencent VOD, Replicate
	"nsfw":         Failed, // Higgsfield
}

// separators of words that consist of two.
var separators = strings.NewReplacer(" ", "_", "-", "_")

// ParseStatus returns the Status of a status word as received, "" for an unknown
// word. Case, surrounding space, hyphens and the TASK_STATUS_ of Novita do not matter.
func ParseStatus(word string) Status {
	word = separators.Replace(strings.ToLower(strings.TrimSpace(word)))
	return words[strings.TrimPrefix(word, "task_status_")]
}
