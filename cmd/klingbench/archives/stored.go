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

// fileOf has clips and pictures take turns.
func (p stored) fileOf(task int) standin.File {
	return standin.File{Number: task, Size: p.size, Picture: task%2 == 0}
}

// measure measures how long after the commit of a task's end its file is stored, with its
// thumbnail, and the row says so.
func (p stored) measure(ctx context.Context, b *bench.Bench, s *figures.Series) error {
	return onScene(ctx, b, p.at, standin.FilePlan{Hosts: 1}, func(on scene) error {
		if err := on.prepare(ctx, p.files); err != nil {
			return err
		}
		return on.withWorker(ctx, func(c *contender.Service) error {
			if err := bench.Pause(ctx, bench.Settle); err != nil {
				return err
			}
			var latencies [2][]float64
			usage, err := on.Spent(ctx, c.PID(), on.Relay, func() (err error) {
				latencies, err = p.follow(ctx, on)
				return err
			})
			if err != nil {
				return err
			}
			for i, kind := range []string{"picture", "clip"} {
				what := fmt.Sprintf("commit of a task's end to its %s of %d kB stored, ", kind, p.size/1000)
				s.Add(kind+"_stored_p50", what+"p50", "ms", figures.Percentile(latencies[i], 0.50), figures.AtMost(150))
				s.Add(kind+"_stored_p99", what+"p99", "ms", figures.Percentile(latencies[i], 0.99), nil)
			}
			s.Add("stored_others", "CPU of other work meanwhile", "%", usage.Others(), nil)
			return nil
		})
	})
}

// follow ends the tasks and returns the latencies of pictures and of clips.
func (p stored) follow(ctx context.Context, on scene) (latencies [2][]float64, err error) {
	var done []completions.Completion
	ended := make(chan error, 1)
	go func() {
		var err error
		done, err = on.end(ctx, 1, p.files, p.distance, p.fileOf)
		ended <- err
	}()
	arrived, known := map[int]int64{}, []int{}
	look := func(ctx context.Context) (int, error) {
		tasks, err := storedTasks(ctx, on.d.Pool, known)
		now := time.Now().UnixNano()
		for _, task := range tasks {
			arrived[task] = now
		}
		known = append(known, tasks...)
		return len(known), err
	}
	if _, err := bench.Until(ctx, "all files are stored", keptLimit, look, func(n int) bool { return n == p.files }); err != nil {
		return latencies, err
	}
	if err := <-ended; err != nil {
		return latencies, err
	}
	for i, c := range done {
		kind := (i + 1) % 2
		latencies[kind] = append(latencies[kind], figures.Milliseconds(c.Latency(arrived[i+1])))
	}
	return latencies, nil
}
