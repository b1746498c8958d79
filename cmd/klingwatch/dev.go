package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"charm.land/lipgloss/v2"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/demo"
	"github.com/klingwatch/klingwatch/embeddedpg"
	"github.com/klingwatch/klingwatch/klingapi"
	"github.com/klingwatch/klingwatch/klingapi/klingsim"
	"github.com/klingwatch/klingwatch/metrics"
	"github.com/klingwatch/klingwatch/tracing"
	"github.com/klingwatch/klingwatch/web/pages"
	"github.com/klingwatch/klingwatch/webhook"
	"github.com/klingwatch/klingwatch/worker"
)

type devCommand struct {
	Exit  bool   `help:"Stop when the sample tasks have ended; exit code 0 only if all ended as expected and every webhook was verified."`
	Keep  string `help:"Keep data, log, ports and password in this directory, for the next run with it; default: everything is thrown away at the end." placeholder:"DIR"`
	Tasks int    `help:"Number of sample tasks." default:"20"`
	Seed  uint64 `help:"Seed of the simulated relay; default: random, and printed." placeholder:"N"`
}

// The service runs faster in dev than by default: a person is watching.
const (
	devLifetime      = 4 * time.Second
	devPollInterval  = 500 * time.Millisecond
	devPollRate      = 200
	devDeadline      = time.Hour
	devNotFoundGrace = 2 * time.Second
	devFaultRate     = 0.05
	devLimit         = 50 * time.Second // --exit gives up then
	devKey           = "dev-key"
	devNetworks      = "127.0.0.0/8" // where relay and receiver are
	devMaxFile       = "100MB"
)

// devStack is everything that dev runs.
type devStack struct {
	*demo.Surroundings
	place    *demo.Place
	database *database
	log      *slog.Logger
	logPath  string
	entry    pages.Entry // opens the pages logged in
	closers  []func() error
}

func (cmd devCommand) Run(ctx context.Context, c *console) (err error) {
	if cmd.Tasks < 1 {
		return fmt.Errorf("--tasks must be at least 1, not %d", cmd.Tasks)
	}
	s, err := loadSettings()
	if err != nil {
		return err
	}
	if s.DatabaseURL != "" {
		fmt.Fprintln(c.err, "dev never touches DATABASE_URL: it uses an embedded Postgres of its own")
	}
	if cmd.Exit {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, devLimit)
		defer cancel()
	}
	stack, err := cmd.start(ctx, c, s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stack.close()) }()

	ctx, stop := context.WithCancel(ctx)
	served := make(chan error, 1)
	go func() { served <- stack.serve(ctx); stop() }()
	defer func() {
		stop()
		if broken := <-served; broken != nil { // then the rest failed because of it
			err = broken
		}
	}()

	c.printStack(stack)
	good, err := stack.show(ctx, c, cmd.Tasks)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("the sample tasks had not all ended after %s; seed %d", devLimit, stack.Relay.Seed())
	case err != nil:
		return err
	case !good && cmd.Exit:
		return cmd.unexpected(stack)
	case !good:
		fmt.Fprintln(c.err, cmd.unexpected(stack)) // a person looks into it
	case cmd.Exit:
		return nil
	}
	c.printInvitation(stack)
	begun := time.Now()
	demo.Watch(ctx, stack.database.Pool, func(h db.Happening) { _, _ = lipgloss.Fprintln(c.out, happenedLine(time.Since(begun), h)) })
	if cmd.Keep != "" {
		fmt.Fprintf(c.out, "\nstopped; data, log, ports and password are kept: %s dev --keep %s goes on\n", self(), cmd.Keep)
	} else {
		fmt.Fprintln(c.out, "\nstopped; the database and the log are removed")
	}
	return nil
}

// unexpected says how to see it again.
func (cmd devCommand) unexpected(d *devStack) error {
	return fmt.Errorf("not everything went as expected; to see it again: dev --exit --tasks %d --seed %d", cmd.Tasks, d.Relay.Seed())
}

