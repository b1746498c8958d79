package cluster

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/process"
	"github.com/klingwatch/klingwatch/embeddedpg"
)

// Cluster is the Postgres of the run: a primary, at times a standby, and the
// primary before, which a change of roles leaves running.
type Cluster struct {
	dir      string
	password string // of all roles that are not the superuser
	clock    *Clock

	mu      sync.Mutex
	primary *Server
	retired *Server // nil before the first change of roles
	standby *Server // nil but during a change of roles
	copies  int
}

// Open makes a cluster with its roles; it runs when this returns.
func Open(ctx context.Context, dir, bin string, clock *Clock, say func(string)) (*Cluster, error) {
	c := &Cluster{dir: dir, password: rand.Text(), clock: clock}
	home := filepath.Join(dir, "postgres")
	embedded, err := embeddedpg.Start(ctx, embeddedpg.Config{
		DataDir: home, BinDir: bin, Database: databaseName, Parameters: map[string]string{"fsync": "off"}, Notify: say,
	})
	if err != nil {
		return nil, err
	}
	// It has found the programs, the user to run them as, and made the data. From here on the
	// processes are ours: it would start a killed server again at once.
	bin, superPassword, err := prepare(ctx, embedded.URL(), c.password)
	if err := errors.Join(err, embedded.Close()); err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	c.primary = &Server{bin: bin, data: filepath.Join(home, "data"), port: port, password: superPassword, env: clock.env()}
	return c, c.primary.Start(ctx)
}

// prepare makes the roles, and returns the directory of the programs and the
// superuser's password.
func prepare(ctx context.Context, serverURL, password string) (bin, superPassword string, err error) {
	u, err := url.Parse(serverURL)
	if err != nil {
		return "", "", err
	}
	superPassword, _ = u.User.Password()
	conn, err := pgx.Connect(ctx, serverURL)
	if err != nil {
		return "", "", err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := createRoles(ctx, conn, password); err != nil {
		return "", "", fmt.Errorf("preparing the roles: %w", err)
	}
	bin, err = programsDir(ctx, conn)
	return bin, superPassword, err
}

// freePort is a port below those that the system gives to outgoing connections, and not
// the first: another run could take it while its Postgres is down.
func freePort() (int, error) {
	for range 1000 {
		port := 15000 + mathrand.IntN(5000)
		listener, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			return port, listener.Close()
		}
	}
	return 0, errors.New("choosing a port for Postgres: 1000 between 15000 and 19999 are taken on 127.0.0.1")
}

// Current is the server that is the primary at present.
func (c *Cluster) Current() *Server {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.primary
}

// AsAdmin calls work with a connection to the primary.
func (c *Cluster) AsAdmin(ctx context.Context, work func(context.Context, *pgx.Conn) error) error {
	return c.Current().AsAdmin(ctx, work)
}

// URL is the URL of the database for a role, at the address of a server or of a proxy.
func (c *Cluster) URL(addr, role string) string { return urlAt(addr, role, c.password) }

// Retired is the primary before, nil where there was no change of roles.
func (c *Cluster) Retired() *Server {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.retired
}

// CanCopy returns an error where there is no program that makes standbys: downloaded
// Postgres binaries lack it.
func (c *Cluster) CanCopy() error {
	if _, err := os.Stat(filepath.Join(c.primary.bin, "pg_basebackup")); err != nil {
		return fmt.Errorf("there is no pg_basebackup beside postgres in %s", c.primary.bin)
	}
	return nil
}

// addStandby makes a streaming standby of the primary.
func (c *Cluster) addStandby(ctx context.Context) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	primary := c.Current()
	c.copies++
	s := &Server{bin: primary.bin, data: filepath.Join(filepath.Dir(primary.data), fmt.Sprintf("data-%d", c.copies)), port: port, password: primary.password, env: c.clock.env()}
	source := urlAt(primary.Addr(), embeddedpg.Superuser, primary.password)
	cmd := s.command("pg_basebackup", "--dbname="+source, "--pgdata="+s.data, "--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast", "--no-sync")
	if err := process.RunAsOwner(cmd, primary.data); err != nil {
		return err
	}
	if err := runToEnd(ctx, cmd); err != nil {
		return fmt.Errorf("copying the primary: %w", err)
	}
	c.mu.Lock()
	c.standby = s
	c.mu.Unlock()
	if err := s.Start(ctx); err != nil {
		return err
	}
	return s.until(ctx, "the standby follows the primary", isReceiving)
}

