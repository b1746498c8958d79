package archives

import (
	"context"
	"fmt"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/completions"
	"github.com/klingwatch/klingwatch/cmd/klingbench/contender"
	"github.com/klingwatch/klingwatch/cmd/klingbench/figures"
	"github.com/klingwatch/klingwatch/cmd/klingbench/polls"
	"github.com/klingwatch/klingwatch/cmd/klingbench/standin"
)

// beside is polls and webhooks while large files stream all the time.
type beside struct {
	flight   int // tasks that are polled
	interval time.Duration
	rate     float64 // webhooks per second
	window   time.Duration
	streams  int   // files that stream at once: what one host is asked for
	size     int64 // of a file
	speed    int64 // bytes per second of each
	at       string
}

// places is how many receivers take turns.
const places = 10

// webhooks in one window.
func (e beside) webhooks() int { return int(e.rate * e.window.Seconds()) }

// files are enough for a window and what is around it.
func (e beside) files() int {
	return e.streams * (2 + int(2*e.window.Seconds()*float64(e.speed)/float64(e.size)))
}

// span is a window of webhooks.
type span struct {
	first     int // task
	done      []completions.Completion
	latencies []float64
}

// measure measures in one flight: first alone, then beside files.
func (e beside) measure(ctx context.Context, b *bench.Bench, s *figures.Series) error {
	return onScene(ctx, b, e.at, standin.FilePlan{Hosts: 1, Rate: e.speed}, func(on scene) error {
		return b.WithReceivers(ctx, func(r *standin.Receivers) error {
			return b.WithService(ctx, contender.WorkerRole, func(c *contender.Service) error { return e.fly(ctx, on, r, c, s) })
		})
	})
}

func (e beside) fly(ctx context.Context, on scene, r *standin.Receivers, c *contender.Service, s *figures.Series) error {
	alone, during := span{first: e.flight + 1}, span{first: e.flight + 1 + e.webhooks()}
	firstFile := during.first + e.webhooks()
	lastFile := firstFile + e.files() - 1
	var before, after standin.FileCounts
	f := polls.Flight{Tasks: e.flight, Interval: e.interval, Archive: on.place.Archive}
	windows, err := f.Fly(ctx, on.Bench, on.d, c,
		func() error { return e.prepare(ctx, on, r, firstFile, lastFile) },
		func() error { return e.send(ctx, on, r, &alone) },
		func() error { // not measured: the streams begin
			if _, err := on.end(ctx, firstFile, lastFile, 0, clips(e.size)); err != nil {
				return err
			}
			return bench.Pause(ctx, e.interval)
		},
		func() (err error) {
			if before, err = on.host.Counts(ctx); err != nil {
				return err
			}
			if err := e.send(ctx, on, r, &during); err != nil {
				return err
			}
			after, err = on.host.Counts(ctx)
			return err
		})
	if err != nil {
		return err
	}
	if err := e.join(ctx, on, r, &alone, &during); err != nil {
		return err
	}
	what := fmt.Sprintf("while %d files of %d MB stream", e.streams, e.size/1_000_000)
	beside := windows[2]
	late, lateBeside := figures.Percentile(windows[0].Late, 0.99), figures.Percentile(beside.Late, 0.99)
	told, toldBeside := figures.Percentile(alone.latencies, 0.99), figures.Percentile(during.latencies, 0.99)
	s.Add("beside_streams", "files that stream at once, most", "", float64(after.Peak), nil)
	s.Add("beside_mb_per_second", "  together", "MB/s", figures.Ratio(float64(after.Bytes-before.Bytes)/1e6, beside.Elapsed.Seconds()), nil)
	s.Add("late_alone_p99", "lateness of polls at the relay, p99", "ms", late, nil)
	s.Add("late_beside_p99", "lateness of polls "+what+", p99", "ms", lateBeside, nil)
	s.Add("late_ratio", "  ratio", "", figures.Ratio(lateBeside, late), figures.AtMost(1.3))
	s.Add("webhook_alone_p99", "commit to webhook, p99", "ms", told, nil)
	s.Add("webhook_beside_p99", "commit to webhook "+what+", p99", "ms", toldBeside, nil)
	s.Add("webhook_ratio", "  ratio", "", figures.Ratio(toldBeside, told), figures.AtMost(1.3))
	for i, name := range []string{"alone", "beside"} {
		w, what := windows[2*i], [2]string{"without files", "with files"}[i]
		s.Add(name+"_cpu", "CPU of klingwatch "+what, "%", w.Part(w.Client), nil)
		s.Add(name+"_postgres_cpu", "CPU of Postgres "+what, "%", w.Part(w.Postgres), nil)
		s.Add(name+"_others", "CPU of other work meanwhile "+what+" (the host of files and ffmpeg included)", "%", w.Others(), nil)
	}
	return nil
}

// prepare makes tasks with a callback, and then tasks with a file, ready to end.
func (e beside) prepare(ctx context.Context, on scene, r *standin.Receivers, firstFile, lastFile int) error {
	urls, err := r.Open(ctx, standin.ReceiverPlan{Places: places, Manner: standin.Prompt, Log: true})
	if err != nil {
		return err
	}
	if err := completions.Prepare(ctx, on.d, e.flight+1, firstFile-1, urls); err != nil {
		return err
	}
	return completions.Prepare(ctx, on.d, firstFile, lastFile, nil)
}

// send ends the tasks of a span and waits for their webhooks.
func (e beside) send(ctx context.Context, on scene, r *standin.Receivers, of *span) (err error) {
	counts, err := r.Counts(ctx)
	if err != nil {
		return err
	}
	of.done, err = completions.Run(ctx, on.d.URL, of.first, of.first+e.webhooks()-1, e.window/time.Duration(e.webhooks()))
	if err != nil {
		return err
	}
	wanted := counts.Logged + int64(e.webhooks())
	_, err = bench.Until(ctx, "all webhooks have arrived", time.Minute, r.Counts, func(c standin.ReceiverCounts) bool { return c.Logged >= wanted })
	return err
}

// join finds out how long the webhooks of each span took.
func (e beside) join(ctx context.Context, on scene, r *standin.Receivers, spans ...*span) error {
	hits, err := r.Hits(ctx)
	if err != nil {
		return err
	}
	events, err := completions.Events(ctx, on.d.Pool)
	for _, of := range spans {
		if err != nil {
			break
		}
		of.latencies, err = completions.Latencies(of.done, of.first, func(int) bool { return true }, events, hits)
	}
	return err
}
