package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db/dbtest"
)

// interrupt sends what Ctrl-C does, waits for the end and returns the exit code and
// stderr.
func (p *process) interrupt(t *testing.T) (code int, stderr string) {
	t.Helper()
	if err := p.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	return p.ended(t)
}

// stopsWith fails unless the process ends at a signal with "stopped" and code 1.
func (p *process) stopsWith(t *testing.T) {
	t.Helper()
	code, stderr := p.interrupt(t)
	if last := stderr[strings.LastIndex(stderr, "\n")+1:]; code != exitError || last != "klingwatch: stopped" {
		t.Errorf("%s: exit code %d, want 1 and to be stopped:\n%s", strings.Join(p.Args, " "), code, stderr)
	}
}

// A person may stop to wait for a server that does not answer.
func TestEveryCommandStopsWhileItConnects(t *testing.T) {
	t.Parallel()
	for _, line := range onDatabase {
		addr, accepted := silentServer(t)
		p := launch(t, append(anyRelay, "DATABASE_URL=postgres://user:pass-secret@"+addr+"/x"), strings.Fields(line)...)
		<-accepted
		p.stopsWith(t)
	}
}

// A query that takes long is given up.
func TestEveryCommandStopsWhileItAsks(t *testing.T) {
	t.Parallel()
	databaseURL := dbtest.NewURL(t)
	pool := open(t, databaseURL)
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	for _, sql := range []string{`set local idle_in_transaction_session_timeout = 0`, `lock table klingwatch.migrations`} { // they all look there first
		if _, err := tx.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	for _, line := range onDatabase {
		if line == "doctor" || line == "sql select" { // its checks have limits of their own; psql asks for no table
			continue
		}
		var begun time.Time
		if err := pool.QueryRow(t.Context(), `select clock_timestamp()`).Scan(&begun); err != nil {
			t.Fatal(err)
		}
		p := launch(t, append(anyRelay, "DATABASE_URL="+databaseURL), strings.Fields(line)...)
		await(t, line+" waits for the lock", func() (waits bool) {
			err := pool.QueryRow(t.Context(), `
				select exists (select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database() and backend_start > $1)`,
				begun).Scan(&waits)
			return err == nil && waits
		})
		p.stopsWith(t)
	}
}

func TestEveryCommandStopsWhileItWaits(t *testing.T) {
	t.Parallel()
	databaseURL := dbtest.NewURL(t)
	pool := open(t, databaseURL)
	env := append(anyRelay, "DATABASE_URL="+databaseURL, "KLINGWATCH_WEBHOOK_ALLOW_NETWORKS=127.0.0.0/8")
	start := func(line string, more ...string) *process {
		return launch(t, append(slices.Clone(env), more...), strings.Fields(line)...)
	}
	printed := func(p *process, text string) {
		t.Helper()
		await(t, strings.Join(p.Args, " ")+" prints "+text, func() bool { return strings.Contains(p.stdout(), text) })
	}

	silent, asked := silentServer(t)
	doctor := start("doctor", "KLING_BASE_URL=http://"+silent)
	<-asked
	doctor.stopsWith(t)

	silent, asked = silentServer(t)
	healthcheck := start("healthcheck --url http://" + silent)
	<-asked
	healthcheck.stopsWith(t)

	silent, asked = silentServer(t)
	ping := start("endpoints ping http://" + silent + "/hook")
	<-asked
	ping.stopsWith(t)

	track := start("track --wait videos/text2video t1")
	printed(track, "1\tt1")
	track.stopsWith(t)

	canceling := start("cancel --wait --yes --since 1h")
	printed(canceling, "bulk action 1")
	canceling.stopsWith(t)
	klingwatch(t, env, "bulk", "stop", "1") // what serve polls below
	watched := start("list --watch")
	printed(watched, "t1")
	watched.stopsWith(t)

	sim := start("sim --listen 127.0.0.1:0")
	printed(sim, "simulated relay at ")
	if code, stderr := sim.interrupt(t); code != exitOK || stderr != "" {
		t.Errorf("sim: exit code %d: %s", code, stderr)
	}
	interruptServe(t, pool, start("serve"))
}

// The service stops well although its relay is gone, and a task waits for it.
func interruptServe(t *testing.T, pool *pgxpool.Pool, serve *process) {
	t.Helper()
	serve.ready(t)
	await(t, "the relay is not reached", func() bool {
		return count(t, pool, `select count(*) from klingwatch.tasks where last_error like 'unreachable: %'`) == 1
	})
	if code, stderr := serve.interrupt(t); code != exitOK || serve.said("stopped") == nil {
		t.Errorf("serve: exit code %d\n%s", code, stderr)
	}
}

// The program that sends the ids may never end.
func TestTrackStopsWhileItReads(t *testing.T) {
	t.Parallel()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer write.Close()
	p := launchReading(t, read, append(anyRelay, "DATABASE_URL="+dbtest.NewURL(t)), "track", "videos/text2video")
	read.Close()
	// more than a pipe holds: when it is written, the command reads
	if _, err := write.WriteString(strings.Repeat("id ", 100_000)); err != nil {
		t.Fatal(err)
	}
	p.stopsWith(t)
}

// A Ctrl-C belongs to psql, and a second one does not leave it alone on the terminal.
func TestSQLStaysWithPsqlAndEndsIt(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("psql"); err != nil {
		t.Skip("psql is not installed")
	}
	databaseURL := dbtest.NewURL(t)
	pool := open(t, databaseURL)
	p := launch(t, append(anyRelay, "DATABASE_URL="+databaseURL), "sql", "select pg_sleep(30)")
	await(t, "psql asks", func() bool {
		return count(t, pool, `select count(*) from pg_stat_activity where query = 'select pg_sleep(30)' and datname = current_database()`) == 1
	})
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGINT, syscall.SIGTERM} {
		if err := p.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
	}
	if code, stderr := p.ended(t); code != exitError || stderr != "klingwatch: stopped" {
		t.Errorf("%s: %s", p.ProcessState, stderr)
	}
}

// moments_test.go tells of the other moments.
func TestDevCleansUpWhenItIsStoppedWhilePostgresIsMade(t *testing.T) {
	t.Parallel()
	tempDir := dbtest.NewDir(t)
	p := launch(t, []string{"TMPDIR=" + tempDir, "KLINGWATCH_LISTEN_ADDR=127.0.0.1:0"}, "dev")
	await(t, "Postgres is made", func() bool {
		found, _ := filepath.Glob(tempDir + "/klingwatch-dev-*/postgres/data*")
		return len(found) > 0
	})
	p.stopsWith(t)
	if left := leftBehind(tempDir); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}
