package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/rpc"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/klingwatch/klingwatch/worker"
)

// stopPatience is how long a child may take to end in good order.
const stopPatience = 15 * time.Second

// none is for calls without arguments or results. net/rpc wants the types of
// arguments and results exported.
type none = bool

// childCommand is a process of a measurement. It serves calls on stdin and
// stdout and ends when stdin does, so it never outlives its parent.
type childCommand struct {
	Role string `arg:"" enum:"stub,http,naive,worker,receivers,post"`
}

// Run serves calls until the parent is done.
func (cmd childCommand) Run(ctx context.Context) error {
	signal.Ignore(os.Interrupt) // Ctrl-C reaches all processes; the parent decides
	ctx = context.WithoutCancel(ctx)
	worker.TuneGC() // as serve does, and the same for those it is compared with
	server := rpc.NewServer()
	if err := server.RegisterName("Child", cmd.service(ctx)); err != nil {
		return err
	}
	server.ServeConn(standardStreams{os.Stdin, os.Stdout})
	return nil
}

func (cmd childCommand) service(ctx context.Context) any {
	switch cmd.Role {
	case "stub":
		return &stub{ctx: ctx}
	case "http":
		return &httpLimit{ctx: ctx}
	case "naive":
		return &naive{ctx: ctx}
	case "receivers":
		return &receivers{ctx: ctx}
	case "post":
		return &poster{ctx: ctx}
	}
	return &workerProcess{ctx: ctx}
}

// standardStreams is a connection to the parent.
type standardStreams struct {
	io.ReadCloser
	io.WriteCloser
}

// Close closes both directions.
func (s standardStreams) Close() error {
	return errors.Join(s.ReadCloser.Close(), s.WriteCloser.Close())
}

// child is a running process of the same binary, seen from its parent.
type child struct {
	role    string
	cmd     *exec.Cmd
	client  *rpc.Client
	logPath string
	gone    chan struct{} // closed when it has ended
}

// startChild starts a process in a role. It is killed when ctx ends; its stderr
// goes to a file in dir.
func startChild(ctx context.Context, dir, role string) (*child, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this program: %w", err)
	}
	log, err := os.CreateTemp(dir, role+"-*.log")
	if err != nil {
		return nil, fmt.Errorf("making a log for the %s process: %w", role, err)
	}
	defer log.Close()
	c := &child{role: role, cmd: exec.CommandContext(ctx, exe, "child", role), logPath: log.Name(), gone: make(chan struct{})}
	c.cmd.Stderr = log
	in, err := c.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the %s process: %w", role, err)
	}
	c.client = rpc.NewClient(standardStreams{out, in})
	go func() { _ = c.cmd.Wait(); close(c.gone) }()
	return c, nil
}

func (c *child) pid() int { return c.cmd.Process.Pid }

// call asks the process to do something and waits for the reply.
func (c *child) call(ctx context.Context, method string, args, reply any) error {
	call := c.client.Go("Child."+method, args, reply, make(chan *rpc.Call, 1))
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-call.Done:
	}
	switch {
	case call.Error == nil:
		return nil
	case errors.As(call.Error, new(rpc.ServerError)):
		return fmt.Errorf("the %s process: %w", c.role, call.Error)
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return fmt.Errorf("the %s process ended unexpectedly: %s", c.role, c.lastWords())
}

// lastWords is the last line of its log.
func (c *child) lastWords() string {
	text, err := os.ReadFile(c.logPath)
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	if err != nil || len(lines[len(lines)-1]) == 0 {
		return "it left no word in " + filepath.Base(c.logPath)
	}
	return string(lines[len(lines)-1])
}

// stop ends the process in good order, or kills it if it hangs.
func (c *child) stop() {
	_ = c.client.Close()
	select {
	case <-c.gone:
	case <-time.After(stopPatience):
		c.kill()
	}
}

// kill is kill -9; it returns when the process is gone.
func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	<-c.gone
}
