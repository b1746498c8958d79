//go:build unix && !aix && !solaris

package embeddedpg

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// largestLog is the size in bytes beyond which a start renames the log and begins
// a new one; one old log is kept.
const largestLog = 4 << 20

// postmaster is a server that this process has started.
type postmaster struct {
	process *os.Process
	gone    chan struct{} // closed when it has ended and was waited for
	end     error         // of cmd.Wait, set before gone is closed
	log     string        // path
	logFrom int64         // where its own lines begin in the log
}

// startPostmaster starts the server on the port and returns at once. The
// parameters of the caller come first: of two values PostgreSQL takes the last.
func (d directory) startPostmaster(bin binaries, port int, parameters map[string]string) (*postmaster, error) {
	log, from, err := d.openLog()
	if err != nil {
		return nil, fmt.Errorf("opening the log of the server: %w", err)
	}
	defer log.Close()
	args := []string{"-D", d.cluster()}
	for _, name := range slices.Sorted(maps.Keys(parameters)) {
		args = append(args, "-c", name+"="+parameters[name])
	}
	args = append(args,
		"-c", "listen_addresses=127.0.0.1",
		"-c", "port="+strconv.Itoa(port),
		"-c", "unix_socket_directories=",
		"-c", "logging_collector=off",
		"-c", "log_destination=stderr",
	)
	cmd := d.account.command(context.Background(), bin.postgres(), args...)
	cmd.Stdout, cmd.Stderr = log, log
	dieWithParent(cmd.SysProcAttr, syscall.SIGINT)

	p := &postmaster{gone: make(chan struct{}), log: d.log(), logFrom: from}
	started := make(chan error)
	go func() {
		// The kernel interrupts the child when the thread that started it ends,
		// so this goroutine keeps its thread until the child has ended.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			p.end = cmd.Wait()
			close(p.gone)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", bin.postgres(), d.account.explain(err))
	}
	p.process = cmd.Process
	return p, nil
}

// openLog opens the log for appending and returns its size.
func (d directory) openLog() (*os.File, int64, error) {
	if info, err := os.Lstat(d.log()); err == nil && info.Size() > largestLog {
		if err := os.Rename(d.log(), d.log()+".1"); err != nil {
			return nil, 0, err
		}
	}
	file, err := d.create(d.log(), os.O_APPEND)
	if err != nil {
		return nil, 0, err
	}
	info, err := file.Stat()
	if err != nil {
		return nil, 0, join(err, file.Close())
	}
	return file, info.Size(), nil
}

// running reports whether the server has not ended.
func (p *postmaster) running() bool {
	select {
	case <-p.gone:
		return false
	default:
		return true
	}
}

// stop stops the server and waits until it has ended: by a fast shutdown, which
// ends its sessions and writes a checkpoint, and by force if it hangs.
func (p *postmaster) stop() error {
	for _, step := range escalation {
		if err := p.process.Signal(step.signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("stopping the server, process %d: %w", p.process.Pid, err)
		}
		timer := time.NewTimer(step.patience)
		select {
		case <-p.gone:
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
	return fmt.Errorf("stopping the server: process %d does not end; see %s", p.process.Pid, p.log)
}

// lastError returns the line of its log that says why the server ended.
func (p *postmaster) lastError() string {
	file, err := os.Open(p.log)
	if err != nil {
		return "it left no log"
	}
	defer file.Close()
	// The reason is among the last lines, however long the log is.
	const tail = 64 << 10
	from := p.logFrom
	if info, err := file.Stat(); err == nil {
		from = max(from, info.Size()-tail)
	}
	text, _ := io.ReadAll(io.NewSectionReader(file, from, tail))
	if line := lastLine(string(text)); line != "" {
		return line
	}
	return "it wrote nothing to its log"
}

// How long a server may take to stop. An immediate shutdown loses nothing either,
// but the next start has to recover.
const (
	fastShutdown      = 8 * time.Second // then SIGQUIT
	immediateShutdown = 5 * time.Second // then SIGKILL
)

// escalation is the order of signals that stop a server, each after the one before
// has not helped.
var escalation = []struct {
	signal   syscall.Signal
	patience time.Duration
}{
	{syscall.SIGINT, fastShutdown},
	{syscall.SIGQUIT, immediateShutdown},
	{syscall.SIGKILL, immediateShutdown},
}

// clearLeftovers prepares the cluster for a start: it stops a server that outlived
// its owner, and replaces the process id that a crashed one left. It reports
// whether there was such a server or a trace of a crash. Only the owner may call it.
func (d directory) clearLeftovers(ctx context.Context) (unclean bool, err error) {
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
	if err := d.takePidFile(); err != nil {
		return true, fmt.Errorf("replacing the process id of the last server: %w", err)
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

// stopStray stops process pid if it is a server of this cluster, and waits until
// it is gone. It never signals any other process.
func (d directory) stopStray(ctx context.Context, pid int) error {
	for _, step := range escalation {
		if pid == 0 || !isPostmaster(pid, d.cluster()) {
			return nil
		}
		// The kernel may have interrupted it already when its parent died; doing so
		// again does no harm.
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

// takePidFile puts our own process id into a postmaster.pid that was left behind;
// the id in it may by now belong to an unrelated process. PostgreSQL regards a file
// with the id of its parent as left over, and, unlike after a removal of the file,
// still looks for server processes that survived and use the same shared memory.
func (d directory) takePidFile() error {
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
