//go:build unix && !aix && !solaris

package embeddedpg

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// account is the user of the operating system that runs initdb and postgres.
type account struct {
	name     string
	uid, gid uint32
	drop     bool // we are root and must become this user
}

// serverAccount picks the user for the data directory dir. An ordinary user runs
// the server as itself. Root runs it as the owner of an existing directory, so
// that root and that user can share it, else as postgres, else as nobody.
func serverAccount(dir string) (account, error) {
	if uid := os.Geteuid(); uid != 0 {
		return account{name: strconv.Itoa(uid), uid: uint32(uid), gid: uint32(os.Getegid())}, nil
	}
	if info, err := os.Stat(dir); err == nil {
		if uid := ownerOf(info); uid != 0 {
			found, err := user.LookupId(strconv.Itoa(int(uid)))
			if err != nil {
				return account{}, fmt.Errorf("looking up the owner of %s: %w; PostgreSQL runs only as a user listed in /etc/passwd", dir, err)
			}
			return droppedTo(found)
		}
	}
	for _, name := range []string{"postgres", "nobody"} {
		if found, err := user.Lookup(name); err == nil {
			return droppedTo(found)
		}
	}
	return account{}, errors.New("choosing a user for PostgreSQL, which refuses to run as root: neither postgres nor nobody exists; create one of them, or run as another user")
}

// droppedTo is the account of found, for a process of root.
func droppedTo(found *user.User) (account, error) {
	uid, uidErr := strconv.ParseUint(found.Uid, 10, 32)
	gid, gidErr := strconv.ParseUint(found.Gid, 10, 32)
	if err := join(uidErr, gidErr); err != nil {
		return account{}, fmt.Errorf("reading the ids of user %s: %w", found.Username, err)
	}
	return account{name: found.Username, uid: uint32(uid), gid: uint32(gid), drop: true}, nil
}

// own gives path to the account. A symbolic link is not followed: the
// directory belongs to a user that root must not trust.
func (a account) own(path string) error {
	if !a.drop {
		return nil
	}
	return os.Lchown(path, int(a.uid), int(a.gid))
}

// sysProcAttr makes a child run as the account, in a session of its own: a
// Ctrl-C on the terminal reaches only us, and we stop the child when we are done.
func (a account) sysProcAttr() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setsid: true}
	if a.drop {
		attr.Credential = &syscall.Credential{Uid: a.uid, Gid: a.gid}
	}
	return attr
}

// mustReach fails when the account may not enter a directory above path, which
// can happen only when root runs the server as another user.
func (a account) mustReach(path string) error {
	if !a.drop {
		return nil
	}
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			return fmt.Errorf("looking at %s: %w", dir, err)
		}
		if !a.mayEnter(info) {
			return fmt.Errorf("preparing %s: PostgreSQL runs as user %s, who may not enter %s; choose a directory elsewhere, such as /var/lib/klingwatch", path, a.name, dir)
		}
		if dir == filepath.Dir(dir) {
			return nil
		}
	}
}

// mayEnter judges by the mode bits, like the kernel where there are no ACLs.
func (a account) mayEnter(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !ok:
		return true
	case stat.Uid == a.uid:
		return info.Mode().Perm()&0o100 != 0
	case stat.Gid == a.gid:
		return info.Mode().Perm()&0o010 != 0
	default:
		return info.Mode().Perm()&0o001 != 0
	}
}

// ownerOf returns the user id that owns the file.
func ownerOf(info fs.FileInfo) uint32 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Uid
	}
	return uint32(os.Geteuid())
}

// mkdirAll creates dir and what is missing above it. Whatever the umask, everybody
// may enter what root creates, since the server's user must.
func mkdirAll(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if parent := filepath.Dir(dir); parent != dir {
		if err := mkdirAll(parent); err != nil {
			return err
		}
	}
	err := os.Mkdir(dir, 0o755)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err == nil && os.Geteuid() == 0 {
		err = os.Chmod(dir, 0o755)
	}
	return err
}

// inherited are the variables that a PostgreSQL process gets from us. No others:
// those called PG... would change what it does, and keys are none of its business.
var inherited = []string{"PATH", "HOME", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"}

// command prepares a program of PostgreSQL to run as the account.
func (a account) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.SysProcAttr = a.sysProcAttr()
	cmd.Dir = "/" // the account may not be allowed to enter ours
	cmd.Env = []string{"LC_ALL=C"}
	for _, name := range inherited {
		if value, ok := os.LookupEnv(name); ok {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	return cmd
}

// run runs a short program to its end, and terminates it when ctx or this process
// ends. It returns the standard output; the error is the line of the standard
// error that says why the program failed.
func (a account) run(ctx context.Context, program string, args ...string) (string, error) {
	for range 20 {
		out, err := a.runOnce(ctx, program, args...)
		if !errors.Is(err, syscall.ETXTBSY) {
			return out, err
		}
		// A program that was just unpacked may still be open for writing in a child
		// that another goroutine has forked, until that child calls exec.
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return "", err
		}
	}
	return a.runOnce(ctx, program, args...)
}

// runOnce is one attempt of run.
func (a account) runOnce(ctx context.Context, program string, args ...string) (string, error) {
	// The kernel watches the thread that starts the child, not the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := a.command(ctx, program, args...)
	dieWithParent(cmd.SysProcAttr, syscall.SIGTERM)
	killed := stopGroup(cmd)
	defer killed.Stop()
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

// groupPatience is how long the programs of a command may take to end, before they are
// killed.
const groupPatience = 4 * time.Second

// stopGroup lets the end of a command's ctx end the programs as well that it started:
// initdb's would go on to write where nobody expects it. Those that do not end within
// some seconds are killed, unless the timer is stopped, as it must be after the command.
func stopGroup(cmd *exec.Cmd) *time.Timer {
	signal := func(signal syscall.Signal) error {
		err := syscall.Kill(-cmd.Process.Pid, signal)
		if errors.Is(err, syscall.ESRCH) {
			return os.ErrProcessDone
		}
		return err
	}
	kill := time.AfterFunc(time.Hour, func() { _ = signal(syscall.SIGKILL) })
	kill.Stop()
	cmd.Cancel = func() error {
		kill.Reset(groupPatience)
		return signal(syscall.SIGTERM)
	}
	cmd.WaitDelay = 2 * groupPatience
	return kill
}

// explain adds what to try when a child could not be started.
func (a account) explain(err error) error {
	if a.drop && errors.Is(err, syscall.EPERM) {
		return fmt.Errorf("switching to user %s: %w; run as an ordinary user, or allow this container to change its user", a.name, err)
	}
	return err
}

// failures are the words in front of the reason why PostgreSQL or initdb ended.
var failures = []string{"PANIC:", "FATAL:", "error:"}

// lastLine returns the line of a PostgreSQL log that a person needs: the last one
// that reports a failure, without what precedes the reason, else the last one that
// is not empty.
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
