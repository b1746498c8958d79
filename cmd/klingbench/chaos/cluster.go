package chaos

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
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

	"github.com/klingwatch/klingwatch/cmd/klingbench/process"
	"github.com/klingwatch/klingwatch/embeddedpg"
)

// cluster is the Postgres of the run: a primary, at times a standby, and the
// primary before, which a change of roles leaves running.
type cluster struct {
	dir      string
	password string // of all roles that are not the superuser
	clock    *serverClock

	mu      sync.Mutex
	primary *server
	retired *server // nil before the first change of roles
	standby *server // nil but during a change of roles
	copies  int
}

// openCluster makes a cluster with its roles; it runs when this returns.
func openCluster(ctx context.Context, dir, bin string, clock *serverClock, say func(string)) (*cluster, error) {
	c := &cluster{dir: dir, password: rand.Text(), clock: clock}
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
	c.primary = &server{bin: bin, data: filepath.Join(home, "data"), port: port, password: superPassword, env: clock.env()}
	return c, c.primary.start(ctx)
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

// freePort is a port below those that the system gives to outgoing connections.
func freePort() (int, error) {
	for port := 15000; port < 20000; port++ {
		listener, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			return port, listener.Close()
		}
	}
	return 0, errors.New("choosing a port for Postgres: none between 15000 and 19999 is free on 127.0.0.1")
}

// current is the server that is the primary at present.
func (c *cluster) current() *server {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.primary
}

// asAdmin calls work with a connection to the primary.
func (c *cluster) asAdmin(ctx context.Context, work func(context.Context, *pgx.Conn) error) error {
	return c.current().asAdmin(ctx, work)
}

// canCopy reports whether there is the program that makes standbys: downloaded
// Postgres binaries lack it.
func (c *cluster) canCopy() bool {
	_, err := os.Stat(filepath.Join(c.primary.bin, "pg_basebackup"))
	return err == nil
}

// addStandby makes a streaming standby of the primary.
func (c *cluster) addStandby(ctx context.Context) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	primary := c.current()
	c.copies++
	s := &server{bin: primary.bin, data: filepath.Join(filepath.Dir(primary.data), fmt.Sprintf("data-%d", c.copies)), port: port, password: primary.password, env: c.clock.env()}
	source := urlAt(primary.addr(), embeddedpg.Superuser, primary.password)
	cmd := exec.Command(filepath.Join(s.bin, "pg_basebackup"), "--dbname="+source, "--pgdata="+s.data, //nolint:noctx // waited for below
		"--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast", "--no-sync")
	cmd.Dir, cmd.Env = "/", []string{"LC_ALL=C", "PATH=" + os.Getenv("PATH"), "LD_LIBRARY_PATH=" + os.Getenv("LD_LIBRARY_PATH")}
	if err := process.RunAsOwner(cmd, primary.data); err != nil {
		return err
	}
	if err := runToEnd(ctx, cmd); err != nil {
		return fmt.Errorf("copying the primary: %w", err)
	}
	c.mu.Lock()
	c.standby = s
	c.mu.Unlock()
	if err := s.start(ctx); err != nil {
		return err
	}
	return c.until(ctx, s, "the standby follows the primary", isReceiving)
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

// change makes a fresh standby the primary; move is called when it can be written
// to. The old primary stays, read-only, with its connections open. Where lag is
// more than zero, the standby misses what was written during that time.
func (c *cluster) change(ctx context.Context, lag time.Duration, move func(addr string)) (err error) {
	if c.retired != nil {
		c.retired.stop() // whoever still talks to it learns now
		c.retired = nil
	}
	if err := c.addStandby(ctx); err != nil {
		return err
	}
	old, standby := c.current(), c.standby
	if lag > 0 {
		if err := standby.asAdmin(ctx, stopReceiving); err != nil {
			return err
		}
		if err := pause(ctx, lag); err != nil {
			return err
		}
	}
	if err := c.freeze(ctx, old); err != nil {
		return err
	}
	if lag == 0 {
		if err := c.catchUp(ctx, old, standby); err != nil {
			return err
		}
	}
	if err := standby.asAdmin(ctx, promote); err != nil {
		return err
	}
	c.mu.Lock()
	c.primary, c.retired, c.standby = standby, old, nil
	c.mu.Unlock()
	move(standby.addr())
	return nil
}

// freeze makes a primary read-only, and waits until nothing is being written.
func (c *cluster) freeze(ctx context.Context, s *server) error {
	if err := s.asAdmin(ctx, func(ctx context.Context, conn *pgx.Conn) error { return setReadOnly(ctx, conn, true) }); err != nil {
		return fmt.Errorf("making the primary read-only: %w", err)
	}
	for quiet := 0; quiet < 3; {
		fresh, err := pgx.Connect(ctx, urlAt(s.addr(), embeddedpg.Superuser, s.password))
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
		if err := pause(ctx, second/20); err != nil {
			return err
		}
	}
	return nil
}

// catchUp waits until a standby has all that the primary has written.
func (c *cluster) catchUp(ctx context.Context, primary, standby *server) error {
	var end string
	err := primary.asAdmin(ctx, func(ctx context.Context, conn *pgx.Conn) (err error) {
		end, err = walEnd(ctx, conn)
		return err
	})
	if err != nil {
		return err
	}
	return c.until(ctx, standby, "the standby has caught up", func(ctx context.Context, conn *pgx.Conn) (bool, error) {
		return hasReplayed(ctx, conn, end)
	})
}

// until waits for something that a server tells.
func (c *cluster) until(ctx context.Context, s *server, what string, holds func(context.Context, *pgx.Conn) (bool, error)) error {
	err := s.asAdmin(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		for {
			if yes, err := holds(ctx, conn); yes || err != nil {
				return err
			}
			if err := pause(ctx, second/20); err != nil {
				return err
			}
		}
	})
	if err != nil {
		return fmt.Errorf("waiting until %s: %w", what, err)
	}
	return nil
}

// close stops all servers.
func (c *cluster) close() {
	c.mu.Lock()
	all := []*server{c.standby, c.retired, c.primary}
	c.mu.Unlock()
	var stopping sync.WaitGroup
	for _, s := range all {
		if s != nil {
			stopping.Go(s.stop)
		}
	}
	stopping.Wait()
}
