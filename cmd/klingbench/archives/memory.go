package archives

import (
	"context"
	"fmt"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/contender"
	"github.com/klingwatch/klingwatch/cmd/klingbench/figures"
	"github.com/klingwatch/klingwatch/cmd/klingbench/process"
	"github.com/klingwatch/klingwatch/cmd/klingbench/standin"
)

// memory is large files at once.
type memory struct {
	files int
	size  int64
	at    string
}

// measure measures what memory they take. The peak is that of the whole life of the
// process; ffmpeg is a process of its own.
func (m memory) measure(ctx context.Context, b *bench.Bench, s *figures.Series) error {
	return onScene(ctx, b, m.at, standin.FilePlan{Hosts: 2}, func(on scene) error {
		if err := on.prepare(ctx, 1, m.files); err != nil {
			return err
		}
		return on.withWorker(ctx, withFFmpeg, func(c *contender.Service) error {
			if err := bench.Pause(ctx, bench.Settle); err != nil {
				return err
			}
			idle, err := c.Memory(ctx)
			if err != nil {
				return err
			}
			if _, err := on.end(ctx, 1, m.files, 0, clips(m.size)); err != nil {
				return err
			}
			if err := on.untilKept(ctx, m.files); err != nil {
				return err
			}
			peak, err := process.PeakMemory(c.PID())
			if err != nil {
				return err
			}
			counts, err := on.host.Counts(ctx)
			if err != nil {
				return err
			}
			const mib = 1 << 20
			s.Add("memory_idle", "memory of the idle process", "MiB", float64(idle.Collected)/mib, nil)
			s.Add("memory_above_idle", fmt.Sprintf("memory above it with %d files of %d MB at once, peak", m.files, m.size/1_000_000), "MiB", float64(peak-idle.Collected)/mib, figures.AtMost(64))
			s.Add("memory_at_once", "  downloads at once, most", "", float64(counts.Peak), nil)
			return nil
		})
	})
}
