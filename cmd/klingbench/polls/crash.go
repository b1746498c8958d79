package polls

import (
	"context"
	"fmt"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/contender"
	"github.com/klingwatch/klingwatch/cmd/klingbench/figures"
	"github.com/klingwatch/klingwatch/cmd/klingbench/standin"
)

// CrashCommand measures taking over after kill -9.
type CrashCommand struct {
	bench.Options
	Runs  int `placeholder:"N" help:"Runs, whose worst counts; default: 3, with --quick 1."`
	Tasks int `default:"500" help:"Tasks in flight."`
}

// Run measures.
func (cmd CrashCommand) Run(ctx context.Context, c *figures.Console) error {
	p := crashPlan{runs: 3, tasks: cmd.Tasks, flight: 3 * time.Second}
	if cmd.Quick {
		p.runs, p.flight = 1, crashInterval
	}
	if cmd.Runs > 0 {
		p.runs = cmd.Runs
	}
	return cmd.Measure(ctx, c, "crash", p.measure)
}

// crashPlan is the size of everything that crash does.
type crashPlan struct {
	runs, tasks int
	flight      time.Duration // how long the tasks are in flight before the kill
}

const (
	// A short interval shows the taking over and not the schedule; the rate
	// leaves twice the room that the tasks need.
	crashInterval = time.Second
	crashSpare    = 2
	// lastRequests is how long requests of the killed process may still arrive.
	lastRequests = 20 * time.Millisecond
	// crashLimit bounds the wait for the taking over. River by itself would need an
	// hour.
	crashLimit = 2 * time.Minute
)

func (p crashPlan) rate() float64 { return crashSpare * float64(p.tasks) / crashInterval.Seconds() }

// measure kills in two situations: the killed instance is the only one and is
// restarted at once, and another instance runs already.
func (p crashPlan) measure(ctx context.Context, b *bench.Bench) ([]figures.Figure, error) {
	s := figures.NewSeries(figures.Worst)
	for run := range p.runs {
		for _, other := range []bool{false, true} {
			who, limit := "restarted", 3.0
			if other {
				who, limit = "other", 15.0
			}
			b.Progress.Sayf("run %d of %d: kill -9, the %s instance takes over", run+1, p.runs, who)
			t, err := p.kill(ctx, b, other)
			if err != nil {
				return nil, err
			}
			s.Add(who+"_takeover", fmt.Sprintf("kill -9 until all %d are polled again by the %s instance, worst run", p.tasks, who), "s", t.duration.Seconds(), figures.AtMost(limit))
			s.Add(who+"_held", "jobs held by the killed instance, most", "jobs", float64(t.held), nil)
			s.Add(who+"_peak_per_second", "most polls in a second", "polls", float64(t.peak), figures.AtMost(1.1*p.rate()))
		}
	}
	return s.Result(), nil
}

// takeover is what was measured of a takeover.
type takeover struct {
	duration time.Duration // from the kill to the last task's next poll
	held     int           // jobs of the killed instance
	peak     int64         // most polls in a second
}

func (p crashPlan) kill(ctx context.Context, b *bench.Bench, other bool) (t takeover, err error) {
	err = b.WithDatabase(ctx, func(d *bench.Database) error {
		if err := b.Relay.Plan(ctx, standin.RelayPlan{Tasks: p.tasks, Polls: standin.Never}); err != nil {
			return err
		}
		return p.withWorker(ctx, b, d, func(victim *contender.Service) error {
			if err := insertSpread(ctx, d, p.tasks, crashInterval); err != nil {
				return err
			}
			if err := untilPolled(ctx, b, p.tasks); err != nil {
				return err
			}
			if !other {
				return p.inherit(ctx, b, d, victim, false, &t)
			}
			return p.withWorker(ctx, b, d, func(*contender.Service) error { return p.inherit(ctx, b, d, victim, true, &t) })
		})
	})
	return t, err
}

// withWorker calls work with a running worker.
func (p crashPlan) withWorker(ctx context.Context, b *bench.Bench, d *bench.Database, work func(*contender.Service) error) error {
	return b.WithService(ctx, contender.WorkerRole, func(c *contender.Service) error {
		if err := c.Run(ctx, b.ServicePlan(d, crashInterval, p.rate())); err != nil {
			return err
		}
		return work(c)
	})
}

// inherit kills the victim and waits until all tasks are polled again, by the
// other instance or, when there is none, by a new one.
func (p crashPlan) inherit(ctx context.Context, b *bench.Bench, d *bench.Database, victim *contender.Service, other bool, t *takeover) error {
	err := bench.Pause(ctx, p.flight)
	if err != nil {
		return err
	}
	if t.held, err = jobsHeld(ctx, d.Pool); err != nil {
		return err
	}
	begun := time.Now()
	victim.Kill()
	if err := bench.Pause(ctx, lastRequests); err != nil {
		return err
	}
	if err := b.Relay.Mark(ctx); err != nil {
		return err
	}
	await := func(*contender.Service) error {
		what := fmt.Sprintf("all %d tasks are polled again", p.tasks)
		counts, err := bench.Until(ctx, what, crashLimit, b.Relay.Counts, func(s standin.RelayCounts) bool { return s.Since == int64(p.tasks) })
		t.duration, t.peak = time.Since(begun), counts.Peak
		return err
	}
	if other {
		return await(nil)
	}
	return p.withWorker(ctx, b, d, await)
}
