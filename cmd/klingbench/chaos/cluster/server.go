package cluster

import (
	"context"
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

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/process"
	"github.com/klingwatch/klingwatch/embeddedpg"
)

const (
	// maxConnections is what the server allows: klingwatch takes 21 per process.
	maxConnections = 90
	// startLimit bounds a start, recovery included.
	startLimit = 60 * time.Second
	// connectLimit bounds a connection to a server that is next door.
	connectLimit = 3 * time.Second
	// adminLimit bounds one question of ours to the server.
	adminLimit = 10 * time.Second
)

// Server is one Postgres on one data directory and port.
type Server struct {
	bin      string // directory of the programs
	data     string
	port     int
	password string // of the superuser
	env      []string

	mu      sync.Mutex
	program *process.Program // nil while it does not run
}

// Addr is where it listens.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// urlAt is the URL of the database for a user, at an address.
func urlAt(addr, user, password string) string {
	u := url.URL{Scheme: "postgres", User: url.UserPassword(user, password), Host: addr, Path: "/" + databaseName, RawQuery: "sslmode=disable"}
	return u.String()
}

// Start starts the server and waits until it answers. After a kill, leftovers may
// refuse it for a moment.
func (s *Server) Start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for {
		program, err := s.launch()
		if err != nil {
			return err
		}
		if s.answers(ctx, program) {
			return nil
		}
		if err := bench.Pause(ctx, time.Second/4); err != nil {
			return fmt.Errorf("starting Postgres on %s: it does not answer: %s", s.data, lastWords(s.logPath()))
		}
	}
}

// launch starts the process.
func (s *Server) launch() (*process.Program, error) {
	log, err := os.OpenFile(s.logPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the log of Postgres: %w", err)
	}
	defer log.Close()
	cmd := s.command("postgres", "-D", s.data)
	for name, value := range map[string]string{
		"port": strconv.Itoa(s.port), "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "logging_collector": "off",
		"max_connections": strconv.Itoa(maxConnections), "shared_buffers": "64MB", "wal_keep_size": "512MB",
		"fsync":                      "off",  // a kill -9 loses nothing that the kernel has
		"dynamic_shared_memory_type": "mmap", // files in the data directory: nothing else is left after a kill
	} {
		cmd.Args = append(cmd.Args, "-c", name+"="+value)
	}
	cmd.Stdout, cmd.Stderr, cmd.Env = log, log, append(cmd.Env, s.env...)
	if err := process.RunAsOwner(cmd, s.data); err != nil {
		return nil, err
	}
	program, err := process.Launch(cmd, syscall.SIGQUIT)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.program = program
	return program, nil
}

// command is one of the programs of Postgres, in an environment of its own.
func (s *Server) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.bin, name), args...) //nolint:noctx // the callers end it in good order
	cmd.Dir, cmd.Env = "/", []string{"LC_ALL=C", "PATH=" + os.Getenv("PATH"), "LD_LIBRARY_PATH=" + os.Getenv("LD_LIBRARY_PATH")}
	return cmd
}

// answers waits until the server answers; false when the process ends before.
func (s *Server) answers(ctx context.Context, program *process.Program) bool {
	for ctx.Err() == nil {
		if conn, err := s.connect(ctx); err == nil {
			_ = conn.Close(ctx)
			return true
		}
		select {
		case <-program.Gone():
			return false
		case <-ctx.Done():
		case <-time.After(time.Second / 20):
		}
	}
	return false
}

// connect signs in as the superuser, for whom there is always room, and who writes
// also where that is not the default.
func (s *Server) connect(ctx context.Context) (*pgx.Conn, error) {
	config, err := pgx.ParseConfig(urlAt(s.Addr(), embeddedpg.Superuser, s.password))
	if err != nil {
		return nil, err
	}
	config.ConnectTimeout = connectLimit
	config.RuntimeParams["default_transaction_read_only"] = "off"
	return pgx.ConnectConfig(ctx, config)
}

// AsAdmin calls work with a connection of the superuser.
func (s *Server) AsAdmin(ctx context.Context, work func(context.Context, *pgx.Conn) error) error {
	ctx, cancel := context.WithTimeout(ctx, adminLimit)
	defer cancel()
	conn, err := s.connect(ctx)
	if err != nil {
		return fmt.Errorf("connecting to Postgres on port %d: %w", s.port, err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return work(ctx, conn)
}

// until waits for something that the server tells.
func (s *Server) until(ctx context.Context, what string, holds func(context.Context, *pgx.Conn) (bool, error)) error {
	err := s.AsAdmin(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		for {
			if yes, err := holds(ctx, conn); yes || err != nil {
				return err
			}
			if err := bench.Pause(ctx, time.Second/20); err != nil {
				return err
			}
		}
	})
	if err != nil {
		return fmt.Errorf("waiting until %s: %w", what, err)
	}
	return nil
}

// running is the process; nil where there is none.
func (s *Server) running() *process.Program {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.program
}

// Kill is kill -9 of the server with all its processes.
func (s *Server) Kill() error {
	program := s.running()
	if program == nil {
		return nil
	}
	if err := program.Freeze(); err != nil { // it begins no further process
		return fmt.Errorf("killing Postgres: %w", err)
	}
	children, err := process.Children(program.PID())
	program.Kill()
	for _, pid := range children {
		if child, findErr := os.FindProcess(pid); findErr == nil {
			if killErr := child.Kill(); killErr != nil && !errors.Is(killErr, os.ErrProcessDone) {
				err = errors.Join(err, killErr)
			}
		}
	}
	s.forget(program)
	return err
}

// stop ends the server at once but in good order: its sessions are cut off.
func (s *Server) stop() {
	if program := s.running(); program != nil {
		program.Stop(syscall.SIGQUIT, 10*time.Second)
		s.forget(program)
	}
}

// forget notes that the process is gone, and removes what libfaketime leaves in
// shared memory after a kill.
func (s *Server) forget(program *process.Program) {
	for _, prefix := range []string{"faketime_shm_", "sem.faketime_sem_"} {
		_ = os.Remove("/dev/shm/" + prefix + strconv.Itoa(program.PID()))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.program = nil
}

func (s *Server) logPath() string { return s.data + ".log" }

// lastWords is the last line of a file.
func lastWords(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return "it left no log"
	}
	return process.LastLine(string(text))
}
