package contender

import (
	"context"
	"crypto/x509"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/process"
	"github.com/klingwatch/klingwatch/cmd/klingbench/standin"
	"github.com/klingwatch/klingwatch/klingapi"
	"github.com/klingwatch/klingwatch/webhook"
)

// newRelayClient returns the client of the relay that all contenders use, with
// the settings that klingwatch has by default.
func newRelayClient(relay standin.Address) (*klingapi.Client, error) {
	cfg := klingapi.Config{BaseURL: relay.URL, TaskPath: relay.TaskPath, Credential: klingapi.StaticKey("bench-key")}
	if relay.Secure() {
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(relay.Authority) {
			return nil, fmt.Errorf("reading the certificate of the relay %s: it is no PEM", relay.URL)
		}
	}
	return klingapi.New(cfg)
}

// loopback is where all servers of a measurement are.
var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// newWebhookClient returns a client that may reach receivers on this machine.
func newWebhookClient() *webhook.Client {
	return webhook.NewClient(webhook.Config{AllowNetworks: loopback})
}

func refOf(number int) klingapi.Ref {
	return klingapi.Ref{Action: standin.Action, Action2: standin.Action2, TaskID: standin.TaskID(number)}
}

// Client is a process that sends requests without a database, seen from the
// parent: PollerRole, PosterRole
// or CopierRole.
type Client struct{ *process.Child }

// Poll polls tasks as PollerPlan says; PollerRole only.
func (c *Client) Poll(ctx context.Context, plan PollerPlan) error { return c.Do(ctx, "Send", plan) }

// Post posts webhooks as PosterPlan says; PosterRole only.
func (c *Client) Post(ctx context.Context, plan PosterPlan) error { return c.Do(ctx, "Send", plan) }

// Copy copies files as CopierPlan says; CopierRole only.
func (c *Client) Copy(ctx context.Context, plan CopierPlan) error { return c.Do(ctx, "Send", plan) }

// hammer sends requests, numbered from 1, for some time, and returns the error
// of the first that fails.
func hammer(ctx context.Context, goroutines int, duration time.Duration, send func(ctx context.Context, n int) error) error {
	ctx, cancel := context.WithTimeout(ctx, duration)
	defer cancel()
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for ctx.Err() == nil {
				if err := send(ctx, int(next.Add(1))); err != nil && ctx.Err() == nil {
					failed.Store(&err)
					cancel()
				}
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}
