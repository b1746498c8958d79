package polls

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/contender"
	"github.com/klingwatch/klingwatch/cmd/klingbench/figures"
	"github.com/klingwatch/klingwatch/cmd/klingbench/standin"
)

// LateCommand measures how exactly polls keep their time.
type LateCommand struct {
	bench.Options
	Tasks    int           `placeholder:"N" help:"Tasks in flight; default: 10000, with --quick 1000."`
	Interval time.Duration `default:"5s" help:"Between two polls of a task."`
	Rate     float64       `placeholder:"N" help:"Polls per second that are allowed; default: twice what the tasks need."`
	Window   time.Duration `placeholder:"TIME" help:"Time that is measured; default: 20s, with --quick 5s."`
}

// Run measures.
func (cmd LateCommand) Run(ctx context.Context, c *figures.Console) error {
	return cmd.Measure(ctx, c, "late", cmd.plan().measureLateness)
}

func (cmd LateCommand) plan() flight {
	f := flight{tasks: 10_000, interval: cmd.Interval, rate: cmd.Rate, window: 20 * time.Second, log: true}
	if cmd.Quick {
		f.tasks, f.window = 1_000, 5*time.Second
	}
	if cmd.Tasks > 0 {
		f.tasks = cmd.Tasks
	}
	if cmd.Window > 0 {
		f.window = cmd.Window
	}
	return f
}

// measureLateness flies and compares when polls were due with when they arrived.
func (f flight) measureLateness(ctx context.Context, b *bench.Bench) ([]figures.Figure, error) {
	seen, err := f.fly(ctx, b)
	if err != nil {
		return nil, err
	}
	late, err := seen.lateness()
	if err != nil {
		return nil, err
	}
	s := figures.NewSeries(figures.Median)
	s.Add("polls_per_second", strconv.Itoa(f.tasks)+" in flight", "polls/s", seen.Rate(), nil)
	s.Add("late_p50", "lateness at the relay, p50", "ms", figures.Percentile(late.arrived, 0.50), figures.AtMost(2))
	s.Add("late_p99", "lateness at the relay, p99", "ms", figures.Percentile(late.arrived, 0.99), figures.AtMost(20))
	s.Add("late_max", "lateness at the relay, the latest", "ms", figures.Percentile(late.arrived, 1), nil)
	s.Add("begun_late_p50", "lateness at the start of the request, p50", "ms", figures.Percentile(late.begun, 0.50), nil)
	s.Add("begun_late_p99", "lateness at the start of the request, p99", "ms", figures.Percentile(late.begun, 0.99), nil)
	s.Add("peak_per_second", "most polls in a second", "polls", float64(seen.peak), figures.AtMost(1.1*f.allowedRate()))
	s.Add("cpu_per_poll", "CPU per poll: client", "us", seen.PerRequest(seen.Client), nil)
	s.Add("postgres_cpu_per_poll", "CPU per poll: Postgres", "us", seen.PerRequest(seen.Postgres), nil)
	s.Add("others", "CPU of other work meanwhile", "%", seen.Others(), nil)
	s.Add("wal_per_poll", "WAL per poll", "B", seen.WALPerRequest(), nil)
	s.Add("memory_per_task", "memory per task", "KiB", seen.memoryPerTask(), nil)
	return s.Result(), nil
}

// awaitArrivals returns the log of the relay when all polls stand in it: the worker notes a
// poll before it sends the request, which on a busy machine is still on its way when the log
// of the worker has been read.
func awaitArrivals(ctx context.Context, polls []contender.Poll, look func(context.Context) ([]standin.Arrival, error)) ([]standin.Arrival, error) {
	return bench.Until(ctx, "all polls that the worker noted have arrived", arrivalLimit, look, func(arrivals []standin.Arrival) bool {
		missing := map[int64]int{}
		for _, p := range polls {
			missing[p.Task]++
		}
		for _, a := range arrivals {
			missing[int64(a.Task)]--
		}
		for _, n := range missing {
			if n > 0 {
				return false
			}
		}
		return true
	})
}

// lateness of the polls that were due in the window, in milliseconds.
type lateness struct{ begun, arrived []float64 }

// clockSlack: an arrival that is earlier than this before the start of its poll
// belongs to another poll.
const clockSlack = time.Millisecond

// lateness joins the two logs: the polls of a task follow each other, so the n-th
// poll of a task is its n-th arrival.
func (f flown) lateness() (lateness, error) {
	arrivals := map[int64][]int64{}
	for _, a := range f.arrivals {
		arrivals[int64(a.Task)] = append(arrivals[int64(a.Task)], a.At)
	}
	from, to := f.From.UnixNano(), f.From.Add(f.Elapsed).UnixNano()
	var late lateness
	for _, p := range f.polls {
		left := arrivals[p.Task]
		if len(left) == 0 {
			return late, fmt.Errorf("joining polls with their arrivals: a poll of task %d did not arrive", p.Task)
		}
		at := left[0]
		arrivals[p.Task] = left[1:]
		if at < p.Begun-int64(clockSlack) {
			return late, fmt.Errorf("joining polls with their arrivals: a poll of task %d arrived that the worker did not note", p.Task)
		}
		if p.Due >= from && p.Due < to {
			late.begun = append(late.begun, figures.Milliseconds(time.Duration(p.Begun-p.Due)))
			late.arrived = append(late.arrived, figures.Milliseconds(time.Duration(at-p.Due)))
		}
	}
	if len(late.arrived) == 0 {
		return late, fmt.Errorf("measuring lateness: no poll was due within %s; try a longer --window or a shorter --interval", f.Elapsed.Round(time.Second))
	}
	return late, nil
}
