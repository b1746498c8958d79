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
	// joinLimit bounds the wait for the server of another process, counted
	// from the last progress that its owner reported.
	joinLimit = startLimit + 30*time.Second

	// shortLife is how soon after its start an ended server, or a failed
	// takeover, is given a pause, so that trouble does not become a busy loop.
	shortLife = 2 * time.Second
)

// Server is a running PostgreSQL, ours or that of another process on the same
// data directory. Its methods may be called by several goroutines.
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

// Start returns when the server answers and cfg.Database exists. ctx bounds
// the start, not the life of the server, which ends with Close or with this
// process. Several processes, or parts of one, may start the same DataDir; they
// share one server.
//
// It fails with ErrNoBinaries or ErrOtherMajor in those two cases, and where
// another process holds the directory but its server does not answer.
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

// URL returns the connection URL of the database. It stays the same while the
// server is up and over restarts, except when another program took the port
// while the server was down; a restart of this program then helps.
func (s *Server) URL() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at.url(s.cfg.Database)
}

// Owner reports whether the server is a child of this process. A user becomes
// the owner when the present owner ends.
func (s *Server) Owner() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.owner
}

// Close lets go of the server. The owner stops it, which ends all sessions and
// takes a fraction of a second, after which a user that is left starts it
// again; a user's Close leaves it alone. Further calls return the same error.
func (s *Server) Close() error {
	s.cancel()
	<-s.done
	return s.err
}

// set records where the server is and whose it is.
func (s *Server) set(at address, owner bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at, s.owner = at, owner
}

// acquire becomes the owner if the lock is free, and a user otherwise; then
// the child is nil.
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
		if stage != lastStage {
			progress, lastStage = time.Now(), stage
		}
		why := errors.New("it is not ready")
		if stage == serving {
			err := s.join(ctx)
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
		if err := pause(ctx, lockPatience); err != nil {
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

// join uses the server that another process says is serving. It may just have
// ended, or its password may be about to be written.
func (s *Server) join(ctx context.Context) error {
	at := address{port: s.dir.readPort(), password: s.dir.readPassword()}
	if err := at.ensureDatabase(ctx, s.cfg.Database); err != nil {
		return err
	}
	s.set(at, false)
	return nil
}

// stuck says whom a fruitless wait was for.
func (s *Server) stuck(pid int, stage string, why error) error {
	return fmt.Errorf("waiting for PostgreSQL in %s: process %d holds it (%s), but its server does not answer: %w; end that process, or choose another data directory", s.dir.path, pid, stage, why)
}

// keep sees to it that there is a server until ctx ends: as the owner it
// restarts a crashed one, as a user it waits to become the owner. child is nil
// for a user.
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
		s.err = errors.Join(s.err, fmt.Errorf("freeing the lock of %s: %w", s.dir.path, err))
	}
	s.set(s.at, false)
}

// takeOver waits for the lock, unless this process already holds it, and
// starts the server again where its clients look for it. After a failure it
// frees the lock, for another user may succeed, and returns nil.
func (s *Server) takeOver(ctx context.Context) *postmaster {
	// flock lets a holder have the lock again.
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
