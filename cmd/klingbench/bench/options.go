package bench

import (
	"context"
	"errors"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/figures"
)

// Options are the flags of the measurements that need a Postgres.
type Options struct {
	figures.Output
	Fsync          string `enum:"on,off" default:"on" help:"Setting of Postgres: ${enum}."`
	PostgresBinDir string `placeholder:"DIR" help:"Directory of initdb and postgres; default: searched for."`
	PostgresDir    string `hidden:"" placeholder:"DIR" help:"Data of a Postgres that runs of the same program share, also at once, and leave behind; default: one of its own."`
}

// serverSettings are those of a small production server: durable, and with
// default sizes except for the memory.
func (o Options) serverSettings() map[string]string {
	return map[string]string{
		"fsync":           o.Fsync,
		"shared_buffers":  "256MB",
		"max_connections": "200",
	}
}

// Measure starts Postgres and the relay, calls measure, prints the figures that
// it returns, and takes everything down again.
func (o Options) Measure(ctx context.Context, c *figures.Console, command string, measure func(context.Context, *Bench) ([]figures.Figure, error)) (err error) {
	b := &Bench{Progress: figures.NewProgress(c.Err), options: o}
	defer b.Progress.End()
	// Everything is thrown away, so a signal kills the processes at once; close
	// ends what is left.
	ctx, cancel := context.WithCancel(ctx)
	defer func() { err = errors.Join(err, b.close()) }()
	defer cancel()
	if err := b.open(ctx); err != nil {
		return err
	}
	begun := time.Now()
	measured, err := measure(ctx, b)
	b.Progress.End()
	if err != nil {
		return err
	}
	d := figures.NewDocument(ctx, o.Output, command, begun, measured)
	d.Machine.Postgres, d.Postgres = b.postgresVersion, o.serverSettings()
	return c.Print(o.Output, d)
}