// start brings up everything but the service; close takes it down again.
func (cmd devCommand) start(ctx context.Context, c *console, s settings) (*devStack, error) {
	d := &devStack{}
	if err := cmd.bringUp(ctx, c, s, d); err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

func (cmd devCommand) bringUp(ctx context.Context, c *console, s settings, d *devStack) (err error) {
	if d.place, err = cmd.openPlace(ctx); err != nil {
		return err
	}
	d.closers = append(d.closers, d.place.Close)
	cfg := embeddedpg.Config{DataDir: d.place.Postgres(), BinDir: s.PostgresBinDir, Alone: true, Notify: c.notify}
	if cmd.Keep == "" {
		cfg.Parameters = map[string]string{"fsync": "off", "cluster_name": db.ThrowawayCluster}
	}
	d.database, err = openEmbedded(ctx, cfg, serveConns)
	if errors.Is(err, embeddedpg.ErrInUse) {
		return fmt.Errorf("%w: end that one, or keep this one in another directory", err)
	}
	if err != nil {
		return err
	}
	d.closers = append(d.closers, d.database.close)
	around := demo.SurroundConfig{
		Relay: klingsim.Config{Seed: cmd.Seed, APIKey: devKey, Lifetime: devLifetime, FaultRate: devFaultRate}, AnyPorts: cmd.Exit, Notify: c.remark,
	}
	if os.Getenv("KLINGWATCH_LISTEN_ADDR") != "" {
		around.ServiceAddr = s.ListenAddr
	}
	if d.Surroundings, err = d.place.Surround(ctx, around); err != nil {
		return err
	}
	d.closers = append(d.closers, d.Surroundings.Close)

	// the log would disturb the progress: it goes beside the database
	d.logPath = filepath.Join(d.place.Dir, "klingwatch.log")
	logTo, err := os.OpenFile(d.logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("opening the log of the service: %w", err)
	}
	d.closers = append(d.closers, logTo.Close)
	s.LogFormat = "json"
	d.log = s.newLog(logTo)
	if err := d.Receiver.Subscribe(ctx, d.database.Pool, d.ReceiverURL); err != nil {
		return err
	}
	if d.place.APIKey, err = demo.APIKey(ctx, d.database.Pool, d.place.APIKey); err != nil {
		return err
	}
	d.entry = pages.NewEntry(d.place.APIKey)
	return d.place.Save()
}

func (cmd devCommand) openPlace(ctx context.Context) (*demo.Place, error) {
	if cmd.Keep == "" {
		demo.RemoveLeftPlaces(os.TempDir(), func(dir string) bool {
			_, _, err := embeddedpg.Find(ctx, embeddedpg.Config{DataDir: dir})
			return errors.Is(err, embeddedpg.ErrNotRunning)
		})
		return demo.NewPlace()
	}
	return demo.KeptPlace(cmd.Keep)
}

// close takes down what was brought up, the last first.
func (d *devStack) close() (err error) {
	for _, closer := range slices.Backward(d.closers) {
		err = errors.Join(err, closer())
	}
	return err
}

// serve runs the service itself, as the serve command does.
func (d *devStack) serve(ctx context.Context) error {
	relay, err := klingapi.New(klingapi.Config{BaseURL: d.RelayURL, Credential: klingapi.StaticKey(devKey)})
	if err != nil {
		return err
	}
	defer relay.Close()
	own := settings{
		BaseURL: d.RelayURL, APIKey: devKey, PollRate: devPollRate, PollTimeout: klingapi.DefaultTimeout,
		TaskDeadline: devDeadline, PollInterval: devPollInterval, WebhookTimeout: webhook.DefaultTimeout, AllowNetworks: devNetworks,
		Archive: "file:", DataDir: d.place.Dir, ArchiveNetworks: devNetworks, ArchiveMaxSize: devMaxFile, PublicURL: d.serviceURL(),
	}
	webhooks := own.webhooks()
	defer webhooks.Close()
	store, err := own.store()
	if err != nil {
		return err
	}
	tracer, stopTracing, err := tracing.Start(ctx, version(), d.log)
	if err != nil {
		return err
	}
	defer stopTracing()
	m := metrics.New()
	s := service{
		settings: own, store: store, listener: d.Service, database: d.database, metrics: m, log: d.log,
		webhooks: webhooks, tracer: tracer, entry: d.entry,
	}
	return serve(ctx, s, worker.New(worker.Config{
		Pool: d.database.Pool, Relay: relay, Webhooks: webhooks, Metrics: m, Log: d.log,
		PollInterval: devPollInterval, PollRate: devPollRate, PollTimeout: klingapi.DefaultTimeout,
		TaskDeadline: devDeadline, WebhookTimeout: webhook.DefaultTimeout, NotFoundGrace: devNotFoundGrace, Tracer: tracer,
		Archive: own.archive(ctx, store),
	}))
}

// show inserts the sample tasks, shows their progress until all have ended, their
// files are kept and every webhook has arrived, and reports whether all went as expected.
func (d *devStack) show(ctx context.Context, c *console, n int) (good bool, err error) {
	run, err := demo.Start(ctx, d.database.Pool, d.Receiver, n, d.place.Run)
	if err != nil {
		return false, err
	}
	p := c.newProgress(n, "")
	begun := time.Now()
	err = run.Follow(ctx, func(now demo.Progress) {
		if now.Task != nil {
			p.line("%s", endedLine(time.Since(begun), *now.Task))
		}
		p.set(now.Ended, fmt.Sprintf("%d of %d tasks ended, %d webhooks verified", now.Ended, n, now.Verified))
	})
	p.end()
	if err != nil {
		return false, err
	}
	rows, err := run.Compare(ctx)
	if err != nil {
		return false, err
	}
	good = c.printComparison(rows, d.Receiver.Refused())
	d.Relay.ClearFiles() // as the provider does after 30 days
	served, err := run.CheckFiles(ctx, d.serviceURL(), d.place.APIKey)
	if err != nil {
		return false, err
	}
	fmt.Fprintf(c.out, "\nThe relay has deleted its files; klingwatch has kept %d and serves them.\n", served)
	return good, nil
}

// endedLine shows a task that ended, some time after the beginning.
func endedLine(after time.Duration, task db.TaskStatus) string {
	return fmt.Sprintf("%5.1fs  %-28s %s  %s", after.Seconds(), clean(task.TaskID),
		styleOf(task.Status).Render(task.Status), dimStyle.Render(clean(cut(task.StatusMessage, 80))))
}

// printComparison prints what became of the samples as a table, and reports
// whether all was as expected.
func (c *console) printComparison(rows []demo.Row, refused int) (good bool) {
	good = refused == 0
	cells := make([][]string, len(rows))
	for i, r := range rows {
		verdict := "ok"
		if r.Wrong != "" {
			verdict, good = "wrong", false
		}
		cells[i] = []string{r.Path, r.TaskID, r.Status, strconv.Itoa(r.Polls), strconv.Itoa(r.Webhooks), strconv.Itoa(r.Files), verdict, r.Wrong}
	}
	fmt.Fprintln(c.out)
	c.printTable([]string{"PATH", "TASK", "STATUS", "POLLS", "WEBHOOKS", "FILES", "CHECK", ""}, cells)
	if refused > 0 {
		fmt.Fprintf(c.out, "%d webhooks had a wrong signature\n", refused)
	}
	return good
}

func (c *console) printStack(d *devStack) {
	for _, line := range [][2]string{
		{"pages", d.serviceURL() + d.entry.Path()},
		{"service", d.serviceURL()},
		{"relay", fmt.Sprintf("%s  (simulated, seed %d)", d.RelayURL, d.Relay.Seed())},
		{"receiver", d.ReceiverURL},
		{"database", d.database.url},
		{"log", d.logPath},
	} {
		_, _ = lipgloss.Fprintln(c.out, fmt.Sprintf("%s %s", headStyle.Render(fmt.Sprintf("%-9s", line[0])), line[1]))
	}
	fmt.Fprintln(c.out)
}

func (d *devStack) serviceURL() string { return "http://" + d.Service.Addr().String() }

// self is how this program was called.
func self() string {
	if strings.Contains(os.Args[0], "go-build") { // by go run
		return "go run ./cmd/klingwatch"
	}
	return os.Args[0]
}

// printInvitation prints what makes the other commands talk to this one, and some to try.
func (c *console) printInvitation(d *devStack) {
	fmt.Fprintln(c.out, strings.Join([]string{
		"", "Everything keeps running. Look at it, logged in:", "",
		"  " + d.serviceURL() + d.entry.Path(), "",
		"In another terminal:", "",
		"  export DATABASE_URL='" + d.database.url + "'",
		"  export KLING_BASE_URL=" + d.RelayURL + " KLING_API_KEY=" + devKey,
		"  export KLINGWATCH_LISTEN_ADDR=" + d.Service.Addr().String() + " KLINGWATCH_WEBHOOK_ALLOW_NETWORKS=127.0.0.0/8", "",
		"  " + self() + " sql \"insert into klingwatch.tasks (task_id, action, action2) values ('my-first', 'videos', 'text2video')\"",
		"  " + self() + " show my-first",
		"  psql $DATABASE_URL",
		"  curl -H 'Authorization: Bearer " + d.place.APIKey + "' '" + d.serviceURL() + "/v1/tasks?limit=2'", "",
		"The HTTP API is described at " + d.serviceURL() + "/docs.",
		self() + " sim --help lists what a task id can ask of the simulated relay. What happens is shown here; Ctrl-C ends it all.", "",
	}, "\n"))
}

// happenedLine shows something that happened, some time after the beginning.
func happenedLine(after time.Duration, h db.Happening) string {
	status := strings.TrimPrefix(h.EventType, "task.")
	line := fmt.Sprintf("%5.1fs  %-28s ", after.Seconds(), clean(h.TaskID))
	if h.URL == "" {
		return line + styleOf(status).Render(status) + dimStyle.Render("  "+clean(cut(h.Message, 80)))
	}
	answer := strconv.Itoa(h.StatusCode)
	if h.Message != "" {
		answer = clean(cut(h.Message, 80))
	}
	return line + dimStyle.Render(fmt.Sprintf("webhook %s -> %s: %s", h.EventType, clean(h.URL), answer))
}
