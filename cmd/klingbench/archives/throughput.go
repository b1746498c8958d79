package archives

import (
	"context"
	"fmt"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/contender"
	"github.com/klingwatch/klingwatch/cmd/klingbench/figures"
	"github.com/klingwatch/klingwatch/cmd/klingbench/standin"
)

// throughput is as many bytes as possible.
type throughput struct {
	files int
	size  int64
	at    string
}

// atOnce is how many downloads klingwatch has under way, half of them from one host.
const atOnce = 8

// measure compares klingwatch with io.Copy in a process of its own: from the same hosts to
// the same disk, each file synced.
func (t throughput) measure(ctx context.Context, b *bench.Bench, s *figures.Series) error {
	return onScene(ctx, b, t.at, standin.FilePlan{Hosts: 2}, func(on scene) error {
		var copies [3]float64
		for i, plan := range []contender.CopierPlan{{AtOnce: 1, Sync: true}, {AtOnce: atOnce, Sync: true}, {AtOnce: 1}} {
			took, err := t.copy(ctx, on, plan)
			if err != nil {
				return err
			}
			copies[i] = t.rate(took)
		}
		s.Add("copy_mb_per_second", "io.Copy with sha256 and fsync, one after the other", "MB/s", copies[0], nil)
		s.Add("copy_at_once_mb_per_second", fmt.Sprintf("io.Copy with sha256 and fsync, %d at once", atOnce), "MB/s", copies[1], nil)
		s.Add("copy_unsynced_mb_per_second", "io.Copy with sha256 without fsync, one after the other", "MB/s", copies[2], nil)
		for i, with := range []struct {
			name, label string
			bare        bool
		}{{"bare", "without ffmpeg", bare}, {"kept", "with ffmpeg", withFFmpeg}} {
			ours, others, err := t.keep(ctx, on, i*t.files+1, with.bare)
			if err != nil {
				return err
			}
			s.Add(with.name+"_mb_per_second", fmt.Sprintf("klingwatch %s, %d clips of %d MB", with.label, t.files, t.size/1_000_000), "MB/s", t.rate(ours), nil)
			s.Add(with.name+"_part_of_copy", "  : io.Copy, one after the other", "", figures.Ratio(t.rate(ours), copies[0]), figures.AtLeast(0.8))
			s.Add(with.name+"_part_of_copy_at_once", fmt.Sprintf("  : io.Copy, %d at once", atOnce), "", figures.Ratio(t.rate(ours), copies[1]), nil)
			s.Add(with.name+"_others", "  CPU of other work meanwhile (the host of files and ffmpeg included)", "%", others, nil)
		}
		return nil
	})
}

// rate in MB/s.
func (t throughput) rate(took time.Duration) float64 {
	return figures.Ratio(float64(t.files)*float64(t.size)/1e6, took.Seconds())
}

func (t throughput) copy(ctx context.Context, on scene, plan contender.CopierPlan) (took time.Duration, err error) {
	on.Progress.Sayf("io.Copy, %d at once", plan.AtOnce)
	for n := range t.files {
		plan.URLs = append(plan.URLs, on.host.URL(clips(t.size)(n+1)))
	}
	err = on.WithDir(func(dir string) error {
		plan.Dir = dir
		return on.WithClient(ctx, contender.CopierRole, func(c *contender.Client) error {
			begun := time.Now()
			err := c.Copy(ctx, plan)
			took = time.Since(begun)
			return err
		})
	})
	return took, err
}

// keep measures from the end of the tasks, all at once, to the row of the last file.
func (t throughput) keep(ctx context.Context, on scene, first int, bare bool) (took time.Duration, others float64, err error) {
	last := first + t.files - 1
	if err := on.prepare(ctx, first, last); err != nil {
		return 0, 0, err
	}
	err = on.withWorker(ctx, bare, func(c *contender.Service) error {
		on.Progress.Sayf("klingwatch keeps %d files", t.files)
		if err := bench.Pause(ctx, bench.Settle); err != nil {
			return err
		}
		usage, err := on.Spent(ctx, c.PID(), on.Relay, func() error {
			if _, err := on.end(ctx, first, last, 0, clips(t.size)); err != nil {
				return err
			}
			return on.untilKept(ctx, last)
		})
		took, others = usage.Elapsed, usage.Others()
		return err
	})
	return took, others, err
}
