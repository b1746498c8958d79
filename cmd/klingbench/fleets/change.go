package fleets

import (
	"context"
	"fmt"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/contender"
	"github.com/klingwatch/klingwatch/cmd/klingbench/figures"
	"github.com/klingwatch/klingwatch/cmd/klingbench/polls"
	"github.com/klingwatch/klingwatch/cmd/klingbench/standin"
)

const (
	// takeoverLimit bounds the wait for the tasks of the process that was killed.
	takeoverLimit = time.Minute
	// lastRequests is how long requests of the killed process may still arrive.
	lastRequests = 20 * time.Millisecond
)

// measureChange kills one process, lets another one join, and brings tasks in that the new
// one has a part of.
func (p plan) measureChange(ctx context.Context, b *bench.Bench, s *figures.Series) error {
	relay := standin.RelayPlan{Tasks: 2 * p.flight.tasks, Polls: standin.Never, Log: true}
	allowed := 2 * spare * p.flight.demand()
	return p.withFleet(ctx, b, p.processes, relay, func(f *fleet) error {
		if err := p.flight.takeOff(ctx, f, allowed); err != nil {
			return err
		}
		if err := p.kill(ctx, f, allowed, s); err != nil {
			return err
		}
		return b.WithService(ctx, contender.WorkerRole, func(c *contender.Service) error {
			plan := b.ServicePlan(f.d, p.flight.interval, allowed)
			plan.LogPolls = true
			if err := c.Run(ctx, plan); err != nil {
				return err
			}
			f.services = append(f.services, c)
			if err := p.newTasks(ctx, f, s); err != nil {
				return err
			}
			return p.awaitShare(ctx, f, c, s)
		})
	})
}

// kill ends one process by kill -9 and waits until all tasks are polled again.
func (p plan) kill(ctx context.Context, f *fleet, allowed float64, s *figures.Series) error {
	f.b.Progress.Sayf("kill -9 of one of %d processes", len(f.services))
	begun := time.Now()
	f.services[0].Kill()
	f.services = f.services[1:]
	if err := bench.Pause(ctx, lastRequests); err != nil {
		return err
	}
	if err := f.b.Relay.Mark(ctx); err != nil {
		return err
	}
	what := fmt.Sprintf("all %d tasks are polled again", p.flight.tasks)
	counts, err := bench.Until(ctx, what, takeoverLimit, f.b.Relay.Counts, func(c standin.RelayCounts) bool { return c.Since == int64(p.flight.tasks) })
	if err != nil {
		return err
	}
	s.Add("killed_takeover", fmt.Sprintf("kill -9 of one of %d until all its tasks are polled again, interval %s", p.processes, p.flight.interval), "s", time.Since(begun).Seconds(), figures.AtMost(15))
	s.Add("killed_peak_of_rate", "  most polls in a second : allowed", "", figures.Ratio(float64(counts.Peak), allowed), figures.AtMost(tolerance))
	return nil
}

// newTasks brings as many tasks in as there are, while a process that has just joined has
// none: how long do they wait for their first poll?
func (p plan) newTasks(ctx context.Context, f *fleet, s *figures.Series) error {
	n := p.flight.tasks
	f.b.Progress.Sayf("a process joins, %d more tasks come in", n)
	inserted, err := polls.InsertMore(ctx, f.d, n+1, 2*n, max(p.flight.interval, f.joining))
	if err != nil {
		return err
	}
	if err := f.untilPolled(ctx, 2*n, firstPollsLimit); err != nil {
		return err
	}
	moments, err := f.b.Relay.Moments(ctx)
	if err != nil {
		return err
	}
	var waited []float64
	for i, at := range inserted {
		waited = append(waited, figures.Milliseconds(time.Duration(moments[n+1+i].First-at.UnixNano())))
	}
	s.Add("joined_first_poll_p50", "new tasks while a process joins: from the insert to the first poll, p50", "ms", figures.Percentile(waited, 0.50), figures.AtMost(100))
	s.Add("joined_first_poll_p99", "  p99", "ms", figures.Percentile(waited, 0.99), figures.AtMost(300))
	s.Add("joined_first_poll_max", "  the latest", "ms", figures.Percentile(waited, 1), nil)
	return nil
}

// awaitShare waits until the new process makes at least half of its even share of the polls.
func (p plan) awaitShare(ctx context.Context, f *fleet, c *contender.Service, s *figures.Series) error {
	share, seen := 0.0, 0
	even := 2 * p.flight.demand() * p.shareLook.Seconds() / float64(len(f.services))
	begun := time.Now()
	for {
		if err := bench.Pause(ctx, p.shareLook); err != nil {
			return err
		}
		noted, err := c.Polls(ctx)
		if err != nil {
			return err
		}
		share, seen = figures.Ratio(float64(len(noted)-seen), even), len(noted)
		if share >= 0.5 || time.Since(begun) >= p.evenLimit {
			break
		}
	}
	s.Add("joined_share", "polls of the new process in the end : even share", "", share, figures.AtLeast(0.5))
	s.Add("joined_share_after", "  reached, or given up, after", "s", time.Since(begun).Seconds(), nil)
	return nil
}
