package polls

import (
	"context"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/contender"
	"github.com/klingwatch/klingwatch/cmd/klingbench/standin"
)

// Window is a part of a flight in which something else goes on.
type Window struct {
	bench.Usage
	Late []float64 // lateness at the relay of the polls that were due in it, in milliseconds
}

// Flight is a number of tasks in flight for measurements of other packages.
type Flight struct {
	Tasks    int // their numbers and ids are 1 to Tasks
	Interval time.Duration
	Archive  contender.Archive // of the service
}

// Fly starts a service that does not run yet, brings the tasks in, and calls prepare; then
// it calls each of the works and returns what was seen meanwhile.
func (f Flight) Fly(ctx context.Context, b *bench.Bench, d *bench.Database, c *contender.Service, prepare func() error, works ...func() error) ([]Window, error) {
	inner := flight{tasks: f.Tasks, interval: f.Interval, log: true, archive: f.Archive}
	if err := b.Relay.Plan(ctx, standin.RelayPlan{Tasks: f.Tasks, Polls: standin.Never, Log: true}); err != nil {
		return nil, err
	}
	if err := inner.takeOff(ctx, b, d, c, &flown{}); err != nil {
		return nil, err
	}
	if err := prepare(); err != nil {
		return nil, err
	}
	return inner.windows(ctx, b, c, works...)
}

// windows measures, of a flight that has taken off, how late polls are during each of the works.
func (f flight) windows(ctx context.Context, b *bench.Bench, c *contender.Service, works ...func() error) (seen []Window, err error) {
	for i, work := range works {
		b.Progress.Sayf("%d tasks in flight: window %d of %d", f.tasks, i+1, len(works))
		usage, err := b.Spent(ctx, c.PID(), b.Relay, work)
		if err != nil {
			return nil, err
		}
		seen = append(seen, Window{Usage: usage})
	}
	if err := bench.Pause(ctx, bench.Settle); err != nil { // polls that were due in the last moment arrive
		return nil, err
	}
	var all flown
	if err := f.land(ctx, b, c, &all); err != nil {
		return nil, err
	}
	for i := range seen {
		all.Usage = seen[i].Usage
		late, err := all.lateness()
		if err != nil {
			return nil, err
		}
		seen[i].Late = late.arrived
	}
	return seen, nil
}
