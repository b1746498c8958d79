//go:build !unix || aix || solaris

package embeddedpg

import (
	"context"
	"fmt"
	"runtime"
)

// Server is a running PostgreSQL; this operating system has none.
type Server struct{}

// Start always fails here: the locks, signals and users of Unix are missing.
func Start(context.Context, Config) (*Server, error) {
	return nil, fmt.Errorf("starting PostgreSQL: the embedded server does not run on %s; start one yourself and set DATABASE_URL", runtime.GOOS)
}

// Find always fails here.
func Find(context.Context, Config) (url string, owner int, err error) {
	return "", 0, ErrNotRunning
}

// URL returns "", as no server runs.
func (*Server) URL() string { return "" }

// Owner reports false, as no server runs.
func (*Server) Owner() bool { return false }

// Close does nothing.
func (*Server) Close() error { return nil }
