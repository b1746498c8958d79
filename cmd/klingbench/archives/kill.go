package archives

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/contender"
	"github.com/klingwatch/klingwatch/cmd/klingbench/figures"
	"github.com/klingwatch/klingwatch/cmd/klingbench/standin"
)

// kill is files that become due while the process that keeps them is killed again and again.
type kill struct {
	kills, files int
	least, most  int64         // size of a file
	window       time.Duration // in which tasks end
	at           string
}

const (
	// resetOneOf so many requests at the host is reset.
	resetOneOf = 7
	// longestLife of a process before it is killed is so many times its even share of the window.
	longestLife = 2
)

// fileOf is the file of a task: every third is a picture, and there are as many small ones
// as large ones.
func (k kill) fileOf(task int) standin.File {
	random := rand.New(rand.NewPCG(uint64(task), 16))
	size := float64(k.least) * math.Pow(float64(k.most)/float64(k.least), random.Float64())
	return standin.File{Number: task, Size: int64(size), Picture: task%3 == 0}
}

func (k kill) measure(ctx context.Context, b *bench.Bench, s *figures.Series) error {
	return onScene(ctx, b, k.at, standin.FilePlan{Hosts: 2, Resets: resetOneOf}, func(on scene) error {
		if err := on.prepare(ctx, 1, k.files); err != nil {
			return err
		}
		begun, ended := time.Now(), make(chan error, 1)
		go func() {
			_, err := on.end(ctx, 1, k.files, k.window/time.Duration(k.files), k.fileOf)
			ended <- err
		}()
		interrupted, err := k.killAll(ctx, on)
		if err != nil {
			return err
		}
		if err := <-ended; err != nil {
			return err
		}
		b.Progress.Say("waiting for the last file")
		if err := on.withWorker(ctx, withFFmpeg, func(*contender.Service) error { return on.untilKept(ctx, k.files) }); err != nil {
			return err
		}
		took := time.Since(begun)
		counts, err := on.host.Counts(ctx)
		if err != nil {
			return err
		}
		b.Progress.Say("comparing the store with the rows")
		v, err := judge(ctx, on, k)
		if err != nil {
			return err
		}
		what := fmt.Sprintf("%d files over %d kills -9", k.files, k.kills)
		s.Add("kill_stored", what+": stored", "", float64(v.stored), figures.AtLeast(float64(k.files)))
		s.Add("kill_lost", "  lost", "", float64(v.lost), figures.AtMost(0))
		s.Add("kill_doubled", "  doubled", "", float64(v.doubled), figures.AtMost(0))
		s.Add("kill_wrong", "  with another sha256", "", float64(v.wrong), figures.AtMost(0))
		s.Add("kill_left", "  left in the spool after it is cleaned", "", float64(v.left), figures.AtMost(0))
		s.Add("kill_interrupted", "  jobs that ran or waited for their turn at a kill, all kills", "", float64(interrupted), nil)
		s.Add("kill_resets", "  requests that the host reset", "", float64(counts.Resets), nil)
		s.Add("kill_requests", "  requests", "", float64(counts.Requests), nil)
		s.Add("kill_unclaimed", "  keys that are still claimed in the end", "", float64(v.unclaimed), nil)
		s.Add("kill_spooled", "  spool files that kills left", "", float64(v.spooled), nil)
		s.Add("kill_seconds", "  from the first end to the last file", "s", took.Seconds(), nil)
		for _, fault := range v.faults[:min(len(v.faults), 5)] {
			b.Progress.Say(fault)
		}
		return nil
	})
}

// killAll starts the process and kills it, again and again, and counts the jobs that were
// under way. Every other process has no ffmpeg: it is killed more often between the other steps.
func (k kill) killAll(ctx context.Context, on scene) (interrupted int, err error) {
	share := k.window / time.Duration(k.kills)
	for n := range k.kills {
		on.Progress.Sayf("kill -9, %d of %d", n+1, k.kills)
		err := on.withWorker(ctx, n%2 == 0, func(c *contender.Service) error {
			if err := bench.Pause(ctx, time.Duration(rand.Int64N(longestLife*int64(share)))); err != nil {
				return err
			}
			running, err := countRunning(ctx, on.d.Pool)
			c.Kill()
			interrupted += running
			return err
		})
		if err != nil {
			return 0, err
		}
	}
	return interrupted, nil
}
