package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/embeddedpg"
	"github.com/klingwatch/klingwatch/migrations"
)

const (
	// serveConns: River's own few, the writers of polls and attempts, health.
	serveConns = 20
	// processConns is what one process takes at most: its pool, the connection that
	// holds the lock of its instance, and one that counts while the database is read only.
	processConns = serveConns + 2
	// toolConns is enough for commands that ask and go; migrating needs a few.
	toolConns = 4
	// closeTimeout bounds giving the connections back.
	closeTimeout = time.Second
)

// database is an open pool, and the embedded server behind it if there is one.
type database struct {
	*pgxpool.Pool
	url      string
	embedded *embeddedpg.Server
}

// opener is db.Open or db.OpenWritable.
type opener func(ctx context.Context, url string, conns int32) (*pgxpool.Pool, error)

// openDatabase connects to DATABASE_URL, or starts (or joins) the embedded
// Postgres and brings that one to this version's schema: it is ours alone.
func openDatabase(ctx context.Context, s settings, notify func(string)) (*database, error) {
	if s.DatabaseURL != "" {
		pool, err := db.OpenWritable(ctx, s.DatabaseURL, serveConns)
		if err != nil {
			return nil, err
		}
		return &database{Pool: pool, url: s.DatabaseURL}, nil
	}
	dir, err := s.dataDir()
	if err != nil {
		return nil, err
	}
	return openEmbedded(ctx, embeddedpg.Config{DataDir: dir, BinDir: s.PostgresBinDir, Notify: notify}, serveConns)
}

// findDatabase returns DATABASE_URL, or the URL of the embedded Postgres that a service
// runs now, and says so. It starts none: nobody would work on what a command leaves there.
func (s settings) findDatabase(ctx context.Context, notify func(string)) (url string, err error) {
	if s.DatabaseURL != "" {
		return s.DatabaseURL, nil
	}
	dir, err := s.dataDir()
	if err != nil {
		return "", err
	}
	url, owner, err := embeddedpg.Find(ctx, embeddedpg.Config{DataDir: dir})
	if errors.Is(err, embeddedpg.ErrNotRunning) {
		return "", errNoDatabase
	}
	if err == nil {
		notify(fmt.Sprintf("DATABASE_URL is not set: using the embedded Postgres of process %d in %s", owner, dir))
	}
	return url, err
}

var errNoDatabase = errors.New("there is no database: set DATABASE_URL, or start klingwatch serve, which runs an embedded Postgres without it")

// dataDir is where the embedded Postgres keeps its data.
func (s settings) dataDir() (string, error) {
	if s.DataDir != "" {
		return s.DataDir, nil
	}
	dir, err := embeddedpg.DefaultDataDir()
	if err != nil {
		return "", fmt.Errorf("%w (KLINGWATCH_DATA_DIR)", err)
	}
	return dir, nil
}

func openEmbedded(ctx context.Context, cfg embeddedpg.Config, conns int32) (*database, error) {
	server, err := embeddedpg.Start(ctx, cfg)
	if err != nil {
		return nil, err
	}
	d := &database{embedded: server, url: server.URL()}
	if d.Pool, err = db.Open(ctx, server.URL(), conns); err != nil {
		return nil, errors.Join(err, server.Close())
	}
	if _, err := migrations.Up(ctx, d.Pool); err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

// close ends the connections and stops the embedded server if it is ours.
func (d *database) close() error {
	closed := make(chan struct{})
	go func() { d.Pool.Close(); close(closed) }()
	select {
	case <-closed:
	case <-time.After(closeTimeout): // a database that hangs must not hold up a stop
	}
	if d.embedded == nil {
		return nil
	}
	return d.embedded.Close()
}

// withDatabase runs a short command on the database, whose schema must be there.
func withDatabase(ctx context.Context, c *console, work func(settings, *database) error) (err error) {
	s, err := loadSettings()
	if err != nil {
		return err
	}
	d, err := c.openFound(ctx, s, db.Open)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	if err := requireSchema(ctx, d.Pool); err != nil {
		return c.explain(d, err)
	}
	return c.explain(d, work(s, d))
}

// explain says who may do what the database refused to the role, or what to do about a
// database that accepts no writes.
func (c *console) explain(d *database, err error) error {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return err
	}
	doing := strings.TrimSuffix(err.Error(), pgErr.Error())
	switch {
	case db.OutageOf(err) == db.ReadOnly:
		return fmt.Errorf("%s%w: %s", doing, db.ErrReadOnly, db.ReadOnlyTodo)
	case db.Denied(err):
		return fmt.Errorf("%s%s: %w", doing, pgErr.Message, c.mayNot(d, "do that"))
	}
	return err
}

// mayNot says that the role may not do something, and which may.
func (c *console) mayNot(d *database, what string) error {
	role := d.Config().ConnConfig.User
	if c.may == "" {
		return fmt.Errorf("the role %s may not %s, only the owner of the tables may", role, what)
	}
	return fmt.Errorf("the role %s may not %s; a role in %s may, and the owner of the tables", role, what, c.may)
}

// openFound connects to the database that there is.
func (c *console) openFound(ctx context.Context, s settings, open opener) (*database, error) {
	url, err := s.findDatabase(ctx, c.remark)
	if err != nil {
		return nil, err
	}
	pool, err := open(ctx, url, toolConns)
	if err != nil {
		return nil, err
	}
	return &database{Pool: pool, url: url}, nil
}

// remark tells something beside the output.
func (c *console) remark(message string) { fmt.Fprintln(c.err, message) }

// notify tells a person about long steps; pipes get nothing.
func (c *console) notify(message string) {
	if terminal(c.err) {
		fmt.Fprintln(c.err, message)
	}
}

// requireSchema refuses a database that this binary must not work on.
func requireSchema(ctx context.Context, pool *pgxpool.Pool) error {
	pending, err := migrations.Pending(ctx, pool)
	if err != nil {
		return err
	}
	if len(pending) > 0 {
		return lacking(pending)
	}
	return nil
}

func lacking(pending []migrations.Migration) error {
	return fmt.Errorf("the database lacks %d migrations (%s): run klingwatch migrate", len(pending), migrations.Names(pending))
}

type migrateCommand struct {
	Check bool `help:"Change nothing; exit code 1 if migrations are pending."`
}

func (m migrateCommand) Run(ctx context.Context, c *console) (err error) {
	s, err := loadSettings()
	if err != nil {
		return err
	}
	open := db.OpenWritable
	if m.Check {
		open = db.Open
	}
	d, err := c.openFound(ctx, s, open)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	if m.Check {
		if err := requireSchema(ctx, d.Pool); err != nil {
			return c.explain(d, err)
		}
		fmt.Fprintln(c.out, "up to date")
		return nil
	}
	applied, err := migrations.UpTelling(ctx, d.Pool, func(message string) { fmt.Fprintln(c.err, message) })
	if err != nil {
		return c.explain(d, err)
	}
	if len(applied) == 0 {
		fmt.Fprintln(c.out, "up to date")
	}
	for _, step := range applied {
		fmt.Fprintln(c.out, "applied", step.Name)
	}
	missing, err := db.MissingRoles(ctx, d.Pool)
	if err != nil {
		return fmt.Errorf("looking for the roles: %w", err)
	}
	if len(missing) > 0 {
		fmt.Fprintf(c.err, "missing: role %s, which this user may not create; create it and run: select klingwatch.grant_roles()\n", strings.Join(missing, " and role "))
	}
	return nil
}
