package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/klingwatch/klingwatch/cmd/klingbench/figures"
	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/operate"
)

const (
	// readyLimit bounds the start of the services.
	readyLimit = 60 * time.Second
	// tailLimit is how long everything may take to come to its end after the last
	// fault. The wait after the second failure of a webhook, five minutes, is not in
	// it: receivers refuse once.
	tailLimit = 90 * time.Second
)

// Command is the chaos run.
type Command struct {
	Seed           uint64   `help:"Draws the faults, the tasks and the relay's errors; 0: a random one, which is printed."`
	Minutes        float64  `default:"5" help:"How long faults happen; afterwards, up to 90 s are left for everything to end."`
	Only           []string `placeholder:"KIND" help:"Only these kinds of faults, separated by commas: ${chaos_kinds}."`
	Binary         string   `placeholder:"FILE" help:"The klingwatch to run; default: built from the sources."`
	Logs           string   `placeholder:"DIR" help:"Keep the logs of klingwatch there."`
	PostgresBinDir string   `placeholder:"DIR" help:"Directory of the programs of Postgres; default: searched for."`
}

// Kinds describes the kinds of faults, for help texts.
func Kinds() string { return strings.Join(kindNames(), ", ") }

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
		err = fmt.Errorf("%d faults of klingwatch; repeat the run with --seed %d --minutes %v", faults, cmd.Seed, cmd.Minutes)
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
	cluster   *cluster
	apps      *proxy
	services  []*service
	watches   []*watch
	receivers *receivers
	producer  *producer
	person    *person
	stage     *stage
}

// open starts everything. It returns the kinds of faults that can be had here.
func (r *run) open(ctx context.Context, of []kind) (_ []kind, err error) {
	if r.dir, err = os.MkdirTemp("", "klingbench-chaos-"); err == nil {
		err = os.Chmod(r.dir, 0o755) // the server's user enters it
	}
	if err != nil {
		return nil, fmt.Errorf("creating a directory for the run: %w", err)
	}
	r.say("building klingwatch")
	if r.binary, err = buildKlingwatch(ctx, r.Binary, r.dir); err != nil {
		return nil, err
	}
	r.say("starting Postgres")
	theClock, of := r.findClock(of)
	if r.cluster, err = openCluster(ctx, r.dir, r.PostgresBinDir, theClock, r.say); err != nil {
		return nil, err
	}
	of = r.withoutImpossible(ctx, of)
	owner := settings(urlAt(r.cluster.current().addr(), ownerRole, r.cluster.password), "")
	if _, err := command(ctx, r.binary, owner, "migrate"); err != nil {
		return nil, err
	}
	r.say("starting klingwatch")
	if err := r.openOutside(); err != nil {
		return nil, err
	}
	if err := r.openServices(); err != nil {
		return nil, err
	}
	if err := r.untilReady(ctx); err != nil {
		return nil, err
	}
	return of, r.subscribe(ctx)
}

// findClock returns the clock for Postgres, nil where none is needed or there is
// none, and the kinds that are left.
func (r *run) findClock(of []kind) (*serverClock, []kind) {
	left := without(of, clock)
	if len(left) == len(of) {
		return nil, of
	}
	found, err := findClock(r.dir)
	if err != nil {
		r.report.printf("clock steps are left out: %s", err)
		return nil, left
	}
	return found, of
}

// withoutImpossible leaves out what this machine's Postgres cannot do, and says so.
func (r *run) withoutImpossible(ctx context.Context, of []kind) []kind {
	if r.cluster.clock != nil {
		if err := r.cluster.clock.check(ctx, r.cluster.current()); err != nil {
			r.report.printf("clock steps are left out: %s", err)
			of = without(of, clock)
		}
	}
	if left := without(without(of, flip), flipLossy); len(left) < len(of) && !r.cluster.canCopy() {
		r.report.printf("flips are left out: there is no pg_basebackup beside postgres in %s", r.cluster.current().bin)
		of = left
	}
	return of
}

