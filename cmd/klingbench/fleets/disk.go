package fleets

import (
	"context"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/figures"
	"github.com/klingwatch/klingwatch/cmd/klingbench/polls"
	"github.com/klingwatch/klingwatch/cmd/klingbench/standin"
)

// keptTables hold what is left of a task that has ended and was told of.
var keptTables = []string{"tasks", "events", "outputs", "deliveries", "delivery_attempts"}

// measureDisk ends tasks with two events, an output and a webhook each, and measures what
// is left of them.
func (p plan) measureDisk(ctx context.Context, b *bench.Bench, s *figures.Series) error {
	relay := standin.RelayPlan{Tasks: p.kept, Polls: 2}
	return p.withFleet(ctx, b, 1, relay, func(f *fleet) error {
		before, err := f.sizes(ctx)
		if err != nil {
			return err
		}
		if err := f.run(ctx, b.ServicePlan(f.d, polls.SaturatedInterval, polls.SaturatedRate)); err != nil {
			return err
		}
		b.Progress.Sayf("ending %d tasks, with webhooks", p.kept)
		if err := insertWithCallbacks(ctx, f.d, p.kept, b.Relay.HookURL()); err != nil {
			return err
		}
		err = bench.UntilNone(ctx, "all webhooks are delivered", func(ctx context.Context) (bool, error) { return anyUndelivered(ctx, f.d) })
		if err != nil {
			return err
		}
		if err := vacuum(ctx, f.d); err != nil {
			return err
		}
		after, err := f.sizes(ctx)
		if err != nil {
			return err
		}
		total := 0.0
		for i, table := range keptTables {
			per := float64(after[i]-before[i]) / float64(p.kept)
			total += per
			s.Add("disk_"+table, "  "+table+", with indexes", "B", per, nil)
		}
		s.Add("disk_per_task", "disk per task that has ended, with two events, an output and a webhook", "B", total, nil)
		return nil
	})
}

// sizes of the tables in keptTables, in bytes.
func (f *fleet) sizes(ctx context.Context) ([]int64, error) {
	sizes := make([]int64, len(keptTables))
	for i, table := range keptTables {
		var err error
		if sizes[i], err = sizeOf(ctx, f.d, table); err != nil {
			return nil, err
		}
	}
	return sizes, nil
}
