package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/chaos/cluster"
	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/operate"
)

// readyLimit bounds the start of the services.
const readyLimit = 60 * time.Second

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
	of = r.findClock(of)
	if r.cluster, err = cluster.Open(ctx, r.dir, r.PostgresBinDir, r.clock, r.say); err != nil {
		return nil, err
	}
	of = r.withoutImpossible(ctx, of)
	owner := settings(r.cluster.URL(r.cluster.Current().Addr(), cluster.Owner), "")
	if err := command(ctx, r.binary, owner, "migrate"); err != nil {
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

// findClock finds the clock for Postgres where one is needed, and returns the kinds
// that are left.
func (r *run) findClock(of []kind) []kind {
	left := without(of, clock)
	if len(left) == len(of) {
		return of
	}
	found, err := cluster.FindClock(r.dir)
	if err != nil {
		r.report.printf("clock steps are left out: %s", err)
		return left
	}
	r.clock = found
	return of
}

// withoutImpossible leaves out what this machine's Postgres cannot do, and says so.
func (r *run) withoutImpossible(ctx context.Context, of []kind) []kind {
	if r.clock != nil {
		if err := r.clock.Check(ctx, r.cluster.Current()); err != nil {
			r.report.printf("clock steps are left out: %s", err)
			of = without(of, clock)
		}
	}
	left := without(without(of, flip), flipLossy)
	if len(left) == len(of) {
		return of
	}
	if err := r.cluster.CanCopy(); err != nil {
		r.report.printf("flips are left out: %s", err)
		return left
	}
	return of
}

// openOutside opens what klingwatch talks to: the addresses of Postgres, the relay,
// the receivers.
func (r *run) openOutside() error {
	r.stage = &stage{cluster: r.cluster, clock: r.clock, report: r.report, relay: newRelay(r.Seed)}
	for range workers + 1 {
		p, err := newProxy(r.cluster.Current().Addr())
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
		s := &service{name: name, binary: r.binary, book: newLogbook(log), env: settings(r.cluster.URL(address.addr(), cluster.Owner), relayURL)}
		w := &watch{service: s}
		r.services, r.watches = append(r.services, s), append(r.watches, w)
		r.goes(s.run)
		r.goes(w.run)
	}
	r.stage.services, r.stage.watches = r.services, r.watches
	r.person = &person{r.binary, settings(r.cluster.URL(r.apps.addr(), cluster.Owner), relayURL), r.cluster}
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

// untilReady waits until all services say that they are, and work.
func (r *run) untilReady(ctx context.Context) error {
	for deadline := time.Now().Add(readyLimit); ; {
		unready := ""
		for i, w := range r.watches {
			if !w.ready() || !r.services[i].book.working() {
				unready = r.services[i].book.last()
			}
		}
		if unready == "" {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("starting klingwatch: it is not ready after %s: %s", readyLimit, unready)
		}
		if err := bench.Pause(ctx, watchEvery); err != nil {
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
	pool, err := db.Open(ctx, r.cluster.URL(r.cluster.Current().Addr(), cluster.Owner), 1)
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
	r.producer = newProducer(r.Seed, r.cluster.URL(r.apps.addr(), cluster.App), url+callbackPath)
	r.stage.producer = r.producer
	return errors.Join(err, r.receivers.trust(endpointPath, endpoint.Secret))
}