// openOutside opens what klingwatch talks to: the addresses of Postgres, the relay,
// the receivers.
func (r *run) openOutside() error {
	r.stage = &stage{cluster: r.cluster, clock: r.cluster.clock, report: r.report, relay: newRelay(r.Seed)}
	for range workers + 1 {
		p, err := newProxy(r.cluster.current().addr())
		if err != nil {
			return err
		}
		r.closers = append(r.closers, p.close)
		r.stage.everybody = append(r.stage.everybody, p)
	}
	r.stage.addresses, r.apps = r.stage.everybody[:workers], r.stage.everybody[workers]
	r.receivers = newReceivers()
	r.stage.receivers = r.receivers
	return nil
}

// openServices starts the services, which run until the end.
func (r *run) openServices() error {
	relayURL, closeRelay, err := listenLocally(r.stage.relay)
	if err != nil {
		return err
	}
	r.closers = append(r.closers, closeRelay)
	for i, address := range r.stage.addresses {
		name := fmt.Sprintf("worker-%d", i+1)
		log, err := r.openLog(name)
		if err != nil {
			return err
		}
		s := &service{name: name, binary: r.binary, book: newLogbook(log), env: settings(urlAt(address.addr(), ownerRole, r.cluster.password), relayURL)}
		w := &watch{service: s}
		r.services, r.watches = append(r.services, s), append(r.watches, w)
		r.goes(s.run)
		r.goes(w.run)
	}
	r.stage.services = r.services
	r.person = &person{r.binary, settings(urlAt(r.apps.addr(), ownerRole, r.cluster.password), relayURL), r.cluster}
	return nil
}

// openLog is where the lines of a service are kept, if anywhere.
func (r *run) openLog(name string) (*os.File, error) {
	path := os.DevNull
	if r.Logs != "" {
		if err := os.MkdirAll(r.Logs, 0o755); err != nil {
			return nil, fmt.Errorf("keeping the logs: %w", err)
		}
		path = filepath.Join(r.Logs, name+".log")
	}
	log, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("keeping the logs: %w", err)
	}
	r.closers = append(r.closers, func() { _ = log.Close() })
	return log, nil
}

// goes runs something beside; where it breaks, everything ends.
func (r *run) goes(work func(context.Context) error) {
	r.beside.Go(func() {
		if err := work(r.life); err != nil {
			r.end(err)
		}
	})
}

// untilReady waits until all services say that they are.
func (r *run) untilReady(ctx context.Context) error {
	for deadline := time.Now().Add(readyLimit); ; {
		unready := ""
		for i, w := range r.watches {
			if !w.ready() {
				unready = r.services[i].book.last()
			}
		}
		if unready == "" {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("starting klingwatch: it is not ready after %s: %s", readyLimit, unready)
		}
		if err := pause(ctx, watchEvery); err != nil {
			return err
		}
	}
}

// subscribe adds the endpoint, and gives the receivers their secrets.
func (r *run) subscribe(ctx context.Context) error {
	url, closeReceivers, err := listenLocally(r.receivers)
	if err != nil {
		return err
	}
	r.closers = append(r.closers, closeReceivers)
	pool, err := db.Open(ctx, urlAt(r.cluster.current().addr(), ownerRole, r.cluster.password), 1)
	if err != nil {
		return err
	}
	defer pool.Close()
	endpoint, err := operate.AddEndpoint(ctx, pool, nil, operate.NewEndpoint{URL: url + endpointPath, Events: []string{"all"}})
	if err != nil {
		return err
	}
	keys, err := operate.VerificationKeys(ctx, pool, nil)
	if err != nil {
		return err
	}
	for _, key := range keys {
		if key.Endpoint == nil && key.Version == db.KeyV1 {
			err = errors.Join(err, r.receivers.trust(callbackPath, key.Secret))
		}
	}
	r.producer = newProducer(r.Seed, urlAt(r.apps.addr(), appRole, r.cluster.password), url+callbackPath)
	r.stage.producer = r.producer
	return errors.Join(err, r.receivers.trust(endpointPath, endpoint.Secret))
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
		if err := pause(ctx, o.at-time.Since(r.report.begun)); err != nil {
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
		_ = pause(ctx, length-time.Since(r.report.begun))
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
		if err := pause(ctx, second); err != nil {
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
	err := r.cluster.asAdmin(ctx, func(ctx context.Context, conn *pgx.Conn) (err error) {
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
		r.cluster.close()
	}
	if r.dir == "" {
		return nil
	}
	return os.RemoveAll(r.dir)
}
