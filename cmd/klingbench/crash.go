package main

import (
	"context"
	"fmt"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/figures"
)

// crashCommand measures taking over after kill -9.
type crashCommand struct {
	options
	Runs  int `placeholder:"N" help:"Runs, whose worst counts; default: 3, with --quick 1."`
	Tasks int `default:"500" help:"Tasks in flight."`
}

// Run measures.
func (cmd crashCommand) Run(ctx context.Context, c *figures.Console) error {
	p := crashPlan{runs: 3, tasks: cmd.Tasks}
	if cmd.Quick {
		p.runs = 1
	}
	if cmd.Runs > 0 {
		p.runs = cmd.Runs
	}
	return cmd.options.run(ctx, c, "crash", p.measure)
}

// crashPlan is the size of everything that crash does.
type crashPlan struct{ runs, tasks int }

const (
	// A short interval shows the taking over and not the schedule; the rate
	// leaves twice the room that the tasks need.
	crashInterval = time.Second
	crashSpare    = 2
	// crashFlight is how long the tasks are in flight before the kill.
	crashFlight = 3 * time.Second
	// lastWords is how long requests of the killed process may still arrive.
	lastWords = 20 * time.Millisecond
	// crashLimit bounds the wait for the taking over: less than River needs by
	// itself, which is an hour.
	crashLimit = 2 * time.Minute
)

func (p crashPlan) rate() float64 { return crashSpare * float64(p.tasks) / crashInterval.Seconds() }

// measure kills in two situations: nobody else is there and the killed one is
// started again at once, and another instance is there already.
func (p crashPlan) measure(ctx context.Context, b *bench) ([]figures.Figure, error) {
	s := figures.NewSeries(figures.Worst)
	for run := range p.runs {
		for _, other := range []bool{false, true} {
			who, limit := "restarted", 3.0
			if other {
				who, limit = "other", 15.0
			}
			b.progress.Sayf("run %d of %d: kill -9, the %s instance takes over", run+1, p.runs, who)
			t, err := p.kill(ctx, b, other)
			if err != nil {
				return nil, err
			}
			tasks := figures.Number(float64(p.tasks))
			s.Add(who+"_takeover", "kill -9 until all "+tasks+" are asked again by the "+who+" instance, worst run", "s", t.duration.Seconds(), figures.AtMost(limit))
			s.Add(who+"_held", "jobs held by the killed instance, most", "jobs", float64(t.held), nil)
			s.Add(who+"_peak_per_second", "most polls in a second", "polls", float64(t.peak), figures.AtMost(1.1*p.rate()))
		}
	}
	return s.Result(), nil
}

// takeover is what was seen of one.
type takeover struct {
	duration time.Duration // from the kill to the last task's next poll
	held     int           // jobs of the killed one
	peak     int64         // most polls in a second
}

func (p crashPlan) kill(ctx context.Context, b *bench, other bool) (t takeover, err error) {
	err = b.withDatabase(ctx, func(d *database) error {
		if err := b.relay.plan(ctx, StubPlan{Tasks: p.tasks, Polls: never}); err != nil {
			return err
		}
		return b.withProcess(ctx, "worker", func(victim *child) error {
			if err := p.flyWith(ctx, b, d, victim); err != nil {
				return err
			}
			if !other {
				return p.inherit(ctx, b, d, victim, nil, &t)
			}
			return b.withProcess(ctx, "worker", func(heir *child) error {
				if err := heir.call(ctx, "Run", p.workerPlan(b, d), new(none)); err != nil {
					return err
				}
				return p.inherit(ctx, b, d, victim, heir, &t)
			})
		})
	})
	return t, err
}

func (p crashPlan) workerPlan(b *bench, d *database) WorkerPlan {
	return b.workerPlan(d, crashInterval, p.rate())
}

// flyWith brings all tasks into flight with the later victim.
func (p crashPlan) flyWith(ctx context.Context, b *bench, d *database, victim *child) error {
	if err := victim.call(ctx, "Run", p.workerPlan(b, d), new(none)); err != nil {
		return err
	}
	if err := insertSpread(ctx, d, p.tasks, crashInterval); err != nil {
		return err
	}
	what := fmt.Sprintf("each of %d tasks is asked once", p.tasks)
	_, err := b.relay.await(ctx, what, askedLimit, func(s StubCounts) bool { return s.Asked == int64(p.tasks) })
	return err
}

// inherit kills the victim and waits until all tasks are asked again, by the
// heir or, when there is none, by a new process.
func (p crashPlan) inherit(ctx context.Context, b *bench, d *database, victim, heir *child, t *takeover) error {
	err := pause(ctx, crashFlight)
	if err != nil {
		return err
	}
	if t.held, err = jobsHeld(ctx, d.Pool); err != nil {
		return err
	}
	begun := time.Now()
	victim.kill()
	if err := pause(ctx, lastWords); err != nil {
		return err
	}
	if err := b.relay.call(ctx, "Mark", none(true), new(none)); err != nil {
		return err
	}
	await := func() error {
		counts, err := b.relay.await(ctx, fmt.Sprintf("all %d tasks are asked again", p.tasks), crashLimit, func(s StubCounts) bool { return s.Since == int64(p.tasks) })
		t.duration, t.peak = time.Since(begun), counts.Peak
		return err
	}
	if heir != nil {
		return await()
	}
	return b.withProcess(ctx, "worker", func(heir *child) error {
		if err := heir.call(ctx, "Run", p.workerPlan(b, d), new(none)); err != nil {
			return err
		}
		return await()
	})
}
