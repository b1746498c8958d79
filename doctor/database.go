package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/migrations"
	"github.com/klingwatch/klingwatch/operate"
)

// oldestMajor is the oldest Postgres that klingwatch runs on.
const oldestMajor = 14

func (x *examination) checkDatabase(context.Context) (Finding, error) {
	took, err := x.connect()
	where := ""
	if err == nil {
		where = place(x.pool.Config().ConnConfig)
	}
	return judgeDatabase(where, took, err, x.DataDir != ""), nil
}

// place names a database, its server and the role that is used.
func place(cfg *pgx.ConnConfig) string {
	server := cfg.Host
	if !strings.HasPrefix(server, "/") { // else it is the directory of a socket
		server = net.JoinHostPort(server, strconv.Itoa(int(cfg.Port)))
	}
	return fmt.Sprintf("%s on %s, as role %s,", cfg.Database, server, cfg.User)
}

func judgeDatabase(where string, took time.Duration, err error, embedded bool) Finding {
	switch {
	case errors.Is(err, ErrNoDatabase):
		return warn("set DATABASE_URL, or start klingwatch serve: it runs one", "%s", err)
	case err != nil && embedded:
		return bad("mend it, choose another KLINGWATCH_DATA_DIR, or set DATABASE_URL to use a server", "%s", err)
	case err != nil:
		return bad("see that Postgres runs and DATABASE_URL is right", "%s", err)
	}
	return fine("%s answers after %s", where, milliseconds(took))
}

func (x *examination) checkServer(ctx context.Context) (Finding, error) {
	server, err := db.DescribeServer(ctx, x.pool)
	return judgeServer(server), err
}

func judgeServer(s db.Server) Finding {
	switch {
	case s.Standby:
		return bad("let DATABASE_URL name the primary", "Postgres %s is a standby, which cannot be written to", s.Version)
	case s.ReadOnly:
		return bad(db.ReadOnlyTodo+"; its default_transaction_read_only is on, for the server, this database or this role", "Postgres %s accepts no writes", s.Version)
	case s.Major < oldestMajor:
		return bad(fmt.Sprintf("upgrade to Postgres %d or newer", oldestMajor), "Postgres %s is too old", s.Version)
	case !s.Autovacuum:
		return bad("set autovacuum = on and track_counts = on: the queue's table grows without bound", "Postgres %s runs without autovacuum", s.Version)
	case !s.Fsync && !s.Throwaway:
		return bad("set fsync = on: a crash of the machine may destroy the database", "Postgres %s runs with fsync off", s.Version)
	case !s.Fsync:
		return fine("Postgres %s; fsync is off, this database is thrown away at the end", s.Version)
	}
	return fine("Postgres %s", s.Version)
}

func (x *examination) checkConnections(ctx context.Context) (Finding, error) {
	server, err := db.DescribeServer(ctx, x.pool)
	if err != nil {
		return Finding{}, err
	}
	processes, err := operate.Processes(ctx, x.pool)
	return judgeConnections(server, processes, x.ProcessConns), err
}

// judgeConnections wants room for the processes that run, or for a first one;
// each takes up to perProcess connections.
func judgeConnections(s db.Server, processes, perProcess int) Finding {
	room := max(s.Connections-s.Others, 0) / perProcess
	found := fmt.Sprintf("%d connections, %d of them in use by others: enough for %d processes of klingwatch, %d run", s.Connections, s.Others, room, processes)
	if room < max(processes, 1) {
		return warn(fmt.Sprintf("raise max_connections: each klingwatch process takes up to %d", perProcess), "%s", found)
	}
	return fine("%s", found)
}

func (x *examination) checkMigrations(ctx context.Context) (Finding, error) {
	pending, err := migrations.Pending(ctx, x.pool)
	switch {
	case errors.Is(err, migrations.ErrNewerDatabase):
		return bad("install the newer klingwatch", "the database is newer than this klingwatch (%s)", x.Version), nil
	case err != nil:
		return Finding{}, err
	case len(pending) > 0:
		return bad("run klingwatch migrate", "%d are pending: %s", len(pending), migrations.Names(pending)), nil
	}
	return fine("none is pending"), nil
}

func (x *examination) checkRoles(ctx context.Context) (Finding, error) {
	missing, err := db.MissingRoles(ctx, x.pool)
	if err != nil {
		return Finding{}, err
	}
	endless, err := db.RolesWithoutTimeouts(ctx, x.pool)
	return judgeRoles(missing, endless), err
}

// judgeRoles names the roles that lack, and those that could read for ever: what Postgres
// keeps for them makes the queue slow for all.
func judgeRoles(missing, endless []string) Finding {
	const grant = "run as the owner of the tables: select klingwatch.grant_roles()"
	switch {
	case len(missing) > 0:
		return warn("create them, and "+grant, "missing: %s", strings.Join(missing, ", "))
	case len(endless) > 0:
		return warn(grant, "without timeouts, so that they can hold vacuum back for ever: %s", strings.Join(endless, ", "))
	}
	return fine("producer, reader and operator; whoever reads has timeouts")
}

func (x *examination) checkDatabaseClock(ctx context.Context) (Finding, error) {
	conn, err := x.pool.Acquire(ctx)
	if err != nil {
		return Finding{}, err
	}
	defer conn.Release()
	sent := time.Now()
	read, err := db.Clock(ctx, conn)
	skew, within := skewOf(read, sent, time.Now())
	return judgeClock("the database's", skew, within, 2*time.Second, time.Minute), err
}