// runToEnd runs a short program, and kills it when ctx ends.
func runToEnd(ctx context.Context, cmd *exec.Cmd) error {
	program, err := process.Launch(cmd, syscall.SIGKILL)
	if err != nil {
		return err
	}
	select {
	case <-program.Gone():
	case <-ctx.Done():
		program.Kill()
		return ctx.Err()
	}
	if !cmd.ProcessState.Success() {
		return fmt.Errorf("%s ended with %s", filepath.Base(cmd.Path), program.Ended())
	}
	return nil
}

// Change makes a fresh standby the primary. The old primary stays, read-only, with its
// connections open. Where lag is more than zero, the standby misses what was written
// during that time. hold is how long there is no primary; frozen when that began.
func (c *Cluster) Change(ctx context.Context, lag, hold time.Duration) (frozen time.Time, err error) {
	if before := c.Retired(); before != nil {
		before.stop() // whoever still talks to it learns now
	}
	if err := c.addStandby(ctx); err != nil {
		return frozen, err
	}
	old, standby := c.Current(), c.standby
	if lag > 0 {
		if err := standby.AsAdmin(ctx, stopReceiving); err != nil {
			return frozen, err
		}
		if err := bench.Pause(ctx, lag); err != nil {
			return frozen, err
		}
	}
	if err := c.freeze(ctx, old); err != nil {
		return frozen, err
	}
	frozen = time.Now()
	if lag == 0 {
		if err := c.catchUp(ctx, old, standby); err != nil {
			return frozen, err
		}
	}
	if err := bench.Pause(ctx, hold); err != nil {
		return frozen, err
	}
	if err := standby.AsAdmin(ctx, promote); err != nil {
		return frozen, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.primary, c.retired, c.standby = standby, old, nil
	return frozen, nil
}

// freeze makes a primary read-only, and waits until nothing is being written.
func (c *Cluster) freeze(ctx context.Context, s *Server) error {
	if err := s.AsAdmin(ctx, func(ctx context.Context, conn *pgx.Conn) error { return SetReadOnly(ctx, conn, true) }); err != nil {
		return fmt.Errorf("making the primary read-only: %w", err)
	}
	for quiet := 0; quiet < 3; {
		fresh, err := pgx.Connect(ctx, urlAt(s.Addr(), embeddedpg.Superuser, s.password))
		if err != nil {
			return err
		}
		readOnly, err := startsReadOnly(ctx, fresh)
		n, writingErr := writing(ctx, fresh)
		_ = fresh.Close(ctx)
		if err := errors.Join(err, writingErr); err != nil {
			return err
		}
		quiet++
		if !readOnly || n > 0 {
			quiet = 0
		}
		if err := bench.Pause(ctx, time.Second/20); err != nil {
			return err
		}
	}
	return nil
}

// catchUp waits until a standby has all that the primary has written.
func (c *Cluster) catchUp(ctx context.Context, primary, standby *Server) error {
	var end string
	err := primary.AsAdmin(ctx, func(ctx context.Context, conn *pgx.Conn) (err error) {
		end, err = walEnd(ctx, conn)
		return err
	})
	if err != nil {
		return err
	}
	return standby.until(ctx, "the standby has caught up", func(ctx context.Context, conn *pgx.Conn) (bool, error) {
		return hasReplayed(ctx, conn, end)
	})
}

// Close stops all servers.
func (c *Cluster) Close() {
	c.mu.Lock()
	all := []*Server{c.standby, c.retired, c.primary}
	c.mu.Unlock()
	var stopping sync.WaitGroup
	for _, s := range all {
		if s != nil {
			stopping.Go(s.stop)
		}
	}
	stopping.Wait()
}
