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

// Database is a fresh database with klingwatch's schema.
type Database struct {
	*pgxpool.Pool
	URL string
}

// migrated is the database with klingwatch's schema that all others are copied from.
const migrated = "bench_migrated"

func (b *Bench) makeMigrated(ctx context.Context) error {
	if err := createDatabase(ctx, b.admin, migrated, "template1"); err != nil {
		return fmt.Errorf("creating a database: %w", err)
	}
	url, err := urlOf(b.server.URL(), migrated)
	if err != nil {
		return err
	}
	pool, err := db.Open(ctx, url, ownConnections)
	if err != nil {
		return err
	}
	defer pool.Close() // nobody may be connected to what is copied
	_, err = migrations.Up(ctx, pool)
	return err
}

// WithDatabase calls work with a fresh database, which is dropped after it.
func (b *Bench) WithDatabase(ctx context.Context, work func(*Database) error) (err error) {
	d, name := &Database{}, fmt.Sprintf("bench_%d", time.Now().UnixNano())
	if err := createDatabase(ctx, b.admin, name, migrated); err != nil {
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
