package db

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// ErrNotFound says that there is no such row.
var ErrNotFound = errors.New("not found")

// LostConnection reports whether an error is about reaching the database (SQLSTATE
// classes 08 and 57P, a session that the server has ended, network errors, a context
// whose time has passed) and not about what was asked of it.
func LostConnection(err error) bool {
	if code := Code(err); code != "" {
		return inClass(code, "08", "57P") || code == idleInTransactionTimeout
	}
	if errors.Is(err, context.Canceled) { // by the caller
		return false
	}
	var netErr net.Error
	var connectErr *pgconn.ConnectError
	return errors.As(err, &netErr) || errors.As(err, &connectErr) || errors.Is(err, io.ErrUnexpectedEOF) || pgconn.SafeToRetry(err)
}

// idleInTransactionTimeout is the SQLSTATE of a session that the server has ended
// because its process stopped in the middle of a transaction: see idleInTransaction.
const idleInTransactionTimeout = "25P03"

// InEachOthersWay reports whether two transactions could not both go on
// (deadlock, serialization failure; class 40): the same write may succeed at once.
func InEachOthersWay(err error) bool { return inClass(Code(err), "40") }

// Transient reports whether the same write may succeed in a moment: the
// connection was lost, or two transactions were in each other's way.
func Transient(err error) bool { return InEachOthersWay(err) || LostConnection(err) }

// RefusedValue reports whether an error is about the data that was written
// (classes 21 to 23 and 54).
func RefusedValue(err error) bool { return inClass(Code(err), "21", "22", "23", "54") }

// RowLocked reports whether another transaction kept a row locked for longer than
// lock_timeout.
func RowLocked(err error) bool { return Code(err) == "55P03" }

// Code returns the SQLSTATE of an error, "" for one that is not the server's.
func Code(err error) string {
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pgErr.Code
	}
	return ""
}

func inClass(code string, classes ...string) bool {
	return slices.ContainsFunc(classes, func(class string) bool { return len(code) == 5 && code[:len(class)] == class })
}

// connectError says in one line which database could not be reached and why,
// without the URL, which holds the password.
func connectError(cfg *pgx.ConnConfig, err error) error {
	place := fmt.Sprintf("database %s on %s port %d", cfg.Database, cfg.Host, cfg.Port)
	var pgErr *pgconn.PgError
	var opErr *net.OpError
	switch {
	case errors.As(err, &pgErr):
		return fmt.Errorf("connecting to %s: %s", place, pgErr.Message)
	case errors.As(err, &opErr):
		return fmt.Errorf("connecting to %s: %s: is Postgres running there?", place, opErr.Err)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("connecting to %s: no answer in time: is Postgres running there, and reachable?", place)
	}
	var dnsErr *net.DNSError
	if errors.As(err, &dnsErr) {
		return fmt.Errorf("connecting to %s: the host's name cannot be resolved", place)
	}
	return fmt.Errorf("connecting to %s: %w", place, lastCause(err))
}

// lastCause returns why the last of several tries to connect failed (with encryption,
// then without), without the driver's prefaces, which repeat the place.
func lastCause(err error) error {
	connectErr, ok := errors.AsType[*pgconn.ConnectError](err)
	if !ok {
		return err
	}
	last := errors.Unwrap(connectErr)
	if tries, ok := last.(interface{ Unwrap() []error }); ok {
		all := tries.Unwrap()
		last = all[len(all)-1]
	}
	if cause := errors.Unwrap(last); cause != nil {
		return cause
	}
	return last
}
