package apis

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/callers"
	"github.com/klingwatch/klingwatch/cmd/klingbench/completions"
	"github.com/klingwatch/klingwatch/cmd/klingbench/contender"
	"github.com/klingwatch/klingwatch/cmd/klingbench/figures"
	"github.com/klingwatch/klingwatch/cmd/klingbench/process"
	"github.com/klingwatch/klingwatch/metrics"
)

// wait is many clients that wait, each for a task of its own, and then some for one task.
type wait struct {
	waiters int
	rate    float64 // of tasks that end, per second
	crowd   int     // those that wait for the last task
}

const (
	// waitersPerKey is less than a key may keep open.
	waitersPerKey = 500
	// asksPerSecond is how fast clients come.
	asksPerSecond = 1000
	// answerLimit bounds the wait for the last answer.
	answerLimit = 30 * time.Second
)

// waited is what was seen of waits.
type waited struct {
	each, crowd []float64 // from the commit to the whole answer, in milliseconds
	peak        int64     // of the server's memory, in bytes
}

func (w wait) measure(ctx context.Context, b *bench.Bench, s *figures.Series) error {
	var seen waited
	err := b.WithDatabase(ctx, func(d *bench.Database) error {
		if err := completions.Prepare(ctx, d, 1, w.waiters+1, nil); err != nil {
			return err
		}
		return b.WithProcess(ctx, callers.Role, func(child *process.Child) error {
			return b.WithService(ctx, contender.ServerRole, func(server *contender.Service) error {
				return w.watch(ctx, b, d, &callers.Callers{Child: child}, server, &seen)
			})
		})
	})
	if err != nil {
		return err
	}
	what := fmt.Sprintf("end of a task to the answer, %d wait", w.waiters)
	s.Add("wait_p50", what+", p50", "ms", figures.Percentile(seen.each, 0.50), nil)
	s.Add("wait_p99", what+", p99", "ms", figures.Percentile(seen.each, 0.99), figures.AtMost(100))
	s.Add("wait_max", what+", the latest", "ms", figures.Percentile(seen.each, 1), nil)
	s.Add("wait_memory", "memory of the server, peak", "MiB", float64(seen.peak)/mib, figures.AtMost(200))
	s.Add("wait_crowd_max", fmt.Sprintf("%d wait for the same task, the latest answer", w.crowd), "ms", figures.Percentile(seen.crowd, 1), nil)
	return nil
}

func (w wait) watch(ctx context.Context, b *bench.Bench, d *bench.Database, c *callers.Callers, server *contender.Service, seen *waited) error {
	address, err := start(ctx, b, d, server, contender.AnyPort)
	if err != nil {
		return err
	}
	keys, err := addKeys(ctx, d, max(w.waiters, w.crowd)/waitersPerKey+1)
	if err != nil {
		return err
	}
	place := callers.Place{Address: address, Keys: keys}
	each := make([]int64, w.waiters)
	for i := range each {
		each[i] = int64(i + 1)
	}
	if seen.each, err = w.end(ctx, d, c, place, each, 1, w.waiters); err != nil {
		return err
	}
	if seen.peak, err = process.PeakMemory(server.PID()); err != nil {
		return err
	}
	last := make([]int64, w.crowd)
	for i := range last {
		last[i] = int64(w.waiters + 1)
	}
	seen.crowd, err = w.end(ctx, d, c, place, last, w.waiters+1, w.waiters+1)
	return err
}

// end has clients wait for tasks, ends these, and returns from when to when each took.
func (w wait) end(ctx context.Context, d *bench.Database, c *callers.Callers, place callers.Place, tasks []int64, first, last int) ([]float64, error) {
	before, err := c.Answers(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.Wait(ctx, callers.WaitPlan{Place: place, Tasks: tasks, PerSecond: asksPerSecond}); err != nil {
		return nil, err
	}
	what := fmt.Sprintf("%d clients wait", len(tasks))
	if _, err := bench.Until(ctx, what, gatherLimit, listeners(place.Address, metrics.ListenerWait), func(n int) bool { return n == len(tasks) }); err != nil {
		return nil, err
	}
	if err := bench.Pause(ctx, bench.Settle); err != nil {
		return nil, err
	}
	done, err := completions.Run(ctx, d.URL, first, last, time.Duration(float64(time.Second)/w.rate))
	if err != nil {
		return nil, err
	}
	answers, err := bench.Until(ctx, "all are answered", answerLimit, c.Answers, func(a []callers.Answer) bool { return len(a) == len(before)+len(tasks) })
	if err != nil {
		return nil, err
	}
	var latencies []float64
	for _, a := range answers[len(before):] {
		if a.Status != http.StatusOK {
			return nil, fmt.Errorf("waiting for task %d: the answer has the status %d", a.Task, a.Status)
		}
		latencies = append(latencies, figures.Milliseconds(done[int(a.Task)-first].Latency(a.At)))
	}
	return latencies, nil
}
