//go:build unix && !aix && !solaris

package embeddedpg

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// How long a server is given to stop. An immediate shutdown loses nothing
// either, but the next start has to recover.
const (
	fastShutdown      = 8 * time.Second // then SIGQUIT
	immediateShutdown = 5 * time.Second // then SIGKILL
)

// escalation is how a server is told to stop, ever more firmly.
var escalation = []struct {
	signal   syscall.Signal
	patience time.Duration
}{
	{syscall.SIGINT, fastShutdown},
	{syscall.SIGQUIT, immediateShutdown},
	{syscall.SIGKILL, immediateShutdown},
}

// clearTheWay makes the cluster startable: it stops a server that outlived its
// owner and disarms what a crashed one left. It reports whether there was a
// server or a trace of a crash. Only the owner may call it.
func (d directory) clearTheWay(ctx context.Context) (unclean bool, err error) {
	pid, err := d.recordedPid()
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return true, fmt.Errorf("reading the process id of the last server: %w", err)
	}
	if err := d.stopStray(ctx, pid); err != nil {
		return true, err
	}
	if err := d.disarm(); err != nil {
		return true, fmt.Errorf("clearing away the process id of the last server: %w", err)
	}
	return true, nil
}

// pidFile is where a postmaster records that it serves the cluster.
func (d directory) pidFile() string { return filepath.Join(d.cluster(), "postmaster.pid") }

// recordedPid returns the process in postmaster.pid, 0 if it is unreadable.
func (d directory) recordedPid() (int, error) {
	text, err := os.ReadFile(d.pidFile())
	if err != nil {
		return 0, err
	}
	line, _, _ := bytes.Cut(text, []byte("\n"))
	pid, _ := strconv.Atoi(string(bytes.TrimSpace(line)))
	return max(pid, -pid), nil // a single-user server writes it negative
}

// stopStray stops the server of this cluster if that is what pid is, and waits
// until it is gone. Nobody else is ever signalled.
func (d directory) stopStray(ctx context.Context, pid int) error {
	for _, step := range escalation {
		if pid == 0 || !isPostmaster(pid, d.cluster()) {
			return nil
		}
		// Its parent is dead, and the kernel may have interrupted it already; a
		// second time does no harm.
		if err := syscall.Kill(pid, step.signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("stopping the server that was left behind, process %d: %w", pid, err)
		}
		for end := time.Now().Add(step.patience); time.Now().Before(end) && isPostmaster(pid, d.cluster()); {
			if err := pause(ctx, 20*time.Millisecond); err != nil {
				return fmt.Errorf("waiting for the server that was left behind, process %d: %w", pid, err)
			}
		}
	}
	return fmt.Errorf("stopping the server that was left behind: process %d does not end; end it by hand", pid)
}

// disarm puts our own process id into a postmaster.pid that was left behind,
// whose id may meanwhile be a stranger's. PostgreSQL takes a file with the id
// of its parent for a remnant, and, unlike after a removal of the file, still
// looks for server processes that survived and use the same shared memory.
func (d directory) disarm() error {
	text, err := os.ReadFile(d.pidFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the server that we waited for removed it
	}
	if err != nil {
		return err
	}
	_, rest, _ := bytes.Cut(text, []byte("\n"))
	return d.write(d.pidFile(), fmt.Sprintf("%d\n%s", os.Getpid(), rest))
}
