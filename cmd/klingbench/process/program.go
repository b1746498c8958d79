package process

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/klingwatch/klingwatch/outbound"
)

// Program is a running program that is not klingbench.
type Program struct {
	cmd  *exec.Cmd
	gone chan struct{} // closed when it has ended and was waited for
}

// Launch starts a program in a session of its own, so that Ctrl-C reaches only us.
// The kernel sends it onDeath should this process die without ending it.
func Launch(cmd *exec.Cmd, onDeath syscall.Signal) (*Program, error) {
	if err := detach(cmd, onDeath); err != nil {
		return nil, err
	}
	p := &Program{cmd: cmd, gone: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The kernel watches the thread that starts the program, not the process.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
			close(p.gone)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", cmd.Path, err)
	}
	return p, nil
}

// PID returns its process id.
func (p *Program) PID() int { return p.cmd.Process.Pid }

// Gone is closed when the program has ended.
func (p *Program) Gone() <-chan struct{} { return p.gone }

// Ended says how it ended, as in "exit status 1"; only after Gone.
func (p *Program) Ended() string { return p.cmd.ProcessState.String() }

// Kill is kill -9; it returns when the program is gone.
func (p *Program) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.gone
}

// Stop asks the program to end, and kills it where it does not within the patience.
func (p *Program) Stop(signal os.Signal, patience time.Duration) {
	if err := p.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.Kill()
		return
	}
	select {
	case <-p.gone:
	case <-time.After(patience):
		p.Kill()
	}
}

// LastLine is what a program said last.
func LastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return outbound.Line(lines[len(lines)-1])
}
