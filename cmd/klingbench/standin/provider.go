package standin

import (
	"context"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/process"
)

// ProviderPlan is tasks that take their time, as at a provider: they begin one after the
// other, and each ends after its life whether somebody asks or not.
type ProviderPlan struct {
	Begin    time.Time     // of task 1
	Distance time.Duration // between the beginnings of two tasks
	Lives    []time.Duration
	Callback string // is told of each end; "": nobody is
}

// BeginOf is when a task begins; numbers are from 1.
func (p ProviderPlan) BeginOf(task int) time.Time {
	return p.Begin.Add(time.Duration(task-1) * p.Distance)
}

// EndOf is when a task ends.
func (p ProviderPlan) EndOf(task int) time.Time { return p.BeginOf(task).Add(p.Lives[task-1]) }

// ProviderCounts is what the provider has seen since it got its plan.
type ProviderCounts struct {
	Requests int64 // about one task or several
	Asked    int64 // tasks in all of them
	Told     int64 // tasks whose webhook has come
}

// Provider is a relay whose tasks end by themselves, seen from the parent. It also
// receives their webhooks. It answers about several tasks as well; see Batched.
type Provider struct {
	*process.Child
	Address
}

// Open begins to serve.
func (p *Provider) Open(ctx context.Context) (err error) {
	p.Address.URL, err = process.Ask[string](ctx, p.Child, "Listen")
	return err
}

// HookURL is where webhooks are received; the number of their task is appended to it.
func (p *Provider) HookURL() string { return p.URL + hookPath }

// Plan begins to follow a plan.
func (p *Provider) Plan(ctx context.Context, plan ProviderPlan) error { return p.Do(ctx, "Plan", plan) }

// Counts returns what was seen so far.
func (p *Provider) Counts(ctx context.Context) (ProviderCounts, error) {
	return process.Ask[ProviderCounts](ctx, p.Child, "Counts")
}

// Hooks returns when the webhook of each task came first, by its number; 0: not yet.
func (p *Provider) Hooks(ctx context.Context) ([]int64, error) {
	return process.Ask[[]int64](ctx, p.Child, "Hooks")
}
