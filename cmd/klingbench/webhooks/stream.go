package webhooks

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/completions"
	"github.com/klingwatch/klingwatch/cmd/klingbench/contender"
	"github.com/klingwatch/klingwatch/cmd/klingbench/figures"
	"github.com/klingwatch/klingwatch/cmd/klingbench/standin"
)

// stream is a steady rate of tasks that end, each with a callback.
type stream struct {
	places  int           // healthy receivers
	rate    float64       // completions per second for all of these together
	window  time.Duration // that the completions are spread over
	trouble []string      // manners of further receivers; each gets as many as a healthy one
}

// perPlace is how many completions each receiver gets.
func (s stream) perPlace() int { return int(s.rate*s.window.Seconds()) / s.places }

// total is the number of completions.
func (s stream) total() int { return s.perPlace() * (s.places + len(s.trouble)) }

// healthy reports whether the receiver of a task is healthy; receivers take
// turns, see completions.Prepare.
func (s stream) healthy(task int) bool { return task%(s.places+len(s.trouble)) < s.places }

// streamPatience bounds the wait for the last webhook.
const streamPatience = time.Minute

// streamed is what was seen of a stream.
type streamed struct {
	bench.Usage
	latencies []float64 // of the healthy receivers, from the commit to the first byte, in milliseconds
	completed float64   // completions per second, for all receivers
}

func (s streamed) percentile(p float64) float64 { return figures.Percentile(s.latencies, p) }

// measure measures how soon after the commit of a task's end a receiver gets the
// webhook.
func (s stream) measure(ctx context.Context, b *bench.Bench) (seen streamed, err error) {
	err = b.WithDatabase(ctx, func(d *bench.Database) error {
		return b.WithReceivers(ctx, func(r *standin.Receivers) error {
			urls, err := s.open(ctx, r)
			if err != nil {
				return err
			}
			if err := completions.Prepare(ctx, d, 1, s.total(), urls); err != nil {
				return err
			}
			if err := b.Relay.Plan(ctx, standin.RelayPlan{}); err != nil {
				return err
			}
			return b.WithService(ctx, contender.WorkerRole, func(c *contender.Service) error {
				if err := c.Run(ctx, b.DefaultPlan(d)); err != nil {
					return err
				}
				if err := bench.Pause(ctx, bench.Settle); err != nil {
					return err
				}
				return s.run(ctx, b, d, c, r, &seen)
			})
		})
	})
	return seen, err
}

// open opens receivers of all the manners that are wanted.
func (s stream) open(ctx context.Context, r *standin.Receivers) ([]string, error) {
	urls, err := r.Open(ctx, standin.ReceiverPlan{Places: s.places, Manner: standin.Prompt, Log: true})
	for _, manner := range s.trouble {
		if err != nil {
			break
		}
		var more []string
		more, err = r.Open(ctx, standin.ReceiverPlan{Places: 1, Manner: manner})
		urls = append(urls, more...)
	}
	return urls, err
}

// run ends the tasks and waits until the healthy receivers have all webhooks.
func (s stream) run(ctx context.Context, b *bench.Bench, d *bench.Database, c *contender.Service, r *standin.Receivers, seen *streamed) (err error) {
	var done []completions.Completion
	seen.Usage, err = b.Spent(ctx, c.PID(), r, func() error {
		begun := time.Now()
		if done, err = completions.Run(ctx, d.URL, 1, s.total(), time.Duration(float64(s.window)/float64(s.total()))); err != nil {
			return err
		}
		seen.completed = float64(s.total()) / time.Since(begun).Seconds()
		expected := int64(s.perPlace() * s.places)
		what := fmt.Sprintf("%d webhooks have arrived at healthy receivers", expected)
		_, err := bench.Until(ctx, what, streamPatience, r.Counts, func(c standin.ReceiverCounts) bool { return c.Logged >= expected })
		return err
	})
	if err != nil {
		return err
	}
	polls, err := b.Relay.Requests(ctx)
	if err == nil && polls > 0 {
		err = errors.New("measuring webhooks alone: the worker polled tasks meanwhile")
	}
	if err != nil {
		return err
	}
	return s.join(ctx, d, r, done, seen)
}

// join finds the first arrival of each webhook.
func (s stream) join(ctx context.Context, d *bench.Database, r *standin.Receivers, done []completions.Completion, seen *streamed) error {
	hits, err := r.Hits(ctx)
	if err != nil {
		return err
	}
	events, err := completions.Events(ctx, d.Pool)
	if err != nil {
		return err
	}
	seen.latencies, err = completions.Latencies(done, 1, s.healthy, events, hits)
	return err
}
