package bench

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/klingwatch/klingwatch/db"
	"github.com/klingwatch/klingwatch/migrations"
)

// Database is a fresh database with klingwatch's schema, or with one of before.
type Database struct {
	*pgxpool.Pool
	URL string
}

// migrated is the database with klingwatch's schema that all others are copied from; a
// number after it is that of the last step of the schema of before.
const migrated = "bench_migrated"

func (b *Bench) makeMigrated(ctx context.Context) error {
	return b.makeTemplate(ctx, migrated, func(pool *pgxpool.Pool) error {
		_, err := migrations.Up(ctx, pool)
		return err
	})
}

// makeTemplate makes a database that others are copied from, unless it was made before,
// perhaps by another run on the same server.
func (b *Bench) makeTemplate(ctx context.Context, name string, migrate func(*pgxpool.Pool) error) error {
	return alone(ctx, b.admin, func() error {
		known, err := databaseExists(ctx, b.admin, name)
		if err != nil || known {
			return err
		}
		unready := name + "_unready"
		if err := b.createMigrated(ctx, unready, migrate); err != nil {
			_ = dropDatabase(ctx, b.admin, unready) // another run on this server makes it anew
			return fmt.Errorf("making the database %s: %w", unready, err)
		}
		return renameDatabase(ctx, b.admin, unready, name)
	})
}

func (b *Bench) createMigrated(ctx context.Context, name string, migrate func(*pgxpool.Pool) error) error {
	if err := createDatabase(ctx, b.admin, name, "template1"); err != nil {
		return err
	}
	url, err := urlOf(b.server.URL(), name)
	if err != nil {
		return err
	}
	pool, err := db.Open(ctx, url, ownConnections)
	if err != nil {
		return err
	}
	defer pool.Close() // nobody may be connected to what is copied
	return migrate(pool)
}

// WithDatabase calls work with a fresh database, which is dropped after it.
func (b *Bench) WithDatabase(ctx context.Context, work func(*Database) error) error {
	return b.withCopy(ctx, migrated, work)
}

// WithOldDatabase is WithDatabase with the schema of a version that had no steps after
// last.
func (b *Bench) WithOldDatabase(ctx context.Context, last int, work func(*Database) error) error {
	template := fmt.Sprint(migrated, last)
	if err := b.makeTemplate(ctx, template, func(pool *pgxpool.Pool) error { return migrations.UpTo(ctx, pool, last) }); err != nil {
		return fmt.Errorf("making a database with the first %d steps of the schema: %w", last, err)
	}
	return b.withCopy(ctx, template, work)
}

// withCopy calls work with a copy of a database, which is dropped after it.
func (b *Bench) withCopy(ctx context.Context, template string, work func(*Database) error) (err error) {
	d, name := &Database{}, fmt.Sprintf("bench_%d", time.Now().UnixNano())
	if err := createDatabase(ctx, b.admin, name, template); err != nil {
		return fmt.Errorf("creating a database: %w", err)
	}
	if d.URL, err = urlOf(b.server.URL(), name); err != nil {
		return err
	}
	if d.Pool, err = db.Open(ctx, d.URL, ownConnections); err != nil {
		return err
	}
	defer func() {
		d.Close()
		if ctx.Err() == nil { // else the whole server goes
			err = errors.Join(err, dropDatabase(ctx, b.admin, name))
		}
	}()
	if err := d.Checkpoint(ctx); err != nil {
		return err
	}
	return work(d)
}

// urlOf returns the URL of another database of the same server.
func urlOf(server, name string) (string, error) {
	u, err := url.Parse(server)
	if err != nil {
		return "", err
	}
	u.Path = "/" + name
	return u.String(), nil
}
