package capacities

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/figures"
)

// Command computes how far one Postgres goes; it needs none itself.
type Command struct {
	figures.Output
	Cores     float64 `default:"2" help:"Cores of Postgres."`
	Processes float64 `default:"2" help:"Processes of klingwatch, each with a core of its own."`
	Memory    float64 `default:"4" help:"Memory of all processes, in GiB."`
	WAL       float64 `name:"wal" default:"20" help:"MB of write-ahead log per second that disk, replicas and archive take."`
	Rate      float64 `default:"1000" help:"Requests per second that the relay allows."`
	Tasks     int     `placeholder:"N" help:"Tasks that are simulated of each kind; default: 20000, with --quick 500."`
}

// busyPart of the cores may be busy on average; beyond, lateness grows.
const busyPart = 0.7

// kinds of tasks, from short ones that are polled often to long ones that sleep between
// their polls.
var kinds = []kind{
	{interval: 5 * time.Second, median: time.Minute},
	{interval: 5 * time.Second, median: 5 * time.Minute},
	{interval: 30 * time.Second, median: 10 * time.Minute},
	{interval: 2 * time.Minute, median: time.Hour},
	{interval: 5 * time.Minute, median: time.Hour},
}

// Run computes.
func (cmd Command) Run(ctx context.Context, c *figures.Console) error {
	begun, tasks := time.Now(), 20_000
	if cmd.Quick {
		tasks = 500
	}
	if cmd.Tasks > 0 {
		tasks = cmd.Tasks
	}
	s := figures.NewSeries(figures.Median)
	for _, k := range kinds {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		cmd.addKind(s, k, tasks)
	}
	s.Add("connections", fmt.Sprintf("connections to Postgres of %.0f processes", cmd.Processes), "", cmd.Processes*measured.connections, nil)
	return c.Print(cmd.Output, figures.NewDocument(ctx, cmd.Output, "capacity", begun, s.Result()))
}

func (cmd Command) machine(batch float64) machine {
	return machine{
		postgresCores: cmd.Cores, busyPart: busyPart, processes: cmd.Processes, clientCores: 1,
		memory: cmd.Memory * (1 << 30), wal: cmd.WAL * 1e6, rate: cmd.Rate, batch: batch,
	}
}

// addKind adds how many tasks of a kind can be in flight, and why no more.
func (cmd Command) addKind(s *figures.Series, k kind, tasks int) {
	l := k.simulate(tasks)
	name := fmt.Sprintf("_every_%s_for_%s", short(k.interval), short(k.median))
	s.Add("polls"+name, fmt.Sprintf("every %s, tasks of %s: polls of a task", short(k.interval), short(k.median)), "polls", l.polls, nil)
	s.Add("stays"+name, "  times that it is taken up", "", l.stays, nil)
	for _, one := range limits(l, measured, cmd.machine(1)) {
		if math.IsInf(one.tasks, 1) {
			continue // tasks that always leave hold no memory and no slot
		}
		s.Add("limit_"+one.name()+name, "  in flight until it runs out: "+one.of, "tasks", one.tasks, nil)
	}
	for _, batch := range []float64{1, 20} {
		most := k.most(tasks, cmd.machine(batch))
		s.Add(fmt.Sprintf("most_batch_%.0f%s", batch, name), fmt.Sprintf("  most in flight, %.0f in a request; the limit is %s", batch, most.of), "tasks", most.tasks, nil)
	}
}

// most is the first limit of a kind. Where slots run out first, waiting tasks leave, and
// the next limit is that of tasks that sleep between their polls.
func (k kind) most(tasks int, m machine) limit {
	staying := first(limits(k.simulate(tasks), measured, m))
	k.crowded = true
	leaving := first(limits(k.simulate(tasks), measured, m))
	if leaving.tasks > staying.tasks {
		return leaving
	}
	return staying
}

// short writes a duration without what is zero.
func short(d time.Duration) string {
	switch {
	case d%time.Hour == 0:
		return fmt.Sprintf("%dh", d/time.Hour)
	case d%time.Minute == 0:
		return fmt.Sprintf("%dm", d/time.Minute)
	}
	return d.String()
}
