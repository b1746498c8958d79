package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/rpc"
	"os"
	"os/exec"
	"time"
)

// stopPatience is how long a child may take to end in good order.
const stopPatience = 15 * time.Second

// Child is a running process of the same binary, seen from its parent.
type Child struct {
	role    string
	cmd     *exec.Cmd
	client  *rpc.Client
	logPath string
	gone    chan struct{} // closed when it has ended
}

// Start starts a process in a role. It is killed when ctx ends; its stderr goes
// to a file in dir.
func Start(ctx context.Context, dir string, role Role) (*Child, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this program: %w", err)
	}
	log, err := os.CreateTemp(dir, role.Name+"-*.log")
	if err != nil {
		return nil, fmt.Errorf("creating a log for the %s process: %w", role.Name, err)
	}
	defer log.Close()
	c := &Child{role: role.Name, cmd: exec.CommandContext(ctx, exe, "child", role.Name), logPath: log.Name(), gone: make(chan struct{})}
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
		return nil, fmt.Errorf("starting the %s process: %w", role.Name, err)
	}
	c.client = rpc.NewClient(standardStreams{out, in})
	go func() { _ = c.cmd.Wait(); close(c.gone) }()
	return c, nil
}

// PID returns its process id.
func (c *Child) PID() int { return c.cmd.Process.Pid }

// Call calls a method of the service and waits for the reply, to which reply
// points.
func (c *Child) Call(ctx context.Context, method string, args, reply any) error {
	call := c.client.Go(serviceName+"."+method, args, reply, make(chan *rpc.Call, 1))
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-call.Done:
	}
	switch {
	case call.Error == nil:
		return nil
	case errors.As(call.Error, new(rpc.ServerError)):
		return fmt.Errorf("calling the %s process: %w", c.role, call.Error)
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return fmt.Errorf("calling the %s process: it ended unexpectedly: %s", c.role, c.lastWords())
}

// Do calls a method that has no result.
func (c *Child) Do(ctx context.Context, method string, args any) error {
	return c.Call(ctx, method, args, new(None))
}

// Ask calls a method without arguments and returns its result.
func Ask[T any](ctx context.Context, c *Child, method string) (result T, err error) {
	err = c.Call(ctx, method, None(true), &result)
	return result, err
}

// lastWords returns the last line of its log.
func (c *Child) lastWords() string {
	text, err := os.ReadFile(c.logPath)
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	if err != nil || len(lines[len(lines)-1]) == 0 {
		return "its log is empty"
	}
	return string(lines[len(lines)-1])
}

// Stop ends the process in good order, or kills it if it hangs.
func (c *Child) Stop() {
	_ = c.client.Close()
	select {
	case <-c.gone:
	case <-time.After(stopPatience):
		c.Kill()
	}
}

// Kill is kill -9; it returns when the process is gone.
func (c *Child) Kill() {
	_ = c.cmd.Process.Kill()
	<-c.gone
}
