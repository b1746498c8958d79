package standin

import (
	"context"

	"github.com/klingwatch/klingwatch/cmd/klingbench/process"
)

// The manners of receivers.
const (
	Prompt   = "prompt"   // answers 204 at once
	Failing  = "failing"  // answers 500 at once
	Silent   = "silent"   // takes the request and never answers
	Dripping = "dripping" // answers a byte per second
	Breaking = "breaking" // takes the request and ends the connection
	Limiting = "limiting" // answers 429 at once, and wants a minute of peace
)

// ReceiverPlan is a group of receivers that behave alike, each with an address of
// its own.
type ReceiverPlan struct {
	Places int
	Manner string
	Log    bool // keep the time of every request
}

// ReceiverCounts is what all receivers of the process have seen.
type ReceiverCounts struct {
	Requests int64
	Logged   int64 // requests to receivers that keep a log
	Peak     int64 // most requests that were open at once
}

// Hit is one request to a receiver.
type Hit struct {
	ID string // webhook-id
	At int64  // when its header was read, microseconds after its first byte; unix nanoseconds
}

// Receivers are the places that webhooks go to, all in one process, seen from the
// parent.
type Receivers struct{ *process.Child }

// Open adds receivers and returns their URLs.
func (r *Receivers) Open(ctx context.Context, plan ReceiverPlan) (urls []string, err error) {
	err = r.Call(ctx, "Open", plan, &urls)
	return urls, err
}

// OpenPaths adds one receiver with a path for each manner and returns their URLs. It
// keeps the time of requests to prompt ones.
func (r *Receivers) OpenPaths(ctx context.Context, manners []string) (urls []string, err error) {
	err = r.Call(ctx, "OpenPaths", manners, &urls)
	return urls, err
}

// Counts returns what was seen so far.
func (r *Receivers) Counts(ctx context.Context) (ReceiverCounts, error) {
	return process.Ask[ReceiverCounts](ctx, r.Child, "Counts")
}

// Requests returns the number of requests so far.
func (r *Receivers) Requests(ctx context.Context) (int64, error) {
	counts, err := r.Counts(ctx)
	return counts.Requests, err
}

// Hits returns the log of requests, in the order of their arrival.
func (r *Receivers) Hits(ctx context.Context) ([]Hit, error) {
	return process.Ask[[]Hit](ctx, r.Child, "Hits")
}
