package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/klingwatch/klingwatch/archive"
	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/doctor"
	"github.com/klingwatch/klingwatch/feed"
	"github.com/klingwatch/klingwatch/metrics"
	"github.com/klingwatch/klingwatch/migrations"
	"github.com/klingwatch/klingwatch/operate"
	"github.com/klingwatch/klingwatch/outbound"
	"github.com/klingwatch/klingwatch/relays"
	"github.com/klingwatch/klingwatch/tracing"
	"github.com/klingwatch/klingwatch/web"
	"github.com/klingwatch/klingwatch/web/api"
	"github.com/klingwatch/klingwatch/web/jobs"
	"github.com/klingwatch/klingwatch/web/pages"
	"github.com/klingwatch/klingwatch/webhook"
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
	store, err := s.store()
	if err != nil {
		return err
	}
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
	own := service{settings: s, listener: listener, database: d, metrics: m, log: log, webhooks: webhooks, tracer: tracer, store: store}
	if own.entry, err = own.invite(ctx); err != nil {
		return err
	}
	return serve(ctx, own, worker.New(worker.Config{
		Pool: d.Pool, Relay: relay, Webhooks: webhooks, Metrics: m, Log: log,
		PollInterval: s.PollInterval, PollRate: s.PollRate, PollTimeout: s.PollTimeout,
		TaskDeadline: s.TaskDeadline, WebhookTimeout: s.WebhookTimeout, Keyring: s.keyring(), Tracer: tracer, UserAgent: userAgent(), DeliveryRetention: s.DeliveryRetention, Retention: s.Retention,
		Archive: s.archive(ctx, store),
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

// service is what serve and dev run.
type service struct {
	settings
	listener net.Listener
	database *database
	metrics  *metrics.Metrics
	log      *slog.Logger
	webhooks *webhook.Client
	tracer   trace.Tracer
	store    archive.Store // of kept files; nil: there is none
	entry    pages.Entry   // lets a person in who has no key
}

// handler is all that is served over HTTP; run works in the background until ctx ends.
func (s service) handler(ctx context.Context, w *worker.Worker, draining *atomic.Bool) (h http.Handler, events *feed.Feed, run func(context.Context), err error) {
	events = feed.New(s.database.Pool, &s.metrics.Feed, s.log)
	var shown *pages.Pages
	served, err := api.New(api.Config{
		Pool: s.database.Pool, Feed: events, Keyring: s.keyring(), Webhooks: s.webhooks, Log: s.log, TaskDeadline: s.TaskDeadline, RequestRate: s.APIRate,
		Metrics: &s.metrics.Callbacks, PollInterval: s.PollInterval, Archive: s.store, PublicURL: s.publicURL(),
		Session: func(r *http.Request) (db.APIKey, error) { return shown.SessionOf(r) },
	})
	if err != nil {
		return nil, nil, nil, err
	}
	queue, err := w.JobsPage("/jobs")
	if err != nil {
		return nil, nil, nil, err
	}
	shown = pages.New(pages.Config{
		Pool: s.database.Pool, Feed: events, Log: s.log, Keyring: s.keyring(), Webhooks: s.webhooks, Archive: s.store, TaskDeadline: s.TaskDeadline,
		PollInterval: s.PollInterval, PollRate: s.PollRate, UserAgent: userAgent(), Entry: s.entry, Callers: served.Callers(), SeeVisit: api.NoteAPIKey,
		Doctor: s.examine, CheckRelay: s.checkRelay, Jobs: jobs.Handler(queue), FilesAt: s.filesAt(ctx), About: s.about(),
	})
	for _, route := range shown.Routes() {
		s.metrics.HTTP.Serve(route.Pattern)
	}
	for _, route := range served.Routes() {
		s.metrics.HTTP.Serve(route.Method + " " + route.Path)
	}
	keys := func(ctx context.Context) ([]string, error) {
		return operate.PublicKeys(ctx, s.database.Pool, s.keyring())
	}
	front := web.Front{Log: s.log, Metrics: &s.metrics.HTTP, Tracer: s.tracer, Hosts: listed(s.Hosts), Origins: listed(s.CORSOrigins)}
	return front.Wrap(web.Handler(readiness(s.database, w, draining), s.metrics.Handler(), keys, served, shown)), events, func(ctx context.Context) {
		var running sync.WaitGroup
		running.Go(func() { events.Run(ctx) })
		running.Go(func() { served.Run(ctx) })
		running.Wait()
	}, nil
}

// about is what the pages tell of the deployment.
func (s service) about() pages.About {
	return pages.About{
		Version: version(), PublicURL: s.publicURL(), Encrypted: s.keyring().Encrypts(),
		Retention: s.Retention, ArchiveRetention: s.ArchiveRetention, DeliveryRetention: s.DeliveryRetention,
	}
}

// filesAt is the origin that browsers are sent to for kept files. Only Amazon is asked for it,
// and only where no region is set.
func (s service) filesAt(ctx context.Context) string {
	if s.store == nil {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	origin, err := archive.Origin(ctx, s.store)
	if err != nil {
		s.log.Warn("the pages will not show kept files until klingwatch is started again", "error", err)
	}
	return origin
}

// examine is what klingwatch doctor finds, as seen from here.
func (s service) examine(ctx context.Context) (findings []doctor.Finding) {
	cfg, done := s.examination(ctx)
	defer done()
	cfg.Database = func(context.Context) (string, error) { return s.database.url, nil }
	_ = doctor.Examine(ctx, cfg, func(f doctor.Finding) { findings = append(findings, f) }) // it ends early only with ctx
	return findings
}

// checkRelay asks a relay as klingwatch relays check does.
func (s service) checkRelay(ctx context.Context, name string) (pages.CheckedRelay, error) {
	own, err := s.relay()
	if err == nil {
		defer own.Close()
	}
	v, err := operate.CheckRelay(ctx, s.database.Pool, name, own, relays.Options{Keyring: s.keyring(), Timeout: s.PollTimeout, UserAgent: userAgent()})
	return pages.CheckedRelay{Found: outbound.Line(v.String()), Advice: v.Advice()}, err
}

// invite makes an entry for the first person, where there is no API key yet, and tells it.
func (s service) invite(ctx context.Context) (pages.Entry, error) {
	if found, err := db.AnyAPIKey(ctx, s.database.Pool); err != nil || found {
		return pages.Entry{}, err
	}
	base := s.publicURL()
	if base == "" {
		base, _ = localURL(s.listener.Addr().String()) // it is where we listen
	}
	entry := pages.NewEntry("")
	s.log.Info("there is no API key yet: open this link, once, to make the first and to log in", "link", base+entry.Path())
	return entry, nil
}

// serve runs the worker and the HTTP side until ctx ends. While it drains,
// /readyz says no and the rest still answers; streams and waits end first, so that
// clients go to another process.
func serve(ctx context.Context, s service, w *worker.Worker) error {
	var draining atomic.Bool
	handler, events, run, err := s.handler(ctx, w, &draining)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(s.listener) }()
	s.log.Info("listening", "addr", s.listener.Addr().String(), "version", version())

	unwatch := context.AfterFunc(ctx, func() {
		draining.Store(true)
		events.Close()
		s.log.Info("stopping; a second signal stops at once")
	})
	defer unwatch()
	ctx, cancel := context.WithCancel(ctx)
	var background sync.WaitGroup
	defer background.Wait()
	defer cancel()
	background.Go(func() { run(ctx) })
	worked := make(chan error, 1)
	go func() { worked <- w.Run(ctx) }()

	select {
	case err = <-worked:
	case err = <-served: // the listener broke
		draining.Store(true)
		cancel()
		err = errors.Join(err, <-worked)
	}
	events.Close()
	shutdown, done := context.WithTimeout(context.Background(), time.Second)
	defer done()
	if server.Shutdown(shutdown) != nil {
		_ = server.Close() // a client goes on with its download at another process
	}
	if err == nil {
		s.log.Info("stopped")
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
