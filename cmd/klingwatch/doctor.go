package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/embeddedpg"
	"github.com/klingwatch/klingwatch/outbound"
)

type doctorCommand struct {
	JSON bool `help:"Print one JSON object per line."`
}

// Help says what the states mean.
func (doctorCommand) Help() string {
	return `One line per check: ok, warn (works, but look at it), bad (does not work), or skipped (another line says why it could not be checked).
The doctor changes nothing and may run beside the service. It asks the relay for its start page, without a key, and about a task that does not exist.
Exit code 1 if something is bad.`
}

// finding is what a check came to.
type finding struct {
	Check string `json:"check"`
	State string `json:"state"`
	Found string `json:"found"`
	Todo  string `json:"todo"` // what to do; "" when ok or skipped
}

// The states of a finding.
const (
	stateOK      = "ok"
	stateWarn    = "warn"
	stateBad     = "bad"
	stateSkipped = "skipped" // another finding says why
)

func fine(format string, args ...any) finding {
	return finding{State: stateOK, Found: fmt.Sprintf(format, args...)}
}

func warn(todo, format string, args ...any) finding {
	return finding{State: stateWarn, Found: fmt.Sprintf(format, args...), Todo: todo}
}

func bad(todo, format string, args ...any) finding {
	return finding{State: stateBad, Found: fmt.Sprintf(format, args...), Todo: todo}
}

func skipped(why string) finding { return finding{State: stateSkipped, Found: why} }

const (
	// checkLimit bounds one check of the database; they run at the same time.
	checkLimit = 5 * time.Second
	// lookConns are enough that checks which wait for a lock do not keep the others.
	lookConns = 8
	// relayLimit bounds asking the relay where KLINGWATCH_POLL_TIMEOUT is longer.
	relayLimit = 15 * time.Second
	// connectLimit bounds reaching the database, startLimit starting the embedded one.
	connectLimit = 10 * time.Second
	startLimit   = 30 * time.Second
)

// Run prints a line per check.
func (cmd doctorCommand) Run(ctx context.Context, c *console) error {
	good := true
	tell := func(f finding) {
		good = good && f.State != stateBad
		if cmd.JSON {
			_ = printJSON(c.out, f)
			return
		}
		c.printFinding(f)
	}
	s, err := loadSettings()
	if err != nil {
		f := bad("correct it; docs/settings.md lists the settings", "%s", err)
		f.Check = "settings"
		tell(f)
		return quietError{}
	}
	if err := examine(ctx, s, c.notify, tell); err != nil {
		return err
	}
	if !good {
		return quietError{}
	}
	return nil
}

// doctor is what the checks work with.
type doctor struct {
	settings
	db      *database // nil: none
	without string    // why there is none
	reach   func() reached
}

// check is one question. Those about the database are skipped when there is none.
type check struct {
	name     string
	database bool
	ask      func(context.Context) (finding, error) // an error: it could not be asked
}

// checks are all questions, in the order of the output.
func (d *doctor) checks() []check {
	return []check{
		{"postgres", true, d.checkServer},
		{"clock-database", true, d.checkDatabaseClock},
		{"connections", true, d.checkConnections},
		{"migrations", true, d.checkMigrations},
		{"relay", false, d.checkRelay},
		{"clock-relay", false, d.checkRelayClock},
		{"key", false, d.checkKey},
		{"services", true, d.checkServices},
		{"polling", true, d.checkPolling},
		{"rate", true, d.checkRate},
		{"tasks", true, d.checkTasks},
		{"deliveries", true, d.checkDeliveries},
		{"endpoints", true, d.checkEndpoints},
		{"outputs", true, d.checkOutputs},
		{"signing-keys", true, d.checkSigningKeys},
		{"bloat", true, d.checkTables},
		{"snapshots", true, d.checkSnapshots},
		{"disk", true, d.checkDisk},
	}
}

// examine makes all checks at the same time and tells them in their order. It
// returns an error only when ctx ends.
func examine(ctx context.Context, s settings, notify func(string), tell func(finding)) error {
	d := &doctor{settings: s}
	d.reach = sync.OnceValue(func() reached { return reachRelay(ctx, s) })
	tell(finding{"settings", stateOK, "can be used", ""})
	tell(d.connect(ctx, notify))
	if d.db != nil {
		defer func() { _ = d.db.close() }()
	}
	var results []chan finding
	for _, c := range d.checks() {
		result := make(chan finding, 1)
		results = append(results, result)
		go func() { result <- d.run(ctx, c) }()
	}
	for _, result := range results {
		f := <-result
		if ctx.Err() == nil {
			tell(f)
		}
	}
	return ctx.Err()
}

