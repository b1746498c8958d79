package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/metrics"
	"github.com/klingwatch/klingwatch/migrations"
	"github.com/klingwatch/klingwatch/operate"
	"github.com/klingwatch/klingwatch/tracing"
	"github.com/klingwatch/klingwatch/web"
	"github.com/klingwatch/klingwatch/worker"
)

type serveCommand struct {
	Migrate bool `help:"Bring the database schema up to date first."`
}

// Run serves until a signal; a second one ends the process at once.
func (cmd serveCommand) Run(ctx context.Context, c *console) (err error) {
	worker.TuneGC()
	s, err := loadSettings()
	if err != nil {
		return err
	}
	relay, err := s.relay()
	if err != nil {
		return err
	}
	defer relay.Close()
	listener, err := listen(ctx, "KLINGWATCH_LISTEN_ADDR", s.ListenAddr)
	if err != nil {
		return err
	}
	defer listener.Close()
	log := s.newLog(c.err)
	d, err := openDatabase(ctx, s, func(message string) { log.Info(message) })
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	if cmd.Migrate {
		applied, err := migrations.UpTelling(ctx, d.Pool, func(message string) { log.Info(message) })
		if err != nil {
			return err
		}
		if len(applied) > 0 {
			log.Info("migrated", "steps", migrations.Names(applied))
		}
	}
	switch err := requireSchema(ctx, d.Pool); {
	case errors.Is(err, migrations.ErrNewerDatabase):
		return err // --migrate would be refused as well
	case err != nil:
		return fmt.Errorf("%w, or start with serve --migrate", err)
	}
	tracer, stopTracing, err := tracing.Start(ctx, version(), log)
	if err != nil {
		return err
	}
	defer stopTracing()
	m := metrics.New()
	m.Build.WithLabelValues(version()).Set(1)
	webhooks := s.webhooks()
	defer webhooks.Close()
	return serve(ctx, s, listener, d, m, log, worker.New(worker.Config{
		Pool: d.Pool, Relay: relay, Webhooks: webhooks, Metrics: m, Log: log,
		PollInterval: s.PollInterval, PollRate: s.PollRate, PollTimeout: s.PollTimeout,
		TaskDeadline: s.TaskDeadline, WebhookTimeout: s.WebhookTimeout, Keyring: s.keyring(), Tracer: tracer, UserAgent: userAgent(), DeliveryRetention: s.DeliveryRetention, Retention: s.Retention,
	}))
}

// listen opens addr; setting names where it came from.
func listen(ctx context.Context, setting, addr string) (net.Listener, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", addr)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("%s: %s is in use by another program: choose another port, or 0 for a free one", setting, addr)
	case err != nil:
		return nil, fmt.Errorf("%s: cannot listen on %q: %w", setting, addr, err)
	}
	return listener, nil
}

// serve runs the worker and the HTTP side until ctx ends. While it drains,
// /readyz says no and the rest still answers.
func serve(ctx context.Context, s settings, listener net.Listener, d *database, m *metrics.Metrics, log *slog.Logger, w *worker.Worker) error {
	var draining atomic.Bool
	server := &http.Server{
		Handler:           web.Handler(readiness(d, w, &draining), m.Handler(), func(ctx context.Context) ([]string, error) { return operate.PublicKeys(ctx, d.Pool, s.keyring()) }),
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	log.Info("listening", "addr", listener.Addr().String(), "version", version())

	unwatch := context.AfterFunc(ctx, func() {
		draining.Store(true)
		log.Info("stopping; a second signal stops at once")
	})
	defer unwatch()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	worked := make(chan error, 1)
	go func() { worked <- w.Run(ctx) }()

	var err error
	select {
	case err = <-worked:
	case err = <-served: // the listener broke
		draining.Store(true)
		cancel()
		err = errors.Join(err, <-worked)
	}
	shutdown, done := context.WithTimeout(context.Background(), time.Second)
	defer done()
	_ = server.Shutdown(shutdown)
	if err == nil {
		log.Info("stopped")
	}
	return err
}

// readiness are the conditions of /readyz. Whoever asks it needs no key: it tells the kind
// of a trouble with the database, not where that is.
func readiness(d *database, w *worker.Worker, draining *atomic.Bool) []web.Check {
	return []web.Check{
		{Name: "database", Ask: func(ctx context.Context) error { return troubleOf(db.Ping(ctx, d.Pool)) }},
		{Name: "migrations", Ask: func(ctx context.Context) error {
			pending, err := migrations.Pending(ctx, d.Pool)
			switch {
			case errors.Is(err, migrations.ErrNewerDatabase):
				return web.Advisory(err) // the database was migrated since the start: this process works until it is replaced
			case len(pending) > 0:
				return lacking(pending)
			}
			return troubleOf(err)
		}},
		{Name: "worker", Ask: func(context.Context) error {
			if draining.Load() {
				return errors.New("draining: the process is stopping")
			}
			if !w.Working() {
				return errors.New("River is not running")
			}
			return nil
		}},
		{Name: "polling", Ask: func(ctx context.Context) error {
			reasons, err := d.paused(ctx)
			if len(reasons) > 0 {
				return web.Advisory(errors.New(strings.Join(reasons, "; ")))
			}
			return web.Advisory(troubleOf(err))
		}},
		{Name: "paths", Ask: func(context.Context) error {
			if unserved := w.UnservedPaths(); len(unserved) > 0 {
				return web.Advisory(fmt.Errorf("not served, or not to this key: %s; check the address, the path and the key", strings.Join(unserved, ", ")))
			}
			return nil
		}},
		{Name: "relays", Ask: func(context.Context) error {
			if unasked := w.Unasked(); len(unasked) > 0 {
				return web.Advisory(fmt.Errorf("this process does not poll %s", strings.Join(unasked, "; ")))
			}
			return nil
		}},
	}
}

// troubleOf says what kind of trouble the database is in.
func troubleOf(err error) error {
	switch outage := db.OutageOf(err); {
	case err == nil:
		return nil
	case outage == db.ReadOnly:
		return db.ErrReadOnly
	case outage == db.Unreachable, errors.Is(err, context.Canceled):
		return errors.New("the database does not answer")
	case outage != db.NoOutage:
		return fmt.Errorf("the database is in trouble: %s", outage)
	}
	return errors.New("the database answers with an error; klingwatch doctor tells it")
}
