package contender

import (
	"cmp"
	"context"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/process"
	"github.com/klingwatch/klingwatch/cmd/klingbench/standin"
	"github.com/klingwatch/klingwatch/klingapi"
)

// PollerRole is the process that polls without a database.
var PollerRole = process.Role{Name: "poller", Service: func(ctx context.Context) any { return &poller{ctx: ctx} }}

// PollerPlan is a measurement of the HTTP client alone.
type PollerPlan struct {
	Relay      standin.Address // batched: so many tasks are asked for in each request
	Tasks      int             // at the relay; polled in turn
	Goroutines int
	Duration   time.Duration
}

type poller struct {
	ctx    context.Context
	client *klingapi.Client // of the first plan: its connections are kept for the next
}

// Send polls for the planned time.
func (p *poller) Send(plan PollerPlan, _ *process.None) (err error) {
	if p.client == nil {
		if p.client, err = newRelayClient(plan.Relay); err != nil {
			return err
		}
	}
	return hammer(p.ctx, plan.Goroutines, plan.Duration, func(ctx context.Context, n int) error {
		if p.client.Batches() {
			return p.askForSeveral(ctx, n, plan.Tasks)
		}
		_, err := p.client.GetTask(ctx, refOf(n%plan.Tasks+1))
		return err
	})
}

// askForSeveral asks for as many tasks as the relay takes in the n-th request.
func (p *poller) askForSeveral(ctx context.Context, n, tasks int) error {
	refs := make([]klingapi.Ref, min(standin.BatchSize, tasks))
	for i := range refs {
		refs[i] = refOf((n*len(refs)+i)%tasks + 1)
	}
	answers, err := p.client.GetTasks(ctx, refs)
	for _, answer := range answers {
		err = cmp.Or(err, answer.Err)
	}
	return err
}
