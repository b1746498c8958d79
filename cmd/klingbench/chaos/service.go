package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/klingwatch/klingwatch/cmd/klingbench/bench"
	"github.com/klingwatch/klingwatch/cmd/klingbench/process"
)

const (
	relayKey = "sk-chaos"
	// restartWait is how soon whoever looks after a process starts it again.
	restartWait = second
	// stopPatience is more than klingwatch takes to stop.
	stopPatience = 15 * second
)

// service is one klingwatch serve, started again whenever it has ended.
type service struct {
	name   string
	binary string
	env    []string
	book   *logbook

	mu      sync.Mutex
	program *process.Program
	down    time.Duration // after a kill, until it is started again
	killed  bool
	peak    int64    // bytes, of all its processes
	ends    []string // that nobody asked for, of a process that had begun to work
}

// buildKlingwatch returns the program to run: the one that was given, or one built
// from the sources around us.
func buildKlingwatch(ctx context.Context, given, dir string) (string, error) {
	if given != "" {
		path, err := filepath.Abs(given)
		if err == nil {
			_, err = os.Stat(path)
		}
		if err != nil {
			return "", fmt.Errorf("looking for klingwatch: %w", err)
		}
		return path, nil
	}
	path := filepath.Join(dir, "klingwatch")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, "github.com/klingwatch/klingwatch/cmd/klingwatch")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building klingwatch: %w: %s; run this in the repository, or give --binary", err, process.LastLine(string(out)))
	}
	return path, nil
}

// settings are the environment of klingwatch; none of ours gets in.
func settings(databaseURL, relayURL string) []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "DATABASE_URL=" + databaseURL, "KLING_BASE_URL=" + relayURL, "KLING_API_KEY=" + relayKey,
		"KLINGWATCH_LISTEN_ADDR=127.0.0.1:0", "KLINGWATCH_WEBHOOK_ALLOW_NETWORKS=127.0.0.0/8", "KLINGWATCH_WEBHOOK_TIMEOUT=5s",
		"KLINGWATCH_POLL_INTERVAL=1s", "KLINGWATCH_POLL_RATE=200", "KLINGWATCH_POLL_TIMEOUT=5s", "KLINGWATCH_LOG_FORMAT=json",
	}
}

// command runs a short command of klingwatch.
func command(ctx context.Context, binary string, env []string, args ...string) error {
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = env
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("klingwatch %s: %w: %s", args[0], err, process.LastLine(string(out)))
	}
	return nil
}

// run keeps the service running until ctx ends, and then stops it.
func (s *service) run(ctx context.Context) error {
	for ctx.Err() == nil {
		program, err := s.launch()
		if err != nil {
			return err
		}
		select {
		case <-program.Gone():
		case <-ctx.Done():
			program.Stop(syscall.SIGTERM, stopPatience)
			return nil
		}
		_ = bench.Pause(ctx, s.ended(program))
	}
	return nil
}

func (s *service) launch() (*process.Program, error) {
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("reading the log of klingwatch: %w", err)
	}
	defer writer.Close()
	cmd := exec.Command(s.binary, "serve") //nolint:noctx // run ends it in good order
	cmd.Env, cmd.Stdout, cmd.Stderr = s.env, writer, writer
	s.book.begin()
	program, err := process.Launch(cmd, syscall.SIGKILL)
	if err != nil {
		return nil, errors.Join(err, reader.Close())
	}
	go func() {
		defer reader.Close()
		s.book.read(reader)
	}()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.program, s.killed, s.down = program, false, restartWait
	return program, nil
}

// ended notes the end of a process, and returns how long to leave the service down.
func (s *service) ended(program *process.Program) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.killed && s.book.working() {
		s.ends = append(s.ends, program.Ended()+": "+s.book.last())
	}
	return s.down
}

// kill is kill -9; the service comes back after some time.
func (s *service) kill(down time.Duration) {
	s.measure()
	s.mu.Lock()
	s.killed, s.down = true, down
	program := s.program
	s.mu.Unlock()
	program.Kill()
}

// freeze is SIGSTOP; the returned function is SIGCONT.
func (s *service) freeze() (thaw func() error, err error) {
	s.mu.Lock()
	program := s.program
	s.mu.Unlock()
	if err := program.Freeze(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return nil, fmt.Errorf("stopping %s: %w", s.name, err)
	}
	return func() error {
		if err := program.Thaw(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("continuing %s: %w", s.name, err)
		}
		return nil
	}, nil
}

// measure takes in the memory of the present process.
func (s *service) measure() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.program == nil {
		return
	}
	if peak, err := process.PeakMemory(s.program.PID()); err == nil {
		s.peak = max(s.peak, peak)
	}
}

// unasked are the ends that nobody asked for, and peak the memory.
func (s *service) remembered() (unasked []string, peak int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ends, s.peak
}
