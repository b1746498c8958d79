package polls

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/contender"
	"github.com/klingwatch/klingwatch/cmd/klingbench/standin"
)

// What measurements of other packages take from here.

// The settings of a service that nothing but the machine limits.
const (
	SaturatedInterval = saturatedInterval
	SaturatedRate     = saturatedRate
)

// InsertAll inserts tasks 1 to n in one transaction.
func InsertAll(ctx context.Context, d *bench.Database, n int) error {
	return copyAllTasks(ctx, d.Pool, n)
}

// InsertSpread inserts tasks 1 to n evenly over a time.
func InsertSpread(ctx context.Context, d *bench.Database, n int, over time.Duration) error {
	return insertSpread(ctx, d, n, over)
}

// Lateness returns how late those polls arrived that were due in a period, in milliseconds.
// The polls may be those of several processes, between which the tasks go back and forth.
func Lateness(period bench.Usage, polls []contender.Poll, arrivals []standin.Arrival) ([]float64, error) {
	polls = slices.Clone(polls)
	slices.SortFunc(polls, func(a, b contender.Poll) int { return cmp.Compare(a.Begun, b.Begun) })
	late, err := flown{Usage: period, polls: polls, arrivals: arrivals}.lateness()
	return late.arrived, err
}

// InsertMore inserts tasks first to last evenly over a time, and returns when each of them
// was committed.
func InsertMore(ctx context.Context, d *bench.Database, first, last int, over time.Duration) (committed []time.Time, err error) {
	steps, total := max(int(over/insertStep), 1), last-first+1
	ticker := time.NewTicker(insertStep)
	defer ticker.Stop()
	for step := range steps {
		if upTo := total * (step + 1) / steps; upTo > len(committed) {
			if err := copyTasks(ctx, d.Pool, "tasks", first+len(committed), first+upTo-1); err != nil {
				return nil, err
			}
			committed = append(committed, slices.Repeat([]time.Time{time.Now()}, upTo-len(committed))...)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-ticker.C:
		}
	}
	return committed, d.CheckNumbers(ctx, last)
}
