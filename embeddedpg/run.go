//go:build unix && !aix && !solaris

package embeddedpg

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// inherited are the variables that a PostgreSQL process gets from us. The
// others stay here: PG... would change what it does, and keys are not for it.
var inherited = []string{"PATH", "HOME", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"}

// command prepares a program of PostgreSQL to run as the account.
func (a account) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.SysProcAttr = a.sysProcAttr()
	cmd.Dir = "/" // ours may be closed to the account
	cmd.Env = []string{"LC_ALL=C"}
	for _, name := range inherited {
		if value, ok := os.LookupEnv(name); ok {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	return cmd
}

// run runs a short program to its end, which comes early when ctx or this
// process ends. It returns the standard output; the error carries the last
// line of the standard error.
func (a account) run(ctx context.Context, program string, args ...string) (string, error) {
	for range 20 {
		out, err := a.runOnce(ctx, program, args...)
		if !errors.Is(err, syscall.ETXTBSY) {
			return out, err
		}
		// A program that was just unpacked is still open for writing in a child
		// that another goroutine forked meanwhile, until that child's exec.
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return "", err
		}
	}
	return a.runOnce(ctx, program, args...)
}

// runOnce is one try of run.
func (a account) runOnce(ctx context.Context, program string, args ...string) (string, error) {
	// The kernel watches the thread that starts the child, not the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := a.command(ctx, program, args...)
	dieWithParent(cmd.SysProcAttr, syscall.SIGTERM)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return stdout.String(), nil
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	case errors.As(err, &exit) && lastLine(stderr.String()) != "":
		return "", errors.New(lastLine(stderr.String()))
	default:
		return "", a.explain(err)
	}
}

// explain adds what to try where a child could not even be started.
func (a account) explain(err error) error {
	if a.drop && errors.Is(err, syscall.EPERM) {
		return fmt.Errorf("becoming user %s: %w; run as an ordinary user, or allow this container to change its user", a.name, err)
	}
	return err
}

// failures begin what PostgreSQL and initdb say about their own end.
var failures = []string{"PANIC:", "FATAL:", "error:"}

// lastLine returns the line of a PostgreSQL log that a person needs: the last
// one that reports a failure, without what is in front of it, else the last one
// that is not empty.
func lastLine(log string) string {
	last, failure := "", ""
	for line := range strings.Lines(log) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		last = line
		for _, word := range failures {
			if _, reason, found := strings.Cut(line, word); found {
				failure = strings.TrimSpace(reason)
			}
		}
	}
	if failure != "" {
		return failure
	}
	return last
}
