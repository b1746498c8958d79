package contender

import (
	"context"
	"fmt"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/process"
	"github.com/klingwatch/klingwatch/webhook"
)

// PosterRole is the process that posts webhooks without a database.
var PosterRole = process.Role{Name: "poster", Service: func(ctx context.Context) any { return &poster{ctx: ctx} }}

// PosterPlan is a measurement of the webhook client alone.
type PosterPlan struct {
	URLs       []string // posted to in turn
	Body       []byte
	Secrets    []string // each signs
	Goroutines int
	Duration   time.Duration
}

type poster struct {
	ctx    context.Context
	client *webhook.Client // of the first plan: its connections are kept for the next
}

// Send posts for the planned time.
func (p *poster) Send(plan PosterPlan, _ *process.None) error {
	if p.client == nil {
		p.client = newWebhookClient()
	}
	return hammer(p.ctx, plan.Goroutines, plan.Duration, func(ctx context.Context, n int) error {
		result := p.client.Send(ctx, webhook.Message{
			URL: plan.URLs[n%len(plan.URLs)], ID: "msg_bench", Body: plan.Body, Secrets: plan.Secrets,
		})
		if !result.Delivered() {
			return fmt.Errorf("posting a webhook: %s", result.Reason())
		}
		return nil
	})
}
