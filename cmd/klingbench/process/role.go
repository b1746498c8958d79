package process

import (
	"context"
	"errors"
	"io"
	"net/rpc"
	"os"
	"os/signal"
)

// Role is what a process does in a measurement.
type Role struct {
	Name    string                        // on the command line
	Service func(ctx context.Context) any // makes what answers the calls, by its exported methods; see net/rpc
}

// None is for calls without arguments or without a result, both of which net/rpc
// requires.
type None = bool

const serviceName = "Child"

// Serve answers the parent's calls until the parent closes stdin or is gone.
func (r Role) Serve(ctx context.Context) error {
	signal.Ignore(os.Interrupt) // Ctrl-C reaches all processes; the parent decides
	server := rpc.NewServer()
	if err := server.RegisterName(serviceName, r.Service(context.WithoutCancel(ctx))); err != nil {
		return err
	}
	server.ServeConn(standardStreams{os.Stdin, os.Stdout})
	return nil
}

// standardStreams is the connection between parent and child.
type standardStreams struct {
	io.ReadCloser
	io.WriteCloser
}

// Close closes both directions.
func (s standardStreams) Close() error {
	return errors.Join(s.ReadCloser.Close(), s.WriteCloser.Close())
}
