//go:build unix && !aix && !solaris

package embeddedpg

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Error codes of PostgreSQL that decide what we do.
const (
	invalidPassword   = "28P01"
	tooManyClients    = "53300"
	duplicateDatabase = "42P04"
	uniqueViolation   = "23505" // of two that create a database at the same time
)

// address is what it takes to connect to the server.
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

// ping returns nil if our server answers at the address. Another server that took
// the port would not accept the password.
func (a address) ping(ctx context.Context) error {
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

// connectError says that the server could not be reached, or was lost: trying
// again may help.
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

// oneLine is an error on one line: pgx writes several when it cannot connect.
type oneLine struct{ error }

func (e oneLine) Error() string { return strings.Join(strings.Fields(e.error.Error()), " ") }
func (e oneLine) Unwrap() error { return e.error }

// Servers get a port below the ephemeral ones (from 32768 on Linux, 49152
// elsewhere). The system could give one of those to an outgoing connection while
// the server restarts, even to a client that keeps dialling this very port and
// then connects to itself.
const (
	firstPort = 20000
	lastPort  = 29999
)

// portPatience is how long a restart waits for its port, which clients know.
const portPatience = 5 * time.Second

// choosePort returns the preferred port if it is free or becomes free within the
// given patience, else another free one.
func choosePort(ctx context.Context, preferred int, patience time.Duration) (int, error) {
	for end := time.Now().Add(patience); preferred != 0; {
		if portIsFree(preferred) {
			return preferred, nil
		}
		if time.Now().After(end) {
			break
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return 0, err
		}
	}
	for range 1000 {
		if port := firstPort + rand.IntN(lastPort-firstPort+1); portIsFree(port) {
			return port, nil
		}
	}
	return 0, errors.New("choosing a port for PostgreSQL: none between 20000 and 29999 is free on 127.0.0.1")
}

// portIsFree reports whether a server could listen on the port.
func portIsFree(port int) bool {
	listener, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	return listener.Close() == nil
}
