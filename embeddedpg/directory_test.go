//go:build unix && !aix && !solaris

package embeddedpg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestAStrangersProcessInAStalePidFileIsLeftAlone(t *testing.T) {
	t.Parallel()
	dir := newUsedDir(t)
	server := start(t, Config{DataDir: dir})
	pidFile := filepath.Join(dir, "data", "postmaster.pid")
	text, err := os.ReadFile(pidFile)
	check(t, err)
	check(t, server.Close())

	// PostgreSQL itself is hindered only by processes of its own user.
	stranger := server.dir.account.command(context.Background(), "/bin/sleep", "600")
	check(t, stranger.Start())
	ended := make(chan error, 1)
	go func() { ended <- stranger.Wait() }()
	_, rest, _ := strings.Cut(string(text), "\n")
	check(t, server.dir.write(pidFile, fmt.Sprintf("%d\n%s", stranger.Process.Pid, rest)))

	again := start(t, Config{DataDir: dir})
	if got := queryOne[int](t, again.URL(), "select 1"); got != 1 {
		t.Errorf("select 1 = %d", got)
	}
	select {
	case err := <-ended:
		t.Errorf("the stranger was ended: %v", err)
	default:
		check(t, stranger.Process.Kill())
		<-ended
	}
}

func TestAnUnreadablePidFileDoesNotStopAStart(t *testing.T) {
	t.Parallel()
	dir := newUsedDir(t)
	server := start(t, Config{DataDir: dir})
	check(t, server.Close())
	check(t, server.dir.write(server.dir.pidFile(), "")) // a full disk does that
	start(t, Config{DataDir: dir})
}

func TestServerThatOutlivedItsOwnerIsStopped(t *testing.T) {
	t.Parallel()
	dir := newUsedDir(t)
	first := start(t, Config{DataDir: dir})
	bin, err := first.prepare(t.Context())
	check(t, err)
	check(t, first.Close())
	port, err := choosePort(t.Context(), 0, 0)
	check(t, err)
	stray, err := first.dir.startPostmaster(bin, port, speed) // nobody holds the lock
	check(t, err)
	defer stray.process.Kill()
	at := address{port: port, password: first.at.password}
	eventually(t, "the stray answers", func() bool { return at.ping(t.Context()) == nil })

	second := start(t, Config{DataDir: dir})
	eventually(t, "the stray has ended", func() bool { return !stray.running() })
	if got := queryOne[int](t, second.URL(), "select 1"); got != 1 {
		t.Errorf("select 1 = %d", got)
	}
}

func TestInterruptedInitdbIsRepaired(t *testing.T) {
	t.Parallel()
	dir := newDataDir(t)
	victim := startProcess(t, dir, -1)
	eventually(t, "initdb is at work", func() bool {
		begun, _ := filepath.Glob(filepath.Join(dir, unfinished+"*", "PG_VERSION"))
		return len(begun) > 0
	})
	victim.kill()
	if exists(filepath.Join(dir, "data")) {
		t.Error("the unfinished cluster has its final name")
	}
	server := start(t, Config{DataDir: dir})
	if got := queryOne[int](t, server.URL(), "select 1"); got != 1 {
		t.Errorf("select 1 = %d", got)
	}
}

func TestOtherMajorIsRefused(t *testing.T) {
	t.Parallel()
	dir := newDataDir(t)
	check(t, os.MkdirAll(filepath.Join(dir, "data"), 0o700))
	check(t, os.WriteFile(filepath.Join(dir, "data", "PG_VERSION"), []byte("13\n"), 0o600))
	check(t, os.WriteFile(filepath.Join(dir, "owner.lock"), nil, 0o600))
	_, err := Start(t.Context(), Config{DataDir: dir})
	if !errors.Is(err, ErrOtherMajor) || !strings.Contains(err.Error(), "pg_upgrade") {
		t.Errorf("Start: %v", err)
	}
	oneLineOnly(t, err)
}

func TestDirectoryOfOthersIsRefused(t *testing.T) {
	t.Parallel()
	dir := newDataDir(t)
	check(t, os.Mkdir(dir, 0o755))
	check(t, os.WriteFile(filepath.Join(dir, "letter.txt"), nil, 0o600))
	_, err := Start(t.Context(), Config{DataDir: dir})
	if err == nil || !strings.Contains(err.Error(), "letter.txt") {
		t.Errorf("Start: %v", err)
	}
	info, err := os.Stat(dir)
	check(t, err)
	if info.Mode().Perm() != 0o755 {
		t.Errorf("the mode of the refused directory became %o", info.Mode().Perm())
	}
}

func TestUnreachableDirectoryIsRefused(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root starts the server as another user")
	}
	dir := newDataDir(t)
	check(t, os.Chmod(filepath.Dir(dir), 0o700))
	_, err := Start(t.Context(), Config{DataDir: dir})
	if err == nil || !strings.Contains(err.Error(), "who may not enter "+filepath.Dir(dir)) {
		t.Errorf("Start: %v", err)
	}
}

