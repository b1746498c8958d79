//go:build unix && !aix && !solaris

package embeddedpg

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// findPatience is how long Find waits for a server that is about to serve.
const findPatience = 20 * time.Second

// Find returns the connection URL of the server that another process runs on
// cfg.DataDir, and the id of that process. It starts, creates and changes nothing. It
// returns ErrNotRunning where there is no such server.
func Find(ctx context.Context, cfg Config) (url string, owner int, err error) {
	cfg, err = cfg.withDefaults()
	if err != nil {
		return "", 0, err
	}
	path, err := filepath.EvalSymlinks(cfg.DataDir)
	if errors.Is(err, fs.ErrNotExist) {
		return "", 0, ErrNotRunning
	}
	if err != nil {
		return "", 0, fmt.Errorf("opening the data directory: %w", err)
	}
	dir := directory{path: path}
	file, err := os.Open(dir.lock())
	if errors.Is(err, fs.ErrNotExist) {
		return "", 0, ErrNotRunning
	}
	if err != nil {
		return "", 0, fmt.Errorf("opening the lock of the data directory: %w", err)
	}
	lock := fileLock{file}
	defer func() { _ = lock.close() }()
	return find(ctx, cfg, dir, lock)
}

// find asks until the owner serves, or there is none.
func find(ctx context.Context, cfg Config, dir directory, lock fileLock) (url string, owner int, err error) {
	for end := time.Now().Add(findPatience); ; {
		owner, stage := lock.holder()
		at := address{port: dir.readPort(), password: dir.readPassword()}
		why := at.ping(ctx)
		if why == nil {
			return at.url(cfg.Database), owner, nil
		}
		free, err := lock.try()
		if err != nil {
			return "", 0, err
		}
		if free {
			return "", 0, ErrNotRunning
		}
		if time.Now().After(end) {
			return "", 0, fmt.Errorf("looking for PostgreSQL in %s: process %d holds it (%s), but its server does not answer: %w", dir.path, owner, stage, oneLine{why})
		}
		if err := pause(ctx, lockInterval); err != nil {
			return "", 0, err
		}
	}
}
