package archives

import (
	"context"
	"fmt"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/completions"
	"github.com/klingwatch/klingwatch/cmd/klingbench/contender"
	"github.com/klingwatch/klingwatch/cmd/klingbench/figures"
	"github.com/klingwatch/klingwatch/cmd/klingbench/standin"
)

// stored is single files on an idle system.
type stored struct {
	files    int
	size     int64
	distance time.Duration
	at       string
}

// measure measures how long after the commit of a task's end its file is stored, with its
// thumbnail, and the row says so.
func (p stored) measure(ctx context.Context, b *bench.Bench, s *figures.Series) error {
	return onScene(ctx, b, p.at, standin.FilePlan{Hosts: 1}, func(on scene) error {
		for i, kind := range []struct {
			name, label   string
			picture, bare bool
		}{{"picture", "picture", true, withFFmpeg}, {"bare_clip", "clip, without ffmpeg,", false, bare}, {"clip", "clip, with ffmpeg,", false, withFFmpeg}} {
			on.Progress.Sayf("%d times a %s", p.files, kind.label)
			latencies, others, err := p.keep(ctx, on, i*p.files+1, kind.bare, func(task int) standin.File {
				return standin.File{Number: task, Size: p.size, Picture: kind.picture}
			})
			if err != nil {
				return err
			}
			what := fmt.Sprintf("commit of a task's end to its %s of %d kB stored, ", kind.label, p.size/1000)
			s.Add(kind.name+"_stored_p50", what+"p50", "ms", figures.Percentile(latencies, 0.50), figures.AtMost(150))
			s.Add(kind.name+"_stored_p99", what+"p99", "ms", figures.Percentile(latencies, 0.99), nil)
			s.Add(kind.name+"_others", "  CPU of other work meanwhile (the host of files and ffmpeg included)", "%", others, nil)
		}
		return nil
	})
}

// keep measures tasks from first on.
func (p stored) keep(ctx context.Context, on scene, first int, bare bool, fileOf func(task int) standin.File) (latencies []float64, others float64, err error) {
	if err := on.prepare(ctx, first, first+p.files-1); err != nil {
		return nil, 0, err
	}
	err = on.withWorker(ctx, bare, func(c *contender.Service) error {
		if err := bench.Pause(ctx, bench.Settle); err != nil {
			return err
		}
		usage, err := on.Spent(ctx, c.PID(), on.Relay, func() (err error) {
			latencies, err = p.follow(ctx, on, first, fileOf)
			return err
		})
		others = usage.Others()
		return err
	})
	return latencies, others, err
}

// follow ends the tasks and returns the latencies.
func (p stored) follow(ctx context.Context, on scene, first int, fileOf func(task int) standin.File) (latencies []float64, err error) {
	var done []completions.Completion
	ended := make(chan error, 1)
	go func() {
		var err error
		done, err = on.end(ctx, first, first+p.files-1, p.distance, fileOf)
		ended <- err
	}()
	arrived, known := map[int]int64{}, []int{}
	look := func(ctx context.Context) (int, error) {
		tasks, err := storedTasks(ctx, on.d.Pool, first, known)
		now := time.Now().UnixNano()
		for _, task := range tasks {
			arrived[task] = now
		}
		known = append(known, tasks...)
		return len(known), err
	}
	if _, err := bench.Until(ctx, "all files are stored", keptLimit, look, func(n int) bool { return n == p.files }); err != nil {
		return nil, err
	}
	if err := <-ended; err != nil {
		return nil, err
	}
	for i, c := range done {
		latencies = append(latencies, figures.Milliseconds(c.Latency(arrived[first+i])))
	}
	return latencies, nil
}
