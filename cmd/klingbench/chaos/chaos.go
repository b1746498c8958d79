package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/chaos/cluster"
	"github.com/klingwatch/klingwatch/cmd/klingbench/figures"
)

// tailLimit is how long everything may take to come to its end after the last fault.
// The wait after the second failure of a webhook, five minutes, is not in it: receivers
// refuse once.
const tailLimit = 90 * time.Second

// Command is the chaos run.
type Command struct {
	Seed           uint64   `help:"Draws the faults, the tasks and the relay's errors; 0: a random one, which is printed."`
	Minutes        float64  `default:"5" help:"How long faults happen; afterwards, up to 90 s are left for everything to end."`
	Only           []string `placeholder:"KIND" help:"Only these kinds of faults, separated by commas."`
	Binary         string   `placeholder:"FILE" help:"The klingwatch to run; default: built from the sources."`
	Logs           string   `placeholder:"DIR" help:"Keep the logs of klingwatch there."`
	PostgresBinDir string   `placeholder:"DIR" help:"Directory of the programs of Postgres; default: searched for."`
}

// Help lists the kinds of faults.
func (Command) Help() string {
	var help strings.Builder
	help.WriteString("The kinds of faults:\n")
	for _, k := range kinds {
		fmt.Fprintf(&help, "\n%s: %s.\n", k.name, k.help)
	}
	return help.String()
}

// Run makes everything fail, and returns an error when klingwatch did, too.
func (cmd Command) Run(ctx context.Context, c *figures.Console) (err error) {
	if runtime.GOOS != "linux" {
		return errors.New("chaos needs Linux: it finds the processes of Postgres, and their memory, in /proc")
	}
	of, err := kindsNamed(cmd.Only)
	if err != nil {
		return err
	}
	if cmd.Seed == 0 {
		cmd.Seed = uint64(rand.Uint32()) + 1 // short enough to type
	}
	progress := figures.NewProgress(c.Err)
	defer progress.End()
	r := &run{Command: cmd, report: &report{out: c.Out, begun: time.Now()}, say: progress.Say}
	r.life, r.end = context.WithCancelCause(ctx)
	defer func() { err = errors.Join(err, r.close()) }()
	of, err = r.open(r.life, of)
	progress.End()
	if err == nil {
		err = r.chaos(r.life, of)
	}
	if cause := context.Cause(r.life); cause != nil && ctx.Err() == nil {
		return cause // something that runs beside broke
	}
	if err != nil {
		return err
	}
	faults, err := r.verdict(r.life)
	if err == nil && faults > 0 {
		again := fmt.Sprintf("--seed %d --minutes %v", cmd.Seed, cmd.Minutes)
		if len(cmd.Only) > 0 {
			again += " --only " + strings.Join(cmd.Only, ",")
		}
		err = fmt.Errorf("%d faults of klingwatch; repeat the run with %s", faults, again)
	}
	return err
}

// run is one run of the program, from the first process to the last.
type run struct {
	Command
	report *report
	say    func(string)

	life    context.Context // of all that runs beside
	end     context.CancelCauseFunc
	beside  sync.WaitGroup
	dir     string
	closers []func()

	binary    string
	cluster   *cluster.Cluster
	clock     *cluster.Clock // nil: the true one
	apps      *proxy
	services  []*service
	watches   []*watch
	receivers *receivers
	producer  *producer
	person    *person
	stage     *stage
}

// chaos lets the plan happen while tasks are inserted, and waits until all is over.
func (r *run) chaos(ctx context.Context, of []kind) error {
	length := time.Duration(r.Minutes * float64(time.Minute))
	plan := makePlan(r.Seed, length, of)
	r.report.printf("seed %d, %s, %d faults", r.Seed, length, len(plan))
	r.report.begun = time.Now()
	busy, stop := context.WithCancel(ctx)
	defer stop()
	var people sync.WaitGroup
	people.Go(func() {
		if err := r.producer.run(busy, ctx); err != nil {
			r.end(err)
		}
	})
	people.Go(func() { r.person.run(busy) })
	var faults sync.WaitGroup
	for _, o := range plan {
		if err := bench.Pause(ctx, o.at-time.Since(r.report.begun)); err != nil {
			break
		}
		faults.Go(func() {
			if err := r.stage.perform(ctx, o); err != nil {
				r.end(err)
			}
		})
	}
	faults.Wait()
	if ctx.Err() == nil {
		_ = bench.Pause(ctx, length-time.Since(r.report.begun))
		r.report.saidf("the faults are over")
	}
	stop()
	people.Wait()
	return context.Cause(ctx)
}

// verdict waits until everything has come to its end, and judges it.
func (r *run) verdict(ctx context.Context) (faults int, err error) {
	began := time.Now()
	for {
		settled, err := r.settled(ctx)
		if err != nil {
			return 0, err
		}
		if settled || time.Since(began) > tailLimit {
			break
		}
		if err := bench.Pause(ctx, second); err != nil {
			return 0, err
		}
	}
	r.report.saidf("%d inserts had to be repeated; the end took %s", r.producer.failures(), time.Since(began).Round(second))
	f, err := r.gather(ctx)
	if err != nil {
		return 0, err
	}
	return r.report.verdicts(judge(f)), nil
}

// settled reports whether there is nothing left to wait for.
func (r *run) settled(ctx context.Context) (bool, error) {
	for _, w := range r.watches {
		if !w.ready() {
			return false, nil
		}
	}
	if err := r.person.cancelAll(ctx); err != nil {
		return false, nil // klingwatch may just have ended it, or not answer yet
	}
	var open, pending int
	var limbo []string
	err := r.cluster.AsAdmin(ctx, func(ctx context.Context, conn *pgx.Conn) (err error) {
		if open, pending, err = openWork(ctx, conn); err != nil {
			return err
		}
		limbo, err = readLimbo(ctx, conn)
		return err
	})
	return open+pending+len(limbo) == 0, err
}

// close ends everything that was started, and removes what it left.
func (r *run) close() error {
	r.end(context.Canceled)
	r.beside.Wait()
	for _, c := range r.closers {
		c()
	}
	if r.cluster != nil {
		r.cluster.Close()
	}
	if r.dir == "" {
		return nil
	}
	return os.RemoveAll(r.dir)
}
