package migrations

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// ApplyStep applies SQL as the step after the newest one.
func ApplyStep(ctx context.Context, conn *pgx.Conn, sql string) error {
	applied, err := version(ctx, conn, "migrations")
	if err != nil {
		return err
	}
	return step{Migration{applied + 1, "test"}, sql}.apply(ctx, conn)
}
