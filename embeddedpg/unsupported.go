//go:build !unix || aix || solaris

package embeddedpg

import (
	"context"
	"fmt"
	"runtime"
)

// Server is a running PostgreSQL; there is none on this operating system.
type Server struct{}

// Start always fails here: locks, signals and users differ too much.
func Start(context.Context, Config) (*Server, error) {
	return nil, fmt.Errorf("starting PostgreSQL: the embedded server does not run on %s; start one yourself and set DATABASE_URL", runtime.GOOS)
}

// URL returns nothing, as no server runs.
func (*Server) URL() string { return "" }

// Owner reports false, as no server runs.
func (*Server) Owner() bool { return false }

// Close does nothing.
func (*Server) Close() error { return nil }
