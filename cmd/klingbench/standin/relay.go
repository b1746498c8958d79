package standin

import (
	"context"

	"github.com/klingwatch/klingwatch/cmd/klingbench/process"
)

// Never as RelayPlan.Polls is for tasks that do not end.
const Never = 0

// RelayPlan is how the relay behaves.
type RelayPlan struct {
	Tasks int  // their numbers are 1 to Tasks
	Polls int  // the reply with this number says succeed, those before it processing; Never: none does
	Log   bool // keep the time of every request
}

// RelayCounts is what the relay has seen since it got its plan.
type RelayCounts struct {
	Polls int64 // requests
	HTTP2 int64 // those that came over HTTP/2
	Told  int64 // tasks in the answers: one in each, unless a request asks for several
	Asked int64 // tasks that were polled at least once
	Ended int64 // tasks whose last reply was sent
	Since int64 // tasks that were polled at least once since the last Mark
	Peak  int64 // most requests in a second, in steps of windowStep
}

// Arrival is one request about a task.
type Arrival struct {
	Task int32
	At   int64 // unix nanoseconds
}

// Moments of one task at the relay, in unix nanoseconds; 0: not yet.
type Moments struct {
	First int64 // first request
	Ended int64 // the last reply was sent
	Hook  int64 // the webhook arrived
}

// Address is where the relay is asked, and how.
type Address struct {
	URL       string // as in KLING_BASE_URL
	TaskPath  string // as in KLING_TASK_PATH; "": the default, one task in a request
	Authority []byte // PEM of the certificate that vouches for the relay; nil: it is asked over plain HTTP/1.1
}

// BatchSize is how many tasks the relay is asked for at once at a batched address.
const BatchSize = 20

// Batched is the same relay, asked for several tasks at once.
func (a Address) Batched() Address {
	a.TaskPath = batchPath + "{task_ids}"
	return a
}

// Secure reports whether the relay is asked over TLS, and so over HTTP/2.
func (a Address) Secure() bool { return a.Authority != nil }

// Addresses are the two ways to the same relay.
type Addresses struct {
	Plain  Address // HTTP/1.1
	Secure Address // TLS and HTTP/2
}

// Relay is the stub of the relay, seen from the parent. It also receives
// webhooks.
type Relay struct {
	*process.Child
	Addresses
}

// StartRelay starts the relay; its log is in dir. It knows no task until it gets
// a plan.
func StartRelay(ctx context.Context, dir string) (*Relay, error) {
	c, err := process.Start(ctx, dir, RelayRole)
	if err != nil {
		return nil, err
	}
	addresses, err := process.Ask[Addresses](ctx, c, "Listen")
	if err != nil {
		c.Stop()
		return nil, err
	}
	return &Relay{Child: c, Addresses: addresses}, nil
}

// HookURL is where the relay receives webhooks; the number of their task is
// appended to it.
func (r *Relay) HookURL() string { return r.Plain.URL + hookPath }

// Plan makes the relay forget everything and follow a new plan.
func (r *Relay) Plan(ctx context.Context, plan RelayPlan) error { return r.Do(ctx, "Plan", plan) }

// Mark begins a new count of RelayCounts.Since.
func (r *Relay) Mark(ctx context.Context) error { return r.Do(ctx, "Mark", process.None(true)) }

// Counts returns what was seen so far.
func (r *Relay) Counts(ctx context.Context) (RelayCounts, error) {
	return process.Ask[RelayCounts](ctx, r.Child, "Counts")
}

// Requests returns the number of polls so far.
func (r *Relay) Requests(ctx context.Context) (int64, error) {
	counts, err := r.Counts(ctx)
	return counts.Polls, err
}

// Arrivals returns the log of requests.
func (r *Relay) Arrivals(ctx context.Context) ([]Arrival, error) {
	return process.Ask[[]Arrival](ctx, r.Child, "Arrivals")
}

// Moments returns the moments of every task, by its number; that of 0 is empty.
func (r *Relay) Moments(ctx context.Context) ([]Moments, error) {
	return process.Ask[[]Moments](ctx, r.Child, "Moments")
}
