//go:build unix && !aix && !solaris

package embeddedpg

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Error codes of PostgreSQL that we branch on.
const (
	invalidPassword   = "28P01"
	tooManyClients    = "53300"
	duplicateDatabase = "42P04"
	uniqueViolation   = "23505" // two at once create a database
)

// address is how the server is reached.
type address struct {
	port     int
	password string
}

// url returns the connection URL of a database.
func (a address) url(database string) string {
	u := url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword(Superuser, a.password),
		Host:     net.JoinHostPort("127.0.0.1", strconv.Itoa(a.port)),
		Path:     "/" + database,
		RawQuery: "sslmode=disable",
	}
	return u.String()
}

// connect signs in to the database that every cluster has.
func (a address) connect(ctx context.Context) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return pgx.Connect(ctx, a.url("postgres"))
}

// ask returns nil if our server answers at the address. Another server that
// got the port does not know the password.
func (a address) ask(ctx context.Context) error {
	conn, err := a.connect(ctx)
	if isCode(err, tooManyClients) {
		return nil // busy, but it let us in
	}
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}

// ensureDatabase creates the database if it is missing.
func (a address) ensureDatabase(ctx context.Context, name string) error {
	conn, err := a.connect(ctx)
	if err != nil {
		return connectError{oneLine{err}}
	}
	defer conn.Close(ctx)
	var exists bool
	err = conn.QueryRow(ctx, "select exists (select from pg_database where datname = $1)", name).Scan(&exists)
	if err == nil && !exists {
		_, err = conn.Exec(ctx, "create database "+pgx.Identifier{name}.Sanitize())
	}
	switch {
	case err == nil, isCode(err, duplicateDatabase), isCode(err, uniqueViolation):
		return nil
	case conn.IsClosed():
		return connectError{oneLine{err}}
	default:
		return fmt.Errorf("creating database %s: %w", name, oneLine{err})
	}
}

// connectError is the failure to reach a server, or its loss: another try may
// find it again.
type connectError struct{ error }

func (e connectError) Unwrap() error { return e.error }

// isConnectError reports whether err is a connectError.
func isConnectError(err error) bool {
	var target connectError
	return errors.As(err, &target)
}

// isCode reports whether PostgreSQL answered with this error code.
func isCode(err error, code string) bool {
	var answer *pgconn.PgError
	return errors.As(err, &answer) && answer.Code == code
}

// oneLine is an error of pgx on one line; pgx takes several to say that it
// could not connect.
type oneLine struct{ error }

func (e oneLine) Error() string { return strings.Join(strings.Fields(e.error.Error()), " ") }
func (e oneLine) Unwrap() error { return e.error }
