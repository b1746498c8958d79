package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/cmd/klingbench/figures"
	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/embeddedpg"
	"github.com/klingwatch/klingwatch/migrations"
)

// options are common to those that need a server.
type options struct {
	figures.Output
	Fsync          string `enum:"on,off" default:"on" help:"Setting of Postgres: ${enum}."`
	PostgresBinDir string `placeholder:"DIR" help:"Directory of initdb and postgres; default: they are searched for."`
}

// serverSettings are those of a small production server: durable, and with
// default sizes but for the memory.
func (o options) serverSettings() map[string]string {
	return map[string]string{
		"fsync":           o.Fsync,
		"shared_buffers":  "256MB",
		"max_connections": "200",
	}
}

const (
	// ownConnections is what the measuring process itself needs per database.
	ownConnections = 4
	// settle lets a server or process that has just started come to rest.
	settle = 500 * time.Millisecond
)

// bench is what every measurement stands on: a Postgres, and the stub.
type bench struct {
	options
	dir      string
	server   *embeddedpg.Server
	admin    *pgxpool.Pool // on the server's first database, which stays empty
	relay    *relay
	progress *figures.Progress

	postgresVersion string
	postmaster      int // process id
}

// run sets everything up, measures, and takes everything down again; measure
// returns the figures.
func (o options) run(ctx context.Context, c *figures.Console, command string, measure func(context.Context, *bench) ([]figures.Figure, error)) (err error) {
	b := &bench{options: o, progress: figures.NewProgress(c.Err)}
	defer b.progress.End()
	// Everything is thrown away, so a signal need not wait for good order; what is
	// left after the children is ended by close.
	ctx, cancel := context.WithCancel(ctx)
	defer func() { err = errors.Join(err, b.close()) }()
	defer cancel()
	if err := b.open(ctx); err != nil {
		return err
	}
	begun := time.Now()
	measured, err := measure(ctx, b)
	b.progress.End()
	if err != nil {
		return err
	}
	d := figures.NewDocument(ctx, o.Output, command, begun, measured)
	d.Machine.Postgres, d.Postgres = b.postgresVersion, o.serverSettings()
	return c.Print(o.Output, d)
}

func (b *bench) open(ctx context.Context) (err error) {
	b.progress.Say("starting Postgres")
	if b.dir, err = os.MkdirTemp("", "klingbench-"); err == nil {
		err = os.Chmod(b.dir, 0o755) // the server's user enters it
	}
	if err != nil {
		return fmt.Errorf("making a directory for the measurement: %w", err)
	}
	b.server, err = embeddedpg.Start(ctx, embeddedpg.Config{
		DataDir: filepath.Join(b.dir, "postgres"), BinDir: b.PostgresBinDir, Parameters: b.serverSettings(), Notify: b.progress.Say,
	})
	if err != nil {
		return err
	}
	if b.admin, err = db.Open(ctx, b.server.URL(), ownConnections); err != nil {
		return err
	}
	version, backend, err := serverFacts(ctx, b.admin)
	if err != nil {
		return fmt.Errorf("asking the server who it is: %w", err)
	}
	stat, err := readStat(backend)
	if err != nil {
		return err
	}
	b.postgresVersion, b.postmaster = version, stat.parent
	b.relay, err = startRelay(ctx, b.dir)
	return err
}

// close ends what was started and removes the directory.
func (b *bench) close() (err error) {
	if b.relay != nil {
		b.relay.stop()
	}
	if b.admin != nil {
		b.admin.Close()
	}
	if b.server != nil {
		err = b.server.Close()
	}
	if b.dir != "" {
		err = errors.Join(err, os.RemoveAll(b.dir))
	}
	return err
}

// database is a fresh one for a single measurement.
type database struct {
	*pgxpool.Pool
	name string
	url  string
}

// withDatabase makes a database with klingwatch's schema, which is dropped
// after work.
func (b *bench) withDatabase(ctx context.Context, work func(*database) error) (err error) {
	d := &database{name: fmt.Sprintf("bench_%d", time.Now().UnixNano())}
	if err := createDatabase(ctx, b.admin, d.name); err != nil {
		return fmt.Errorf("making a database: %w", err)
	}
	if d.url, err = urlOf(b.server.URL(), d.name); err != nil {
		return err
	}
	if d.Pool, err = db.Open(ctx, d.url, ownConnections); err != nil {
		return err
	}
	defer func() {
		d.Close()
		if ctx.Err() == nil { // else the whole server goes
			err = errors.Join(err, dropDatabase(ctx, b.admin, d.name))
		}
	}()
	if _, err := migrations.Up(ctx, d.Pool); err != nil {
		return err
	}
	if err := checkpoint(ctx, d.Pool); err != nil {
		return fmt.Errorf("making a checkpoint: %w", err)
	}
	return work(d)
}

// urlOf is the URL of another database of the same server.
func urlOf(server, name string) (string, error) {
	u, err := url.Parse(server)
	if err != nil {
		return "", err
	}
	u.Path = "/" + name
	return u.String(), nil
}

// withProcess runs work beside a process of its own.
func (b *bench) withProcess(ctx context.Context, role string, work func(*child) error) error {
	c, err := startChild(ctx, b.dir, role)
	if err != nil {
		return err
	}
	defer c.stop()
	return work(c)
}

// workerPlan is the plan of a service on a database.
func (b *bench) workerPlan(d *database, interval time.Duration, rate float64) WorkerPlan {
	return WorkerPlan{DatabaseURL: d.url, RelayURL: b.relay.url, PollInterval: interval, PollRate: rate}
}