// run makes one check.
func (d *doctor) run(ctx context.Context, c check) finding {
	f, err := skipped(d.without), error(nil)
	if !c.database || d.db != nil {
		f, err = d.ask(ctx, c)
	}
	if err != nil {
		f = failed(err)
	}
	f.Check, f.Found = c.name, outbound.Line(f.Found)
	return f
}

func (d *doctor) ask(ctx context.Context, c check) (finding, error) {
	if c.database {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, checkLimit)
		defer cancel()
	}
	return c.ask(ctx)
}

// undefined are the codes of Postgres for tables and the like that do not exist.
var undefined = []string{"3F000", "42P01", "42703", "42883"}

// failed is the finding of a check that could not ask the database.
func failed(err error) finding {
	var pgErr *pgconn.PgError
	isPg := errors.As(err, &pgErr)
	switch {
	case isPg && slices.Contains(undefined, pgErr.Code):
		return skipped("the database lacks what is asked for; see migrations")
	case isPg && pgErr.Code == "42501": // insufficient_privilege
		return bad("give DATABASE_URL the role that klingwatch serve has", "%s", pgErr.Message)
	case isPg && pgErr.Code == "57014", errors.Is(err, context.DeadlineExceeded):
		return bad("see whether the server is overloaded or its disk is slow", "the database gave no answer within %s", checkLimit)
	}
	return bad("try again; see the log of Postgres", "%s", err)
}

// connect opens the database to look at it.
func (d *doctor) connect(ctx context.Context, notify func(string)) finding {
	begun := time.Now()
	opened, err := d.openToLook(ctx, notify)
	f := fine("answers after %s", milliseconds(time.Since(begun).Seconds()))
	switch {
	case errors.Is(err, errNoCluster):
		f = warn("set DATABASE_URL, or start klingwatch serve: it makes one", "%s", err)
	case err != nil:
		f = bad("see that Postgres runs and DATABASE_URL is right", "%s", err)
	}
	f.Check, f.Found = "database", outbound.Line(f.Found)
	if d.db = opened; opened == nil {
		d.without = "there is no database to ask; see database"
	}
	return f
}

// errNoCluster says that there is nothing to look at yet.
var errNoCluster = errors.New("DATABASE_URL is not set, and there is no embedded database yet")

// openToLook connects like openDatabase, but creates, migrates and writes
// nothing. An embedded server that does not run is started for the while.
func (s settings) openToLook(ctx context.Context, notify func(string)) (*database, error) {
	d := &database{url: s.DatabaseURL}
	if d.url == "" {
		dir, err := s.dataDir()
		if err != nil {
			return nil, err
		}
		if _, err := os.Stat(filepath.Join(dir, "data")); errors.Is(err, os.ErrNotExist) {
			return nil, errNoCluster
		}
		starting, cancel := context.WithTimeout(ctx, startLimit)
		defer cancel()
		if d.embedded, err = embeddedpg.Start(starting, embeddedpg.Config{DataDir: dir, BinDir: s.PostgresBinDir, Notify: notify}); err != nil {
			return nil, err
		}
		d.url = d.embedded.URL()
	}
	ctx, cancel := context.WithTimeout(ctx, connectLimit)
	defer cancel()
	var err error
	if d.Pool, err = db.OpenReadOnly(ctx, d.url, lookConns, checkLimit); err != nil {
		if d.embedded != nil {
			err = errors.Join(err, d.embedded.Close())
		}
		return nil, err
	}
	return d, nil
}

// stateStyles are the colours of the states.
var stateStyles = map[string]lipgloss.Style{
	stateOK: goodStyle, stateWarn: lipgloss.NewStyle().Foreground(lipgloss.Yellow), stateBad: badStyle, stateSkipped: dimStyle,
}

func (c *console) printFinding(f finding) {
	line := fmt.Sprintf("%s %-14s %s", stateStyles[f.State].Render(fmt.Sprintf("%-7s", f.State)), f.Check, f.Found)
	if f.Todo != "" {
		line += " -> " + f.Todo
	}
	_, _ = lipgloss.Fprintln(c.out, line)
}
