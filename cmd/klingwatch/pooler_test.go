package main

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/klingwatch/klingwatch/db/dbtest"
	"github.com/klingwatch/klingwatch/klingapi/klingsim"
)

// pooled starts a PgBouncer in front of a database and returns its URL.
func pooled(t *testing.T, databaseURL, mode string) string {
	t.Helper()
	binary, err := exec.LookPath("pgbouncer")
	if err != nil {
		binary = "/usr/sbin/pgbouncer"
		if _, err := os.Stat(binary); err != nil {
			if os.Getenv("CI") != "" {
				t.Fatal("pgbouncer is not installed")
			}
			t.Skip("pgbouncer is not installed: install the package pgbouncer to run this test")
		}
	}
	server, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	password, _ := server.User.Password()
	addr := reservedAddr(t)
	_, port, _ := net.SplitHostPort(addr)
	dir := t.TempDir()
	config := filepath.Join(dir, "pgbouncer.ini")
	text := fmt.Sprintf(`[databases]
pooled = host=%s port=%s dbname=%s user=%s password=%s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %s
unix_socket_dir =
auth_type = any
pool_mode = %s
default_pool_size = 60
max_client_conn = 500
`, server.Hostname(), server.Port(), strings.TrimPrefix(server.Path, "/"), server.User.Username(), password, port, mode)
	if os.Geteuid() == 0 {
		text += "user = nobody\n" // it refuses to run as root
	}
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	pooler := exec.Command(binary, "-q", config)
	var said strings.Builder
	pooler.Stdout, pooler.Stderr = &said, &said
	if err := pooler.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = pooler.Process.Kill()
		_ = pooler.Wait()
		if t.Failed() {
			t.Log("pgbouncer said:", said.String())
		}
	})
	await(t, "pgbouncer listens", func() bool {
		conn, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return "postgres://" + server.User.Username() + "@" + addr + "/pooled?sslmode=disable"
}

// reservedAddr is an address for a program of others. A socket that does not listen holds it
// until the end of the test: the system gives it to nobody who wants any port, and lets a
// program have it that asks for it, as servers do, with SO_REUSEADDR.
func reservedAddr(t *testing.T) string {
	t.Helper()
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(socket) })
	syscall.CloseOnExec(socket)
	if err := syscall.SetsockoptInt(socket, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Bind(socket, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	at, err := syscall.Getsockname(socket)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", at.(*syscall.SockaddrInet4).Port)
}

// A pooler that gives each client a session for as long as it stays is like the server.
func TestTheServiceWorksBehindAPoolerOfSessions(t *testing.T) {
	t.Parallel()
	databaseURL := dbtest.NewEmptyURL(t)
	env := serveEnv(pooled(t, databaseURL, "session"), simulate(t, klingsim.Config{Seed: 1, Lifetime: 500 * time.Millisecond}))
	migrate := launch(t, env, "migrate")
	if code, stderr := migrate.ended(t); code != exitOK {
		t.Fatalf("migrate: exit code %d, %s", code, stderr)
	}
	serve := launch(t, env, "serve")
	base := serve.ready(t)
	track := launch(t, env, "track", "--wait", "images/generations", "ok-1", "ok-2", "ok-3")
	if code, stderr := track.ended(t); code != exitOK {
		t.Errorf("track --wait: exit code %d, %s", code, stderr)
	}
	doctor := launch(t, env, "doctor")
	if code, _ := doctor.ended(t); code != exitOK {
		t.Errorf("doctor: exit code %d\n%s", code, doctor.stdout())
	}
	if got := status(base + "/readyz"); got != 200 {
		t.Errorf("readiness: %d", got)
	}
}

func TestAPoolerOfTransactionsIsRefusedInOneLine(t *testing.T) {
	t.Parallel()
	const says = "a pooler lends each transaction another session of the server, but klingwatch needs sessions of its own: set pool_mode = session"
	for _, mode := range []string{"transaction", "statement"} {
		pooledURL := pooled(t, dbtest.NewURL(t), mode)
		for _, line := range []string{"serve", "migrate", "track videos/text2video t1", "list", "doctor"} {
			launch(t, append(anyRelay, "DATABASE_URL="+pooledURL), strings.Fields(line)...).answer(t).fails(t, says, "bad     database       database pooled on 127.0.0.1 port ")
		}
	}
}

// A character that the database cannot hold would be refused with the verdict that holds
// it, each time.
func TestADatabaseOfAnotherEncodingIsRefusedInOneLine(t *testing.T) {
	t.Parallel()
	admin := open(t, dbtest.NewEmptyURL(t))
	name := fmt.Sprintf("latin_%d", time.Now().UnixNano())
	if _, err := admin.Exec(t.Context(), `create database `+name+` encoding 'LATIN1' locale 'C' template template0`); err != nil {
		t.Fatal(err)
	}
	at := admin.Config().ConnConfig
	latin := fmt.Sprintf("DATABASE_URL=postgres://%s:%s@%s:%d/%s", at.User, at.Password, at.Host, at.Port, name)
	for _, line := range []string{"serve", "migrate", "doctor"} {
		launch(t, append(anyRelay, latin), strings.Fields(line)...).answer(t).fails(t, "it is encoded in LATIN1, ", "it is encoded in LATIN1, ")
	}
}
