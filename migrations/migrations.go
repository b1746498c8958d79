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
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

// Schema holds all tables, ours and River's.
const Schema = "klingwatch"

// lockKey is the advisory lock held while migrating: "klwmig" in ASCII.
const lockKey int64 = 0x6b6c776d6967

// releaseTimeout bounds giving the lock back when the caller's context has ended.
const releaseTimeout = 5 * time.Second

// ErrNewerDatabase says that the database was migrated by a newer klingwatch
// (or River) than this binary.
var ErrNewerDatabase = errors.New("the database is newer than this binary: install the newer klingwatch")

//go:embed *.sql
var files embed.FS

// Migration is one step, already applied or pending.
type Migration struct {
	Version int    // from 1, without gaps; River's steps are counted apart
	Name    string // file name without .sql, or "river N"
}

type step struct {
	Migration
	sql string
}

// Up applies what is pending and returns it, in order. It returns
// ErrNewerDatabase for a database that this binary does not know.
func Up(ctx context.Context, pool *pgxpool.Pool) (applied []Migration, err error) {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("connecting to the database: %w", err)
	}
	defer conn.Release()
	if _, err := conn.Exec(ctx, `select pg_advisory_lock($1)`, lockKey); err != nil {
		return nil, fmt.Errorf("waiting for the migration lock: %w", err)
	}
	defer unlock(ctx, conn)

	pending, err := Pending(ctx, pool)
	if err != nil || len(pending) == 0 {
		return nil, err
	}
	if err := createSchema(ctx, conn.Conn()); err != nil {
		return nil, err
	}
	river, err := riverMigrator(pool)
	if err != nil {
		return nil, err
	}
	if _, err := river.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return nil, fmt.Errorf("migrating River's tables: %w", err)
	}
	if err := applyOurs(ctx, conn.Conn()); err != nil {
		return nil, err
	}
	return pending, nil
}

// Pending returns the steps that Up would apply, River's first. It only reads.
// It returns ErrNewerDatabase for a database that this binary does not know.
func Pending(ctx context.Context, pool *pgxpool.Pool) ([]Migration, error) {
	steps, err := ours()
	if err != nil {
		return nil, err
	}
	appliedOurs, err := version(ctx, pool, "migrations")
	if err != nil {
		return nil, err
	}
	appliedRiver, err := version(ctx, pool, "river_migration")
	if err != nil {
		return nil, err
	}
	river, err := riverMigrator(pool)
	if err != nil {
		return nil, err
	}

	var pending []Migration
	newestRiver := 0
	for _, m := range river.AllVersions() {
		newestRiver = max(newestRiver, m.Version)
		if m.Version > appliedRiver {
			pending = append(pending, Migration{Version: m.Version, Name: "river " + strconv.Itoa(m.Version)})
		}
	}
	if appliedOurs > len(steps) || appliedRiver > newestRiver {
		return nil, ErrNewerDatabase
	}
	for _, s := range steps[appliedOurs:] {
		pending = append(pending, s.Migration)
	}
	return pending, nil
}

// version returns the newest applied version in a table of the schema, 0 when
// the table is not there yet.
func version(ctx context.Context, pool *pgxpool.Pool, table string) (int, error) {
	name := pgx.Identifier{Schema, table}.Sanitize()
	var exists bool
	if err := pool.QueryRow(ctx, `select to_regclass($1) is not null`, name).Scan(&exists); err != nil {
		return 0, fmt.Errorf("reading the database's version: %w", err)
	}
	if !exists {
		return 0, nil
	}
	var v int
	if err := pool.QueryRow(ctx, `select coalesce(max(version), 0) from `+name).Scan(&v); err != nil {
		return 0, fmt.Errorf("reading the database's version: %w", err)
	}
	return v, nil
}

// createSchema looks first: "if not exists" asks for rights on the database
// even when the schema is there.
func createSchema(ctx context.Context, conn *pgx.Conn) error {
	var exists bool
	err := conn.QueryRow(ctx, `select exists (select from pg_namespace where nspname = $1)`, Schema).Scan(&exists)
	if err == nil && !exists {
		_, err = conn.Exec(ctx, `create schema `+Schema)
	}
	if err == nil {
		_, err = conn.Exec(ctx, `
			create table if not exists klingwatch.migrations (
				version    int primary key,
				name       text not null,
				applied_at timestamptz not null default now()
			);
			comment on table klingwatch.migrations is 'Steps of klingwatch''s own schema that were applied here.';
			comment on column klingwatch.migrations.version is 'number of the step, from 1';
			comment on column klingwatch.migrations.name is 'file name without .sql';
			comment on column klingwatch.migrations.applied_at is 'when it was applied'`)
	}
	if err != nil {
		return fmt.Errorf("creating the schema %s: %w", Schema, err)
	}
	return nil
}

// applyOurs runs each missing step in a transaction of its own.
func applyOurs(ctx context.Context, conn *pgx.Conn) error {
	steps, err := ours()
	if err != nil {
		return err
	}
	for _, s := range steps {
		err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			tag, err := tx.Exec(ctx, `insert into klingwatch.migrations (version, name) values ($1, $2) on conflict do nothing`,
				s.Version, s.Name)
			if err != nil || tag.RowsAffected() == 0 {
				return err
			}
			_, err = tx.Exec(ctx, s.sql)
			return err
		})
		if err != nil {
			return fmt.Errorf("applying migration %s: %w", s.Name, err)
		}
	}
	return nil
}

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

// unlock gives the lock back also when the caller's context has ended; where
// that fails the connection is closed, which frees the lock as well.
func unlock(ctx context.Context, conn *pgxpool.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	if _, err := conn.Exec(ctx, `select pg_advisory_unlock($1)`, lockKey); err != nil {
		_ = conn.Conn().Close(ctx)
	}
}
