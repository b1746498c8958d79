package latencies

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/contender"
	"github.com/klingwatch/klingwatch/cmd/klingbench/figures"
	"github.com/klingwatch/klingwatch/cmd/klingbench/process"
	"github.com/klingwatch/klingwatch/cmd/klingbench/standin"
	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/operate"
)

const (
	// pollRate is above what the interval asks for: it limits nobody.
	pollRate = 1_000
	// lead is between the plan and the first task.
	lead = 500 * time.Millisecond
	// patience bounds the wait for the last webhook, after the last end.
	patience = time.Minute
)

// way is how the end of a task comes to be known.
type way struct {
	name, label string
	drawn       string // its label in the picture
	interval    time.Duration
	learns      bool    // such tasks have ended before
	batches     bool    // the relay is asked about several tasks at once
	called      bool    // the provider tells of the end
	target      float64 // most milliseconds on average; 0: none
}

// seen is what came of a way.
type seen struct {
	latencies []float64 // from the end at the provider to the webhook, in milliseconds
	counts    standin.ProviderCounts
	elapsed   time.Duration // from the first beginning to the last webhook
}

func (w way) measure(ctx context.Context, b *bench.Bench, p plan, seed uint64) (s seen, err error) {
	err = b.WithDatabase(ctx, func(d *bench.Database) error {
		if w.learns {
			if err := insertHistory(ctx, d, p.lives(p.history, seed+1_000)); err != nil {
				return err
			}
		}
		return b.WithProcess(ctx, standin.ProviderRole, func(c *process.Child) error {
			provider := &standin.Provider{Child: c}
			if err := provider.Open(ctx); err != nil {
				return err
			}
			return b.WithService(ctx, contender.ServerRole, func(service *contender.Service) error {
				callback, err := w.start(ctx, b, d, provider, service)
				if err != nil {
					return err
				}
				s, err = w.follow(ctx, d, provider, standin.ProviderPlan{
					Begin: time.Now().Add(lead), Distance: p.distance, Lives: p.lives(p.tasks, seed), Callback: callback,
				})
				return err
			})
		})
	})
	return s, err
}

// start starts the service, and returns where the provider tells of ends; "": nowhere.
func (w way) start(ctx context.Context, b *bench.Bench, d *bench.Database, provider *standin.Provider, service *contender.Service) (callback string, err error) {
	setup := b.ServicePlan(d, w.interval, pollRate)
	setup.Relay = provider.Address
	if w.batches {
		setup.Relay = provider.Batched()
	}
	if err := service.Run(ctx, setup); err != nil {
		return "", err
	}
	if !w.called {
		return "", nil
	}
	address, err := service.Serve(ctx, contender.AnyPort)
	if err != nil {
		return "", err
	}
	token, err := operate.MakeCallbackToken(ctx, d.Pool, db.DefaultRelay)
	return "http://" + address + operate.CallbackPath(db.DefaultRelay, token), err
}

// follow inserts the tasks as they begin, and waits for all webhooks.
func (w way) follow(ctx context.Context, d *bench.Database, provider *standin.Provider, tasks standin.ProviderPlan) (s seen, err error) {
	if err := provider.Plan(ctx, tasks); err != nil {
		return s, err
	}
	last := tasks.Begin
	for i := range tasks.Lives {
		if err := bench.Pause(ctx, time.Until(tasks.BeginOf(i+1))); err != nil {
			return s, err
		}
		if err := insertTask(ctx, d, i+1, w.action2(i), provider.HookURL()+strconv.Itoa(i+1)); err != nil {
			return s, err
		}
		if end := tasks.EndOf(i + 1); end.After(last) {
			last = end
		}
	}
	s.counts, err = bench.Until(ctx, "all webhooks have come", time.Until(last)+patience, provider.Counts, func(c standin.ProviderCounts) bool {
		return c.Told == int64(len(tasks.Lives))
	})
	if err != nil {
		return s, err
	}
	hooks, err := provider.Hooks(ctx)
	if err != nil {
		return s, err
	}
	for i := range tasks.Lives {
		s.latencies = append(s.latencies, figures.Milliseconds(time.Unix(0, hooks[i+1]).Sub(tasks.EndOf(i+1))))
	}
	s.elapsed = time.Unix(0, slices.Max(hooks)).Sub(tasks.Begin)
	return s, nil
}

// alike is how many tasks of a kind there are where nothing is to be learned: too few for
// a schedule.
const alike = 40

// action2 is the kind of a task.
func (w way) action2(i int) string {
	if w.learns {
		return standin.Action2
	}
	return standin.Action2 + "-" + strconv.Itoa(i/alike)
}
