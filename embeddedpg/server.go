//go:build unix && !aix && !solaris

package embeddedpg

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	// joinLimit bounds the wait for the server of another process, counted from the
	// last progress that its owner reported.
	joinLimit = startLimit + 30*time.Second

	// shortLife is the pause after a takeover that failed, or a server that ended
	// this soon after its start, so that a failure does not become a busy loop.
	shortLife = 2 * time.Second
)

// Server is a running PostgreSQL, started by this process or by another one on the
// same data directory. It is safe for concurrent use.
type Server struct {
	cfg  Config
	dir  directory
	lock fileLock

	mu    sync.Mutex
	at    address
	owner bool

	cancel context.CancelFunc
	done   chan struct{} // closed when keep has returned
	err    error         // of keep, set before done is closed
}

// Start returns when the server answers and cfg.Database exists. ctx bounds the
// start, not the life of the server, which ends with Close or with this process.
// Several processes, or parts of one, may call Start with the same DataDir: they
// share one server.
//
// It returns ErrNoBinaries when there are no binaries to run, ErrOtherMajor when
// there are none of the version that wrote the data, and an error that names the
// process when another one holds the directory but its server does not answer.
// ErrInUse: see Config.Alone.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	dir, err := openDirectory(cfg.DataDir)
	if err != nil {
		return nil, err
	}
	file, err := dir.create(dir.lock(), 0)
	if err != nil {
		return nil, fmt.Errorf("opening the lock of the data directory: %w", err)
	}
	s := &Server{cfg: cfg, dir: dir, lock: fileLock{file}, done: make(chan struct{})}
	child, err := s.acquire(ctx)
	if err != nil {
		_ = s.lock.close()
		return nil, err
	}
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.cancel = cancel
	go s.keep(life, child)
	return s, nil
}

// URL returns the connection URL of cfg.Database, with the password. It stays the
// same when the server restarts, unless another program took the port meanwhile;
// then this program must be restarted.
func (s *Server) URL() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at.url(s.cfg.Database)
}

// Owner reports whether this process started the server. A user becomes the owner
// when the present owner ends.
func (s *Server) Owner() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.owner
}

// Close ends the use of the server. In the owner it stops the server, which ends
// all sessions and takes a fraction of a second; if another process uses it, that
// one starts it again. In a user it leaves the server running. Further calls return
// the same error.
func (s *Server) Close() error {
	s.cancel()
	<-s.done
	return s.err
}

// set records the address of the server, and whether this process owns it.
func (s *Server) set(at address, owner bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at, s.owner = at, owner
}

// acquire makes this process the owner if the lock is free, else a user, whose
// child is nil.
func (s *Server) acquire(ctx context.Context) (*postmaster, error) {
	progress, lastStage := time.Now(), ""
	for {
		taken, err := s.lock.try()
		if err != nil {
			return nil, err
		}
		if taken {
			return s.own(ctx)
		}
		pid, stage := s.lock.holder()
		if s.cfg.Alone {
			return nil, fmt.Errorf("starting PostgreSQL in %s: %w by process %d", s.dir.path, ErrInUse, pid)
		}
		if stage != lastStage {
			progress, lastStage = time.Now(), stage
		}
		why := errors.New("it is not ready")
		if stage == serving {
			err := s.connect(ctx)
			if err == nil {
				s.cfg.notifyf("using the running server of process %d", pid)
				return nil, nil
			}
			if why = err; !isConnectError(err) {
				return nil, err
			}
		}
		limit := joinLimit
		if isFetching(stage) {
			limit = fetchLimit
		}
		if time.Since(progress) > limit {
			return nil, s.stuck(pid, stage, why)
		}
		if err := pause(ctx, lockInterval); err != nil {
			return nil, s.stuck(pid, stage, fmt.Errorf("%w: %w", why, err))
		}
	}
}

// own starts the server as the holder of the lock.
func (s *Server) own(ctx context.Context) (*postmaster, error) {
	child, at, err := s.launch(ctx, s.dir.readPort(), time.Second)
	if err != nil {
		return nil, err
	}
	if err := at.ensureDatabase(ctx, s.cfg.Database); err != nil {
		return nil, stopAfter(err, child)
	}
	s.set(at, true)
	return child, nil
}

// connect uses the server of another process, which says that it is serving. The
// server may just have ended, or its password may not be written yet.
func (s *Server) connect(ctx context.Context) error {
	at := address{port: s.dir.readPort(), password: s.dir.readPassword()}
	if err := at.ensureDatabase(ctx, s.cfg.Database); err != nil {
		return err
	}
	s.set(at, false)
	return nil
}

// stuck returns the error of a wait that ended without a server.
func (s *Server) stuck(pid int, stage string, why error) error {
	return fmt.Errorf("waiting for PostgreSQL in %s: process %d holds it (%s), but its server does not answer: %w; end that process, or choose another data directory", s.dir.path, pid, stage, why)
}

// keep keeps a server running until ctx ends: as the owner it restarts a crashed
// one, as a user it waits to become the owner. child is nil for a user.
func (s *Server) keep(ctx context.Context, child *postmaster) {
	defer close(s.done)
	for ctx.Err() == nil {
		if child == nil {
			if child = s.takeOver(ctx); child == nil {
				continue
			}
		}
		born := time.Now()
		select {
		case <-ctx.Done():
		case <-child.gone:
			s.cfg.notifyf("the server in %s ended unexpectedly (%v; see %s); starting it again", s.dir.path, child.end, child.log)
			child = nil
			if time.Since(born) < shortLife {
				_ = pause(ctx, shortLife)
			}
		}
	}
	if child != nil {
		s.err = child.stop()
	}
	if err := s.lock.close(); err != nil {
		s.err = join(s.err, fmt.Errorf("freeing the lock of %s: %w", s.dir.path, err))
	}
	s.set(s.at, false)
}

// takeOver waits for the lock, unless this process already holds it, and starts the
// server again on the port that its clients know. After a failure it frees the
// lock, because another user may succeed, and returns nil.
func (s *Server) takeOver(ctx context.Context) *postmaster {
	// flock succeeds for a process that already holds the lock.
	if err := s.lock.wait(ctx); err != nil {
		_ = pause(ctx, shortLife)
		return nil
	}
	child, at, err := s.launch(ctx, s.at.port, portPatience)
	if err != nil {
		if ctx.Err() == nil {
			s.cfg.notifyf("taking over the server failed, trying again: %s", err)
		}
		s.set(s.at, false)
		_ = s.lock.release()
		_ = pause(ctx, shortLife)
		return nil
	}
	if at.port != s.at.port {
		s.cfg.notifyf("another program took port %d of the server, which now has %d; restart this program", s.at.port, at.port)
	}
	s.set(at, true)
	return child
}
