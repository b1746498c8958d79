package migrations

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

//go:embed *.sql
var files embed.FS

// step is one SQL file. One whose first line is noTransaction runs statement by
// statement, as "create index concurrently" demands; a statement ends with a
// semicolon, and an empty line stands between two.
type step struct {
	Migration
	sql string
}

const noTransaction = "-- no transaction\n"

const (
	// lockWait bounds how long a step waits for a lock on a table: whoever asks
	// for the table meanwhile waits behind it.
	lockWait = time.Second
	// lockTries times a step is tried, lockPause apart: a minute in all.
	lockTries = 30
	lockPause = time.Second
)

// applyRivers brings River's tables to the version of the library, over
// connections of its own: the caller's pool may have none to spare.
func applyRivers(ctx context.Context, pool *pgxpool.Pool) error {
	cfg := pool.Config()
	cfg.MaxConns = 2 // its transaction and its record of it
	setUp := cfg.AfterConnect
	cfg.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, fmt.Sprintf(`set lock_timeout = %d`, lockWait.Milliseconds()))
		return errors.Join(err, setUp(ctx, conn))
	}
	own, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return fmt.Errorf("connecting for River's tables: %w", err)
	}
	defer own.Close()
	migrator, err := riverMigrator(own)
	if err != nil {
		return err
	}
	err = untilUnlocked(ctx, func() error {
		_, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil)
		return err
	})
	if err != nil {
		return fmt.Errorf("migrating River's tables: %w", err)
	}
	return nil
}

// applyOurs applies each missing step.
func applyOurs(ctx context.Context, conn *pgx.Conn, steps []step) error {
	applied, err := version(ctx, conn, "migrations")
	if err != nil {
		return err
	}
	for _, s := range steps[applied:] {
		if err := s.apply(ctx, conn); err != nil {
			return fmt.Errorf("applying migration %s: %w", s.Name, err)
		}
	}
	return nil
}

func (s step) apply(ctx context.Context, conn *pgx.Conn) error {
	if statements, found := strings.CutPrefix(s.sql, noTransaction); found {
		return s.applyAlone(ctx, conn, statements)
	}
	return inStep(ctx, conn, func(tx pgx.Tx) error {
		if err := s.note(ctx, tx); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, s.sql)
		return err
	})
}

// note writes that a step is applied.
func (s step) note(ctx context.Context, q interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}) error {
	_, err := q.Exec(ctx, `insert into klingwatch.migrations (version, name) values ($1, $2)`, s.Version, s.Name)
	return err
}

// applyAlone runs each statement outside a transaction. One that was cut off is
// run again from its first statement, so each must stand a second run ("if not
// exists"); the invalid indexes that it left are dropped first.
func (s step) applyAlone(ctx context.Context, conn *pgx.Conn, statements string) error {
	rows, err := conn.Query(ctx, `
		select 'drop index concurrently ' || indexrelid::regclass
		from pg_index
		where not indisvalid and indrelid in (select oid from pg_class where relnamespace = 'klingwatch'::regnamespace)`)
	if err != nil {
		return err
	}
	commands, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for statement := range strings.SplitSeq(statements, ";\n\n") {
		if strings.TrimSpace(statement) != "" {
			commands = append(commands, statement)
		}
	}
	for _, command := range commands {
		if _, err := conn.Exec(ctx, command); err != nil {
			return err
		}
	}
	return s.note(ctx, conn)
}

// inStep runs work in a transaction that does not wait long for locks, and
// again where somebody holds one.
func inStep(ctx context.Context, conn *pgx.Conn, work func(pgx.Tx) error) error {
	return untilUnlocked(ctx, func() error {
		return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, `select set_config('lock_timeout', $1, true)`, fmt.Sprintf("%dms", lockWait.Milliseconds())); err != nil {
				return err
			}
			return work(tx)
		})
	})
}

// untilUnlocked tries for a minute to do what fails because somebody holds a lock.
func untilUnlocked(ctx context.Context, try func() error) error {
	for n := 1; ; n++ {
		err := try()
		pgErr, ok := errors.AsType[*pgconn.PgError](err)
		if !ok || pgErr.Code != lockNotAvailable {
			return err
		}
		if n == lockTries {
			return fmt.Errorf("somebody has kept a table locked for %s; see pg_locks, end that session and try again: %w",
				lockTries*(lockWait+lockPause), err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(lockPause):
		}
	}
}

// lockNotAvailable is Postgres' code for a lock that was waited for too long.
const lockNotAvailable = "55P03"

// ours lists the SQL files; their numbers must run from 1 without gaps.
func ours() ([]step, error) {
	names, err := fs.Glob(files, "*.sql")
	if err != nil {
		return nil, err
	}
	steps := make([]step, 0, len(names))
	for i, name := range names {
		sql, err := files.ReadFile(name)
		if err != nil {
			return nil, err
		}
		base := strings.TrimSuffix(path.Base(name), ".sql")
		number, _, _ := strings.Cut(base, "_")
		if v, err := strconv.Atoi(number); err != nil || v != i+1 {
			return nil, fmt.Errorf("migration %s should have number %d", base, i+1)
		}
		steps = append(steps, step{Migration{i + 1, base}, string(sql)})
	}
	return steps, nil
}

// riverMigrator works on a pool; without one it only knows the versions.
func riverMigrator(pool *pgxpool.Pool) (*rivermigrate.Migrator[pgx.Tx], error) {
	m, err := rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{
		Schema: Schema,
		Logger: slog.New(slog.DiscardHandler), // the caller reports what was applied
	})
	if err != nil {
		return nil, fmt.Errorf("preparing River's migrator: %w", err)
	}
	return m, nil
}
