package migrations

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// ApplyStep applies SQL as the step after the newest one.
func ApplyStep(ctx context.Context, conn *pgx.Conn, sql string) error {
	applied, err := version(ctx, conn, "migrations")
	if err != nil {
		return err
	}
	return step{Migration{applied + 1, "test"}, sql}.apply(ctx, conn)
}

// UpTo brings an empty database to River's tables and the first steps of ours, as a
// version did that had no more.
func UpTo(ctx context.Context, pool *pgxpool.Pool, last int) error {
	acquired, err := pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer acquired.Release()
	conn := acquired.Conn()
	if err := createSchema(ctx, conn); err != nil {
		return err
	}
	if err := applyRivers(ctx, pool); err != nil {
		return err
	}
	steps, err := ours()
	if err != nil {
		return err
	}
	for _, s := range steps[:last] {
		if err := s.apply(ctx, conn); err != nil {
			return err
		}
	}
	return nil
}
