package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/cmd/klingbench/contender"
	"github.com/klingwatch/klingwatch/cmd/klingbench/figures"
	"github.com/klingwatch/klingwatch/cmd/klingbench/process"
	"github.com/klingwatch/klingwatch/cmd/klingbench/standin"
	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/embeddedpg"
)

const (
	// The settings that klingwatch serve has by default.
	defaultInterval = 5 * time.Second
	defaultRate     = 50
	// ownConnections is what the measuring process itself needs per database.
	ownConnections = 4
)

// Bench is a running Postgres and a running relay.
type Bench struct {
	Relay    *standin.Relay
	Progress *figures.Progress

	options Options
	dir     string // of everything; removed in the end
	server  *embeddedpg.Server
	admin   *pgxpool.Pool // on the server's first database, which stays empty

	postgresVersion string
	postmaster      int // process id
}

func (b *Bench) open(ctx context.Context) (err error) {
	b.Progress.Say("starting Postgres")
	if b.dir, err = os.MkdirTemp("", "klingbench-"); err == nil {
		err = os.Chmod(b.dir, 0o755) // the server's user enters it
	}
	if err != nil {
		return fmt.Errorf("creating a directory for the measurement: %w", err)
	}
	if err := b.openPostgres(ctx); err != nil {
		return err
	}
	if err := b.makeMigrated(ctx); err != nil {
		return err
	}
	b.Relay, err = standin.StartRelay(ctx, b.dir)
	return err
}

func (b *Bench) openPostgres(ctx context.Context) (err error) {
	b.server, err = embeddedpg.Start(ctx, embeddedpg.Config{
		DataDir: cmp.Or(b.options.PostgresDir, filepath.Join(b.dir, "postgres")), BinDir: b.options.PostgresBinDir, Parameters: b.options.serverSettings(), Notify: b.Progress.Say,
	})
	if err != nil {
		return err
	}
	if b.admin, err = db.Open(ctx, b.server.URL(), ownConnections); err != nil {
		return err
	}
	version, backend, err := serverFacts(ctx, b.admin)
	if err != nil {
		return fmt.Errorf("reading the version of Postgres: %w", err)
	}
	b.postgresVersion = version
	b.postmaster, err = process.Parent(backend)
	return err
}

// close ends what was started and removes the directory.
func (b *Bench) close() (err error) {
	if b.Relay != nil {
		b.Relay.Stop()
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

// WithDir calls work with an empty directory, which is removed after it.
func (b *Bench) WithDir(work func(dir string) error) (err error) {
	dir, err := os.MkdirTemp(b.dir, "files-")
	if err != nil {
		return fmt.Errorf("creating a directory for files: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	return work(dir)
}

// WithReceivers calls work with receivers of webhooks, which end after it.
func (b *Bench) WithReceivers(ctx context.Context, work func(*standin.Receivers) error) error {
	return b.WithProcess(ctx, standin.ReceiversRole, func(c *process.Child) error { return work(&standin.Receivers{Child: c}) })
}

// WithService calls work with a service that does not run yet and ends after work.
func (b *Bench) WithService(ctx context.Context, role process.Role, work func(*contender.Service) error) error {
	return b.WithProcess(ctx, role, func(c *process.Child) error { return work(&contender.Service{Child: c}) })
}

// WithClient calls work with a client, which ends after it.
func (b *Bench) WithClient(ctx context.Context, role process.Role, work func(*contender.Client) error) error {
	return b.WithProcess(ctx, role, func(c *process.Child) error { return work(&contender.Client{Child: c}) })
}

// WithProcess calls work with a process in a role, which ends after it.
func (b *Bench) WithProcess(ctx context.Context, role process.Role, work func(*process.Child) error) error {
	c, err := process.Start(ctx, b.dir, role)
	if err != nil {
		return err
	}
	defer c.Stop()
	return work(c)
}

// DefaultPlan is a service on a database with the settings that klingwatch serve
// has by default.
func (b *Bench) DefaultPlan(d *Database) contender.ServicePlan {
	return b.ServicePlan(d, defaultInterval, defaultRate)
}

// ServicePlan is a service on a database that polls a task once per interval, and
// so many tasks per second at most, over plain HTTP.
func (b *Bench) ServicePlan(d *Database, interval time.Duration, rate float64) contender.ServicePlan {
	return contender.ServicePlan{DatabaseURL: d.URL, Relay: b.Relay.Plain, PollInterval: interval, PollRate: rate}
}
