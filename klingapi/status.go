package klingapi

import "strings"

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
