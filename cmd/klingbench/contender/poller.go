package contender

import (
	"context"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/process"
	"github.com/klingwatch/klingwatch/klingapi"
)

// PollerRole is the process that polls without a database.
var PollerRole = process.Role{Name: "poller", Service: func(ctx context.Context) any { return &poller{ctx: ctx} }}

// PollerPlan is a measurement of the HTTP client alone.
type PollerPlan struct {
	RelayURL   string
	Tasks      int // at the relay; polled in turn
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
		if p.client, err = newRelayClient(plan.RelayURL); err != nil {
			return err
		}
	}
	return hammer(p.ctx, plan.Goroutines, plan.Duration, func(ctx context.Context, n int) error {
		_, err := p.client.GetTask(ctx, refOf(n%plan.Tasks+1))
		return err
	})
}