func TestAFailedStartNamesTheReasonAndTheLog(t *testing.T) {
	t.Parallel()
	dir := newUsedDir(t)
	_, err := Start(t.Context(), Config{DataDir: dir, Parameters: map[string]string{"fsync": "off", "max_connections": "none"}})
	if err == nil {
		t.Fatal("started with nonsense")
	}
	for _, want := range []string{"max_connections", filepath.Join(dir, "postgres.log")} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not name %s", err, want)
		}
	}
	oneLineOnly(t, err)
}

func TestHolderOfTheLockThatNeverServesIsNamed(t *testing.T) {
	t.Parallel()
	dir := newDataDir(t)
	opened, err := openDirectory(dir)
	check(t, err)
	file, err := opened.create(opened.lock(), 0)
	check(t, err)
	lock := fileLock{file}
	defer lock.close()
	check(t, lock.wait(t.Context()))
	lock.report("starting")
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	_, err = Start(ctx, Config{DataDir: dir})
	want := fmt.Sprintf("process %d holds it (starting)", os.Getpid())
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), want) {
		t.Errorf("Start: %v, want %q", err, want)
	}
}

func TestLongLogIsSetAside(t *testing.T) {
	t.Parallel()
	dir := newUsedDir(t)
	server := start(t, Config{DataDir: dir})
	check(t, server.Close())
	check(t, os.Truncate(filepath.Join(dir, "postgres.log"), largestLog+1))
	start(t, Config{DataDir: dir})
	info, err := os.Stat(filepath.Join(dir, "postgres.log"))
	check(t, err)
	if info.Size() > largestLog {
		t.Errorf("the log has %d bytes", info.Size())
	}
}

func TestErrorsOfSeveralStepsAreOneLine(t *testing.T) {
	t.Parallel()
	full, broken := errors.New("the disk is full"), errors.New("the file is broken")
	err := join(nil, full, nil, broken)
	if !errors.Is(err, full) || !errors.Is(err, broken) || err.Error() != "the disk is full; the file is broken" {
		t.Errorf("joined: %q", err)
	}
	if alone := join(nil, full); join(nil, nil) != nil || alone.Error() != full.Error() {
		t.Errorf("one error or none is changed: %q", alone)
	}
}

func TestTheLastLineOfALogIsTheOneWithTheFailure(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ log, want string }{
		{"", ""},
		{"one\ntwo\n\n", "two"},
		{"2026-11-23 10:00:00 UTC [7] LOG:  starting\n2026-11-23 10:00:00 UTC [7] FATAL:  no room\nHINT: make some\n", "no room"},
		{"initdb: error: directory exists\ninitdb: hint: remove it\n", "directory exists"},
		{"ERROR:  duplicate key\nLOG:  bye\n", "LOG:  bye"}, // of some client
	} {
		if got := lastLine(c.log); got != c.want {
			t.Errorf("lastLine(%q) = %q, want %q", c.log, got, c.want)
		}
	}
}

// kill ends a process with SIGKILL.
func kill(t *testing.T, pid int) {
	t.Helper()
	check(t, syscall.Kill(pid, syscall.SIGKILL))
}

// wait waits for the end of the process, however it ends.
func (p *process) wait() error {
	var exit *exec.ExitError
	if err := p.cmd.Wait(); err != nil && !errors.As(err, &exit) {
		return err
	}
	return nil
}

// oneLineOnly fails if there is no error or it has several lines.
func oneLineOnly(t *testing.T, err error) {
	t.Helper()
	if err == nil || strings.Contains(err.Error(), "\n") {
		t.Errorf("%q is not one line", err)
	}
}

// initdb starts programs of its own, which may go on for a while when it is gone.
func TestNothingWritesOnAfterAnInterruptedInitdb(t *testing.T) {
	t.Parallel()
	dir, bin := newDataDir(t), filepath.Join(newDataDir(t), "bin")
	check(t, os.MkdirAll(bin, 0o755))
	for name, script := range map[string]string{
		"postgres": "echo 'postgres (PostgreSQL) 17.1'",
		"initdb":   `for arg; do case $arg in --pgdata=*) cd "${arg#--pgdata=}";; esac; done; (i=0; while [ $i -lt 5000 ] && mkdir -p base; do i=$((i+1)); done) & wait`,
	} {
		check(t, os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755))
	}
	ctx, interrupt := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := Start(ctx, Config{DataDir: dir, BinDir: bin})
		ended <- err
	}()
	eventually(t, "initdb writes", func() bool {
		found, _ := filepath.Glob(filepath.Join(dir, unfinished+"*", "base"))
		return len(found) > 0
	})
	begun := time.Now()
	interrupt()
	if err := <-ended; !errors.Is(err, context.Canceled) || time.Since(begun) > 4*time.Second {
		t.Errorf("Start ended after %s: %v", time.Since(begun), err)
	}
	if found, _ := filepath.Glob(filepath.Join(dir, unfinished+"*")); len(found) > 0 {
		t.Errorf("left behind: %q", found)
	}
}
