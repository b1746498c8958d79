package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/figures"
)

// stream is a steady rate of tasks that end, each with a callback.
type stream struct {
	places  int           // healthy receivers
	rate    float64       // completions per second for all of these together
	window  time.Duration // that the completions are spread over
	trouble []string      // manners of receivers besides; each gets as many as a healthy one
}

// perPlace is how many completions each receiver gets.
func (s stream) perPlace() int { return int(s.rate*s.window.Seconds()) / s.places }

// total is the number of completions.
func (s stream) total() int { return s.perPlace() * (s.places + len(s.trouble)) }

// healthy tells whether the receiver of a task is; they take turns, see
// insertProcessing.
func (s stream) healthy(task int) bool { return task%(s.places+len(s.trouble)) < s.places }

// streamPatience bounds the wait for the last webhook.
const streamPatience = time.Minute

// streamed is what was seen of a stream.
type streamed struct {
	usage
	latencies []float64 // of the healthy receivers, from the commit to the first byte, in milliseconds
	completed float64   // completions per second, for all receivers
}

func (s streamed) percentile(p float64) float64 { return figures.Percentile(s.latencies, p) }

// stream measures how long after its commit a task's end is known.
func (b *bench) stream(ctx context.Context, s stream) (seen streamed, err error) {
	err = b.withDatabase(ctx, func(d *database) error {
		return b.withReceivers(ctx, func(r *receiverProcess) error {
			urls, err := s.open(ctx, r)
			if err != nil {
				return err
			}
			if err := insertProcessing(ctx, d.Pool, s.total(), urls); err != nil {
				return err
			}
			if err := b.relay.plan(ctx, StubPlan{}); err != nil {
				return err
			}
			return b.withProcess(ctx, "worker", func(c *child) error {
				if err := c.call(ctx, "Run", b.workerPlan(d, defaultInterval, defaultRate), new(none)); err != nil {
					return err
				}
				if err := pause(ctx, settle); err != nil {
					return err
				}
				return s.run(ctx, b, d, c, r, &seen)
			})
		})
	})
	return seen, err
}

// open begins to listen in all the manners that are wanted.
func (s stream) open(ctx context.Context, r *receiverProcess) ([]string, error) {
	urls, err := r.open(ctx, ReceiverPlan{Places: s.places, Manner: prompt, Log: true})
	for _, manner := range s.trouble {
		if err != nil {
			break
		}
		var more []string
		more, err = r.open(ctx, ReceiverPlan{Places: 1, Manner: manner})
		urls = append(urls, more...)
	}
	return urls, err
}

// run ends the tasks and waits until the healthy receivers know of it.
func (s stream) run(ctx context.Context, b *bench, d *database, c *child, r *receiverProcess, seen *streamed) error {
	before, err := r.usage(ctx, b, c)
	if err != nil {
		return err
	}
	begun := time.Now()
	done, err := completeAll(ctx, d.url, s.total(), time.Duration(float64(s.window)/float64(s.total())))
	if err != nil {
		return err
	}
	seen.completed = float64(s.total()) / time.Since(begun).Seconds()
	expected := int64(s.perPlace() * s.places)
	what := fmt.Sprintf("%d webhooks arrive at healthy receivers", expected)
	if err := r.await(ctx, what, streamPatience, func(c ReceiverCounts) bool { return c.Logged >= expected }); err != nil {
		return err
	}
	after, err := r.usage(ctx, b, c)
	if err != nil {
		return err
	}
	seen.usage = after.since(before)
	counts, err := b.relay.counts(ctx)
	if err == nil && counts.Polls > 0 {
		err = errors.New("tasks were polled while only webhooks were to be measured")
	}
	if err != nil {
		return err
	}
	return s.join(ctx, r, done, seen)
}

// join finds the first arrival of each webhook.
func (s stream) join(ctx context.Context, r *receiverProcess, done []completion, seen *streamed) error {
	var hits []hit
	if err := r.call(ctx, "Hits", none(true), &hits); err != nil {
		return err
	}
	arrived := make(map[string]int64, len(hits))
	for _, h := range hits {
		if _, again := arrived[h.ID]; !again {
			arrived[h.ID] = h.At
		}
	}
	for i, c := range done {
		if !s.healthy(i + 1) {
			continue
		}
		at, found := arrived[c.eventID]
		if !found {
			return fmt.Errorf("the webhook of task %d did not arrive, but others more than once", i+1)
		}
		seen.latencies = append(seen.latencies, figures.Milliseconds(c.latency(at)))
	}
	return nil
}
