package db

import "slices"

// The statuses of a task.
const (
	Pending    = "pending"    // the relay has not told anything yet
	Submitted  = "submitted"  // at the provider, waiting
	Processing = "processing" // at the provider, being worked on
	Succeeded  = "succeeded"  // terminal: the provider said so
	Failed     = "failed"     // terminal: the provider said so
	Expired    = "expired"    // terminal: we stopped looking
	NotFound   = "not_found"  // terminal: the relay does not know the task
	Canceled   = "canceled"   // terminal: the user stopped tracking
)

// Statuses are all statuses, in the order of a task's life.
var Statuses = []string{Pending, Submitted, Processing, Succeeded, Failed, Expired, NotFound, Canceled}

// Terminal tells whether a status ends a task.
func Terminal(status string) bool {
	return slices.Index(Statuses, status) > slices.Index(Statuses, Processing)
}
