package archives

import (
	"context"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/completions"
	"github.com/klingwatch/klingwatch/cmd/klingbench/contender"
	"github.com/klingwatch/klingwatch/cmd/klingbench/process"
	"github.com/klingwatch/klingwatch/cmd/klingbench/standin"
	"github.com/klingwatch/klingwatch/db"
)

// scene is what all parts need.
type scene struct {
	*bench.Bench
	d     *bench.Database
	host  *standin.Files
	place place
}

// onScene calls work with a fresh database, an empty place and a host of files.
func onScene(ctx context.Context, b *bench.Bench, at string, host standin.FilePlan, work func(scene) error) error {
	return b.WithDatabase(ctx, func(d *bench.Database) error {
		return withPlace(ctx, b, at, func(p place) error {
			return b.WithProcess(ctx, standin.FilesRole, func(c *process.Child) error {
				files := &standin.Files{Child: c}
				if err := files.Open(ctx, host); err != nil {
					return err
				}
				return work(scene{b, d, files, p})
			})
		})
	})
}

// prepare makes tasks first to last ready to end, where those below first are there.
func (s scene) prepare(ctx context.Context, first, last int) error {
	if err := s.Relay.Plan(ctx, standin.RelayPlan{}); err != nil {
		return err
	}
	return completions.Prepare(ctx, s.d, first, last, nil)
}

// With and without ffmpeg.
const (
	withFFmpeg = false
	bare       = true
)

// withWorker calls work with a worker that runs and keeps files.
func (s scene) withWorker(ctx context.Context, bare bool, work func(*contender.Service) error) error {
	return s.WithService(ctx, contender.WorkerRole, func(c *contender.Service) error {
		plan := s.DefaultPlan(s.d)
		plan.Archive = s.place.Archive
		plan.Archive.Bare = bare
		if err := c.Run(ctx, plan); err != nil {
			return err
		}
		return work(c)
	})
}

// end ends tasks first to last, each with its file.
func (s scene) end(ctx context.Context, first, last int, distance time.Duration, fileOf func(task int) standin.File) ([]completions.Completion, error) {
	return completions.RunKept(ctx, s.d.URL, first, last, distance, func(task int) db.Output {
		file := fileOf(task)
		return db.Output{Kind: file.Kind(), URL: s.host.URL(file)}
	})
}

// untilKept waits until n files are stored or given up, those of earlier tasks included.
func (s scene) untilKept(ctx context.Context, n int) error {
	_, err := bench.Until(ctx, "all files are kept", keptLimit, func(ctx context.Context) (int, error) { return countKept(ctx, s.d.Pool) }, func(kept int) bool { return kept == n })
	return err
}

// keptLimit bounds the wait for the last file.
const keptLimit = 10 * time.Minute

// clips are tasks whose files are all clips of one size.
func clips(size int64) func(task int) standin.File {
	return func(task int) standin.File { return standin.File{Number: task, Size: size} }
}
