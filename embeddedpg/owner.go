//go:build unix && !aix && !solaris

package embeddedpg

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

const (
	// startLimit bounds the wait for a server to answer; recovery after a
	// crash is what can take long.
	startLimit = 2 * time.Minute

	// slowStart is the time after which a person is notified what the start waits for.
	slowStart = 3 * time.Second

	// uncleanTries is how often a start is tried after an unclean end, one second
	// apart: sessions of a crashed server may take a moment to end.
	uncleanTries = 6
)

// launch starts the server of the cluster, which it creates if there is none,
// and waits until it answers. The caller holds the lock. preferred is the port
// to use if it is free, 0 for any; patience is how long to wait for that.
func (s *Server) launch(ctx context.Context, preferred int, patience time.Duration) (*postmaster, address, error) {
	s.lock.report("starting")
	bin, err := s.prepare(ctx)
	if err != nil {
		return nil, address{}, err
	}
	unclean, err := s.dir.clearLeftovers(ctx)
	if err != nil {
		return nil, address{}, err
	}
	password, err := s.dir.ensurePassword(false)
	if err != nil {
		return nil, address{}, err
	}
	tries := 1
	if unclean {
		tries = uncleanTries
	}
	for {
		port, err := choosePort(ctx, preferred, patience)
		if err != nil {
			return nil, address{}, err
		}
		at := address{port: port, password: password}
		child, err := s.startAndWait(ctx, bin, at)
		switch {
		case err == nil:
			return child, at, nil
		case ctx.Err() != nil:
			return nil, address{}, err
		case !portIsFree(port):
			continue // another program took it; there are other ports
		}
		if tries--; tries < 1 {
			return nil, address{}, err
		}
		if err := pause(ctx, time.Second); err != nil {
			return nil, address{}, fmt.Errorf("starting PostgreSQL: %w", err)
		}
	}
}

// prepare finds the binaries and makes sure that there is a cluster.
func (s *Server) prepare(ctx context.Context) (binaries, error) {
	major, err := s.dir.major()
	if err != nil {
		return binaries{}, err
	}
	search := &search{
		cfg:     s.cfg,
		account: s.dir.account,
		caches:  s.caches(),
		major:   major,
		report:  s.lock.report,
	}
	bin, err := search.find(ctx)
	if err != nil || major != 0 {
		return bin, err
	}
	if _, err := s.dir.ensurePassword(true); err != nil {
		return bin, err
	}
	s.lock.report("initialising")
	s.cfg.notifyf("initialising a database in %s (PostgreSQL %d, once)", s.dir.path, bin.major)
	return bin, s.dir.initialise(ctx, bin, s.cfg.Parameters["fsync"] != "off")
}

// caches lists the directories that may hold fetched binaries, the preferred
// one first.
func (s *Server) caches() []string {
	if s.cfg.CacheDir != "" {
		return []string{s.cfg.CacheDir}
	}
	dirs := []string{s.dir.path + "-binaries", filepath.Join(s.dir.path, "binaries")}
	if dir := userCacheDir(); dir != "" {
		dirs = append([]string{dir}, dirs...)
	}
	return dirs
}

// userCacheDir returns where the binaries fetched by this user are kept, "" when
// the home directory is unknown.
func userCacheDir() string {
	const name = "klingwatch/postgres"
	if os.Geteuid() == 0 {
		return filepath.Join("/var/cache", name) // the server's user cannot enter root's home
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, name)
}

// startAndWait starts the server, waits until it answers, and lets the other
// processes know where. On failure no server is left.
func (s *Server) startAndWait(ctx context.Context, bin binaries, at address) (*postmaster, error) {
	child, err := s.dir.startPostmaster(bin, at.port, s.cfg.Parameters)
	if err != nil {
		return nil, err
	}
	if err := s.waitUntilReady(ctx, child, at); err != nil {
		return nil, stopAfter(err, child)
	}
	if err := s.dir.write(s.dir.port(), fmt.Sprintf("%d\n", at.port)); err != nil {
		return nil, stopAfter(fmt.Errorf("recording the port of the server: %w", err), child)
	}
	s.lock.report(serving)
	return child, nil
}

// stopAfter stops the child and returns err, with the error of stopping if any.
func stopAfter(err error, child *postmaster) error { return join(err, child.stop()) }

// waitUntilReady waits until the child answers. It fails when the child ends or
// takes too long.
func (s *Server) waitUntilReady(ctx context.Context, child *postmaster, at address) error {
	began, notified := time.Now(), false
	for {
		err := at.ping(ctx)
		switch {
		case !child.running(): // checked after the ping, which another server may have answered
			return fmt.Errorf("starting PostgreSQL in %s: %s; the whole log is %s", s.dir.path, child.lastError(), child.log)
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("starting PostgreSQL in %s: %w", s.dir.path, context.Cause(ctx))
		case isCode(err, invalidPassword) && time.Since(began) > slowStart:
			// Before that, another server may have answered, and the child be about to end.
			return fmt.Errorf("signing in to the database in %s: the password in %s is not that of user %s", s.dir.path, s.dir.password(), Superuser)
		case time.Since(began) > startLimit:
			return fmt.Errorf("starting PostgreSQL in %s: no answer within %s: %s; the whole log is %s", s.dir.path, startLimit, child.lastError(), child.log)
		case !notified && time.Since(began) > slowStart:
			notified = true
			s.cfg.notifyf("waiting for PostgreSQL in %s: %s", s.dir.path, child.lastError())
		}
		select {
		case <-child.gone:
		case <-ctx.Done():
		case <-time.After(25 * time.Millisecond):
		}
	}
}
