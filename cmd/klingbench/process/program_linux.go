package process

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// detach gives a program a session of its own and the signal for our death.
func detach(cmd *exec.Cmd, onDeath syscall.Signal) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setsid, cmd.SysProcAttr.Pdeathsig = true, onDeath
	return nil
}

// RunAsOwner makes a program run as the user who owns a file, where we may become
// that user: PostgreSQL refuses to run as root.
func RunAsOwner(cmd *exec.Cmd, file string) error {
	info, err := os.Stat(file)
	if err != nil {
		return fmt.Errorf("looking for the user of %s: %w", cmd.Path, err)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || os.Geteuid() != 0 {
		return nil
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Credential = &syscall.Credential{Uid: stat.Uid, Gid: stat.Gid}
	return nil
}

// Freeze is SIGSTOP.
func (p *Program) Freeze() error { return p.cmd.Process.Signal(syscall.SIGSTOP) }

// Thaw is SIGCONT.
func (p *Program) Thaw() error { return p.cmd.Process.Signal(syscall.SIGCONT) }
